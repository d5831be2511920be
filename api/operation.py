"""What the API document says of single operations that their handlers do not: query parameters, refusals, bodies, groups.

Operations are named by their id, which is the handler's name unless its route says another. Whatever holds for many of them by rule
(401, 403, 429, the 404 of an id in the path …) is in `api/document.py`.
"""

from typing import Any

from api.redemption.redeem import PurchaseBody
from api.redemption.redemption import MOVES_BY_HAND
from domain.redemption.redemption import CALLBACK_STATES, State

TEXT: dict[str, Any] = {"type": "string"}
ID: dict[str, Any] = {"type": "string", "format": "uuid"}
INSTANT: dict[str, Any] = {"type": "string", "format": "date-time"}


def whole(low: int, high: int, default: int) -> dict[str, Any]:
    """The schema of a whole number."""
    return {"type": "integer", "minimum": low, "maximum": high, "default": default}


def one_of(*values: str) -> dict[str, Any]:
    """The schema of a text that is one of these."""
    return {"type": "string", "enum": list(values)}


TAGS = (
    ("/v1/events", "Events"),
    ("/v1/admin/event", "Events"),
    ("/v1/admin/dead-letters", "Events"),
    ("/v1/leaderboards", "Leaderboards"),
    ("/v1/snapshots", "Leaderboards"),
    ("/v1/admin/leaderboards", "Leaderboards"),
    ("/v1/users/{user_id}/leaderboards", "Leaderboards"),
    ("/v1/admin/currencies", "Points and tiers"),
    ("/v1/admin/adjustments", "Points and tiers"),
    ("/v1/admin/transfers", "Points and tiers"),
    ("/v1/admin/earning-rules", "Points and tiers"),
    ("/v1/admin/tiers", "Points and tiers"),
    ("/v1/admin/users", "Points and tiers"),
    ("/v1/users", "Users"),
    ("/v1/admin/rewards/redemptions", "Redemptions"),
    ("/v1/admin/redemptions", "Redemptions"),
    ("/v1/redemptions", "Redemptions"),
    ("/v1/orders", "Redemptions"),
    ("/v1/rewards", "Rewards"),
    ("/v1/admin/rewards", "Rewards"),
    ("/v1/admin/reward", "Payouts"),
    ("/v1/admin/grants", "Payouts"),
    ("/v1/admin/payout-runs", "Payouts"),
    ("/v1/admin/schedules", "Payouts"),
    ("/v1/admin/webhook", "Webhooks"),
    ("/v1/admin/deliveries", "Webhooks"),
    ("/v1/admin", "Tenant"),
    ("/v1/auth", "Tenant"),
    ("/v1/operator", "Operator"),
    ("/", "Health"),
)
"""The group of an operation: that of the first beginning of a path that fits."""

GROUPS = {
    "Events": "What happened in your games, wallets and shops: send it, look it up, declare its types.",
    "Leaderboards": "Boards by the hour to all time: read them, define them, build them anew.",
    "Points and tiers": "Currencies, earning rules, corrections, and the tiers that points lead to.",
    "Users": "Who your users are and what they have.",
    "Redemptions": "Points spent on rewards: redeem, follow, fulfil, call back.",
    "Rewards": "The store: rewards, their codes, and the catalog that players see.",
    "Payouts": "What is given by rank and on schedule: items, configs, schedules, runs, grants.",
    "Webhooks": "Endpoints of yours that Laurel calls, and the log of its calls.",
    "Tenant": "Settings, API keys, players' tokens and the audit log.",
    "Operator": "For whoever runs the installation: tenants and the platform's own schedules.",
    "Health": "Whether the process serves, and its metrics.",
}

BETWEEN = {"from": INSTANT, "to": INSTANT}
SOURCE = {"source_type": TEXT, "source_id": TEXT}
QUERY: dict[str, dict[str, Any]] = {
    "list_redemptions": {
        "user_id": TEXT,
        "external_user_id": TEXT,
        "reward_id": ID,
        "status": one_of(*State),
        "flag": TEXT,
        "format": one_of("json", "csv"),
        **SOURCE,
        **BETWEEN,
    },
    "list_orders": {"reward_id": ID, "status": one_of(*State), "flag": TEXT, **SOURCE, **BETWEEN},
    "show_grants": {"user_id": TEXT, "item_id": ID, **SOURCE, **BETWEEN},
    "read_user_grants": {"item_id": ID, **SOURCE, **BETWEEN},
}
"""Query parameters besides `limit` and `cursor` of lists. All of them may be left out."""

REDEEMING = ("INSUFFICIENT_POINTS", "OUT_OF_STOCK", "USER_LIMIT_REACHED", "NOT_ELIGIBLE", "IDEMPOTENCY_CONFLICT", "REWARD_NOT_FOUND")
STATE = ("INVALID_STATE",)
REFUSALS: dict[str, tuple[str, ...]] = {
    "grant_by_hand": ("IDEMPOTENCY_CONFLICT", "USER_NOT_FOUND", "OUT_OF_STOCK"),
    "show_grants": ("USER_NOT_FOUND",),
    "purchase": (*REDEEMING, "USER_NOT_FOUND"),
    "redeem_for_user": (*REDEEMING, "USER_NOT_FOUND"),
    "call_redemption_back": (*STATE, "REDEMPTION_ALREADY_FINAL"),
    "move_redemption": (*STATE, "REDEMPTION_ALREADY_FINAL", "NOT_FOUND"),
    "resend_redemption": STATE,
    "claim_order": STATE,
    "cancel_order": STATE,
}
"""Codes that an operation can answer besides those that follow from its path, its body and its credential."""

CALLBACK = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": one_of(*sorted(CALLBACK_STATES)),
        "fulfilled_at": {"type": ["string", "null"], "format": "date-time"},
        "fulfillment_data": {"type": ["object", "null"]},
    },
}
"""A partner's callback; further members are kept beside `fulfillment_data`."""
PATH = {"move": one_of(*sorted(MOVES_BY_HAND))}
"""Parameters in paths of which there are few."""

BODIES: dict[str, tuple[type, bool]] = {
    "purchase": (PurchaseBody, True),
}
"""The shape of bodies that the handler itself decodes, and whether every field may be left out."""
