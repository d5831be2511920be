"""What a refusal of the API says in the language of the person: its own sentence translated, or a sentence for its code."""

from collections.abc import Sequence
from typing import Any

from console.api_labels import said, translated
from console.i18n import N_, _, language

WORDS = {
    "VALIDATION_ERROR": N_("Something isn't valid."),
    "EVENT_TYPE_NOT_DECLARED": N_("The event's type isn't declared, or its attributes don't match."),
    "FORBIDDEN": N_("You don't have permission."),
    "NOT_FOUND": N_("Not found."),
    "USER_NOT_FOUND": N_("User not found."),
    "LEADERBOARD_NOT_FOUND": N_("Leaderboard not found."),
    "REWARD_NOT_FOUND": N_("Reward not found."),
    "REDEMPTION_NOT_FOUND": N_("Redemption not found."),
    "INVALID_STATE": N_("Its current state doesn't allow this."),
    "INSUFFICIENT_POINTS": N_("Not enough points."),
    "OUT_OF_STOCK": N_("The reward is out of stock."),
    "USER_LIMIT_REACHED": N_("The user has reached the limit."),
    "NOT_ELIGIBLE": N_("The user isn't eligible for this reward."),
    "IDEMPOTENCY_CONFLICT": N_("This form was already submitted with different content."),
    "REDEMPTION_ALREADY_FINAL": N_("The redemption is already final."),
    "ALREADY_EXISTS": N_("This name is already taken."),
    "VERSION_CONFLICT": N_("Someone else changed this in the meantime."),
    "EVENTS_EXPIRED": N_("The events this needs are no longer kept."),
    "LIMIT_REACHED": N_("You've reached the limit for this."),
    "PAYLOAD_TOO_LARGE": N_("The request is too large."),
    "RATE_LIMITED": N_("Too many requests: try again in a moment."),
    "INTERNAL_ERROR": N_("Something went wrong on our side."),
    "UNAVAILABLE": N_("The platform is unavailable; nothing was changed."),
    "UNAUTHORIZED": N_("Your session isn't valid."),
    "AUTH_MISSING_KEY": N_("You're not signed in."),
    "AUTH_INVALID_KEY": N_("Invalid key."),
    "TENANT_QUERY_MISMATCH": N_("This belongs to another tenant."),
    "CORS_NOT_ALLOWED_FOR_TENANT": N_("This website isn't allowed."),
}


def refusal_text(code: str, message: str, details: Sequence[dict[str, Any]] = ()) -> str:
    """The API's message in the language of the person; where no catalog has it, the sentence of its code and the message behind it."""
    if language() == "en" or not message:
        return message if language() == "en" or code not in WORDS else _(WORDS[code])
    if details:
        return "; ".join(f"{each['field']}: {said(each['message'])}" if each.get("field") else said(each["message"]) for each in details)
    known = translated(message)
    if known is not None:
        return known
    return f"{_(WORDS[code])} ({message})" if code in WORDS else message
