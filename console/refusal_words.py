"""What a refusal of the API says in the language of the person: a sentence for its code, and behind it the API's own words."""

from console.text import _, language, mark

WORDS = {
    "VALIDATION_ERROR": mark("Something in it is not as it must be."),
    "EVENT_TYPE_NOT_DECLARED": mark("The event's type is not declared, or its attributes do not fit."),
    "FORBIDDEN": mark("You may not do this."),
    "NOT_FOUND": mark("There is no such thing here."),
    "USER_NOT_FOUND": mark("There is no such user here."),
    "LEADERBOARD_NOT_FOUND": mark("There is no such leaderboard here."),
    "REWARD_NOT_FOUND": mark("There is no such reward here."),
    "REDEMPTION_NOT_FOUND": mark("There is no such redemption here."),
    "INVALID_STATE": mark("Its present state does not allow this."),
    "INSUFFICIENT_POINTS": mark("There are too few points."),
    "OUT_OF_STOCK": mark("The reward is out of stock."),
    "USER_LIMIT_REACHED": mark("The user has had as many as is allowed."),
    "NOT_ELIGIBLE": mark("The user may not have this reward now."),
    "IDEMPOTENCY_CONFLICT": mark("This form was sent before with other content."),
    "REDEMPTION_ALREADY_FINAL": mark("The redemption has ended already."),
    "ALREADY_EXISTS": mark("Something of this name is there already."),
    "VERSION_CONFLICT": mark("Somebody else changed it meanwhile."),
    "EVENTS_EXPIRED": mark("Events that this needs are no longer kept."),
    "LIMIT_REACHED": mark("There are as many of these as a tenant may have."),
    "PAYLOAD_TOO_LARGE": mark("It is too large to be sent at once."),
    "RATE_LIMITED": mark("Too many requests: try again in a moment."),
    "INTERNAL_ERROR": mark("Something went wrong on our side."),
    "UNAVAILABLE": mark("The platform cannot be reached now; nothing was changed."),
    "UNAUTHORIZED": mark("The sign-in is not accepted."),
    "AUTH_MISSING_KEY": mark("The sign-in is missing."),
    "AUTH_INVALID_KEY": mark("The key is not valid."),
    "TENANT_QUERY_MISMATCH": mark("This belongs to another tenant."),
    "CORS_NOT_ALLOWED_FOR_TENANT": mark("This website is not allowed to ask."),
}


def refusal_text(code: str, message: str) -> str:
    """The API's message in English; else the sentence of the code, with the message behind it, which names fields, limits and states."""
    if language.get() == "en" or code not in WORDS:
        return message
    return f"{_(WORDS[code])} ({message})" if message else _(WORDS[code])
