"""What a refusal of the API says in the language of the person: its own sentence translated, or a sentence for its code."""

from collections.abc import Sequence
from typing import Any

from console.api_labels import said, translated
from console.i18n import _, language, mark

WORDS = {
    "VALIDATION_ERROR": mark("Something isn't valid."),
    "EVENT_TYPE_NOT_DECLARED": mark("The event's type isn't declared, or its attributes don't match."),
    "FORBIDDEN": mark("You don't have permission."),
    "NOT_FOUND": mark("Not found."),
    "USER_NOT_FOUND": mark("User not found."),
    "LEADERBOARD_NOT_FOUND": mark("Leaderboard not found."),
    "REWARD_NOT_FOUND": mark("Reward not found."),
    "REDEMPTION_NOT_FOUND": mark("Redemption not found."),
    "INVALID_STATE": mark("Its current state doesn't allow this."),
    "INSUFFICIENT_POINTS": mark("Not enough points."),
    "OUT_OF_STOCK": mark("The reward is out of stock."),
    "USER_LIMIT_REACHED": mark("The user has reached the limit."),
    "NOT_ELIGIBLE": mark("The user isn't eligible for this reward."),
    "IDEMPOTENCY_CONFLICT": mark("This form was already submitted with different content."),
    "REDEMPTION_ALREADY_FINAL": mark("The redemption is already final."),
    "ALREADY_EXISTS": mark("This name is already taken."),
    "VERSION_CONFLICT": mark("Someone else changed this in the meantime."),
    "EVENTS_EXPIRED": mark("The events this needs are no longer kept."),
    "LIMIT_REACHED": mark("You've reached the limit for this."),
    "PAYLOAD_TOO_LARGE": mark("The request is too large."),
    "RATE_LIMITED": mark("Too many requests: try again in a moment."),
    "INTERNAL_ERROR": mark("Something went wrong on our side."),
    "UNAVAILABLE": mark("The platform is unavailable; nothing was changed."),
    "UNAUTHORIZED": mark("Your session isn't valid."),
    "AUTH_MISSING_KEY": mark("You're not signed in."),
    "AUTH_INVALID_KEY": mark("Invalid key."),
    "TENANT_QUERY_MISMATCH": mark("This belongs to another tenant."),
    "CORS_NOT_ALLOWED_FOR_TENANT": mark("This website isn't allowed."),
}


def refusal_text(code: str, message: str, details: Sequence[dict[str, Any]] = ()) -> str:
    """The API's message in the language of the person; where no catalog has it, the sentence of its code and the message behind it."""
    if language.get() == "en" or not message:
        return message if language.get() == "en" or code not in WORDS else _(WORDS[code])
    if details:
        return "; ".join(f"{each['field']}: {said(each['message'])}" if each.get("field") else said(each["message"]) for each in details)
    known = translated(message)
    if known is not None:
        return known
    return f"{_(WORDS[code])} ({message})" if code in WORDS else message
