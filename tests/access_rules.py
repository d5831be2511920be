"""Who may call which route: the one list that the API document is compared with.

Everything under /v1/admin is the admin's and everything under /v1/operator the operator's, unless it is named here; any other route
has to be named. A route whose guard says something else than this list fails the suite, and so does one that says nothing.
"""

READERS = "admin gamer read server"
BOARD_READERS = "admin gamer member read server"
SENDERS = "admin gamer member server"

RULES = {
    "GET /health": "public",
    "GET /metrics": "public",
    "GET /ready": "public",
    "GET /v1/admin/redemptions": "admin read server",
    "GET /v1/admin/redemptions/export": "admin read server",
    "PATCH /v1/admin/rewards/redemptions/{redemption_id}": "admin fulfilment server",
    "GET /v1/admin/tiers": "admin read",
    "POST /v1/auth/gamer-token": "admin server",
    "POST /v1/events": SENDERS,
    "POST /v1/events/bulk": SENDERS,
    "GET /v1/leaderboards": BOARD_READERS,
    "GET /v1/leaderboards/{leaderboard_id}": BOARD_READERS,
    "GET /v1/leaderboards/{leaderboard_id}/rank/{user_id}": BOARD_READERS,
    "GET /v1/leaderboards/{leaderboard_id}/score/{user_id}": BOARD_READERS,
    "GET /v1/leaderboards/{leaderboard_id}/user/{user_id}": BOARD_READERS,
    "GET /v1/leaderboards/{leaderboard_id}/ws": BOARD_READERS,
    "GET /v1/orders/{order_id}": READERS,
    "GET /v1/orders/user/{user_id}": READERS,
    "GET /v1/orders/user/{user_id}/{order_id}": READERS,
    "POST /v1/orders/{order_id}/cancel": "admin gamer server",
    "POST /v1/orders/{order_id}/claim": "admin gamer server",
    "POST /v1/redemptions": "admin server",
    "GET /v1/redemptions/{redemption_id}": "admin fulfilment gamer read server",
    "GET /v1/rewards/catalog": BOARD_READERS,
    "GET /v1/rewards/catalog/{slug}": BOARD_READERS,
    "POST /v1/rewards/purchase/{slug}": "gamer",
    "GET /v1/snapshots/{leaderboard_id}": BOARD_READERS,
    "GET /v1/snapshots/{leaderboard_id}/{snapshot_time}": BOARD_READERS,
    "GET /v1/snapshots/{leaderboard_id}/{snapshot_time}/user/{user_id}": BOARD_READERS,
    "POST /v1/users": "admin server",
    "GET /v1/users/{external_id}": READERS,
    "DELETE /v1/users/{external_id}": "admin server",
    "GET /v1/users/{external_id}/export": "admin server",
    "GET /v1/users/{external_id}/grants": READERS,
    "GET /v1/users/{external_id}/points": READERS,
    "GET /v1/users/{external_id}/redemptions": READERS,
    "GET /v1/users/{external_id}/tier": READERS,
    "GET /v1/users/{external_id}/transactions": READERS,
    "GET /v1/users/{user_id}/leaderboards": READERS,
}

CALLBACK = "PATCH /v1/admin/rewards/redemptions/{redemption_id}"
"""Open also while the tenant is suspended."""


def roles_for(route: str) -> frozenset[str]:
    """Who may call the route, by the list; nobody when it is not in it."""
    path = route.split(" ")[1]
    default = "operator" if path.startswith("/v1/operator/") else "admin" if path.startswith("/v1/admin/") else ""
    return frozenset(RULES.get(route, default).split())


def is_of_one_user(route: str) -> bool:
    """Whether the path names a user whose own matter it is: a gamer's token opens it for its own user only."""
    path = route.split(" ")[1]
    return path.startswith(("/v1/users/{", "/v1/orders/user/{"))
