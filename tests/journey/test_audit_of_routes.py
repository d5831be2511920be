"""Every route by which an admin or the operator changes something leaves who, what and why in the audit log."""

from typing import Any

import httpx
import psycopg

from cli.openapi import api_document
from tests.builders.api import World
from tests.builders.seeded_tenant import BADGE, CONFIG, GRANT, HANDMADE, NEEDS_TEMPORAL, POINTS_BOARD, SCHEDULE, ask, filled, seed

OPERATOR = {"Authorization": "Bearer operator-key-of-the-tests"}
WHY = "why it was done"
ORDER = ("patch", "post", "put", "delete")
CHANGING = [
    f"{method.upper()} {path}"
    for method in ORDER
    for path, operations in sorted(api_document()["paths"].items())
    if method in operations and path.startswith(("/v1/admin/", "/v1/operator/")) and NEEDS_TEMPORAL not in path
]
CHANGES_NOTHING = {"POST /v1/admin/leaderboards/{leaderboard_id}/explain", "POST /v1/admin/schedules/{schedule_id}/preview"}
CHANGES: dict[str, Any] = {
    "POST /v1/admin/api-keys": {"name": "another", "role": "read"},
    "POST /v1/admin/currencies": {"id": "stars", "name": "Stars"},
    "POST /v1/admin/earning-rules": {"name": "another", "event_type": "goal", "points_expression": "2"},
    "POST /v1/admin/event-types": {"name": "another"},
    "POST /v1/admin/leaderboards": {"leaderboard_id": "another", "name": "Another", "config": POINTS_BOARD},
    "POST /v1/admin/rewards": {"slug": "another", **HANDMADE},
    "POST /v1/admin/rewards/{reward_id}/codes": {"codes": ["A", "B"]},
    "POST /v1/admin/reward-items": BADGE,
    "POST /v1/admin/reward-configs": CONFIG,
    "POST /v1/admin/grants": GRANT,
    "POST /v1/admin/schedules": SCHEDULE,
    "POST /v1/admin/tiers": {"name": "silver", "level": 0, "threshold": 10},
    "POST /v1/admin/webhook-endpoints": {"url": "http://127.0.0.1:9/another", "events": ["tier_change"]},
    "PATCH /v1/admin/settings": {"metadata": {"a": 1}},
    "PUT /v1/admin/rewards/{reward_id}": {"slug": "handmade", **HANDMADE, "name": "Replaced"},
    "PATCH /v1/admin/tiers": {"basis": "balance"},
    "PUT /v1/admin/tiers": {"basis": "balance", "tiers": [{"name": "gold", "level": 2, "threshold": 200}]},
    "PUT /v1/admin/tiers/{name}": {"name": "gold", "level": 3, "threshold": 300},
    "PUT /v1/admin/users/{external_id}/tier": {"tier": "gold", "reason": "a test"},
    "PUT /v1/admin/webhook": {"url": "http://127.0.0.1:9/short"},
    "POST /v1/operator/tenants": {"name": "Another"},
    "PATCH /v1/operator/tenants/{tenant_id}": {"name": "Renamed"},
}
"""Bodies that change something, where the one of tests/builders/seeded_tenant.py does not."""


def prepare(world: World, route: str, things: dict[str, str]) -> None:
    """Bring things into the state in which every route has something to do."""
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE rescore_partition, rescore")
        connection.execute(
            "UPDATE webhook_delivery SET state = 'exhausted', due_at = NULL, due_trigger = NULL, redemption_id = %s",
            (things["redemption_id"],),
        )
        if route.endswith("/resume"):
            connection.execute("UPDATE payout_schedule SET paused = true")
        if route.endswith("/payout"):
            connection.execute("UPDATE leaderboard_window SET status = 'closed'")
        under_way = route.endswith("/payout-runs/{run_id}/cancel")
        connection.execute(
            "UPDATE payout_run SET status = %s, cancel_requested = false, finished_at = CASE WHEN %s THEN NULL ELSE now() END",
            ("planning" if under_way else "failed", under_way),
        )
        connection.execute(
            "UPDATE redemption SET fulfilment = fulfilment || jsonb_build_object('delivery_id', %s::text)", (things["delivery_id"],)
        )


def needs(world: World, client: httpx.Client, route: str) -> dict[str, str]:
    """What a route's things have to be instead, when those that are there do not do."""
    if route == "POST /v1/admin/rewards/{reward_id}/codes":
        pool = client.post("/v1/admin/rewards", json={"slug": "codes", **HANDMADE, "fulfilment": {"type": "codes"}})
        return {"reward_id": pool.json()["reward_id"]}
    if route == "POST /v1/admin/reward-items/{item_id}/codes":
        return {"item_id": client.post("/v1/admin/reward-items", json={**BADGE, "fulfilment": {"type": "codes"}}).json()["item_id"]}
    if route == "DELETE /v1/admin/reward-items/{item_id}":
        return {"item_id": client.post("/v1/admin/reward-items", json=BADGE).json()["item_id"]}
    if route == "DELETE /v1/admin/reward-configs/{reward_config_id}":
        unused = filled(CONFIG, client.post("/v1/admin/reward-items", json=BADGE).json())
        return {"reward_config_id": client.post("/v1/admin/reward-configs", json=unused).json()["reward_config_id"]}
    if route.startswith("POST /v1/admin/redemptions/{redemption_id}/") and not route.endswith("/resend"):
        return {"redemption_id": redeemed(client, route.rpartition("/")[2])}
    return {"tenant_id": str(world.tenant_id)}


def redeemed(client: httpx.Client, act: str) -> str:
    """A redemption that this can be done with."""
    slug = "approved" if act in ("approve", "reject") else "handmade"
    if slug == "approved":
        client.post("/v1/admin/rewards", json={"slug": slug, **HANDMADE, "requires_approval": True})
    made = str(client.post("/v1/redemptions", json={"external_user_id": "ann", "slug": slug}).json()["redemption_id"])
    if act == "reverse":
        client.post(f"/v1/admin/redemptions/{made}/fulfil", json={}).raise_for_status()
    return made


def test_every_change_by_an_admin_or_the_operator_is_written_down(world: World) -> None:
    things = seed(world)
    wrong: dict[str, Any] = {}
    with (
        world.client() as admin,
        httpx.Client(base_url=world.url, headers={"Authorization": "Bearer operator-key-of-the-tests"}) as operator,
    ):
        for route in CHANGING:
            client = operator if "/v1/operator/" in route else admin
            prepare(world, route, things)
            named = things | needs(world, admin, route)
            (before,) = world.rows("SELECT coalesce(max(audit_id::text), '') FROM audit_log")
            client.headers["X-Audit-Reason"] = WHY
            answer = ask(client, route, named, CHANGES.get(route))
            del client.headers["X-Audit-Reason"]
            rows = world.rows("SELECT actor, subject, subject_id, before, after, reason FROM audit_log WHERE audit_id::text > %s", *before)
            if answer.status_code >= 400:
                wrong[route] = answer.text
            elif route in CHANGES_NOTHING:
                assert not rows
            elif not rows:
                wrong[route] = "nothing was written"
            for actor, subject, subject_id, was, becomes, reason in rows:
                who = "operator" if client is operator else "api_key:" + world.keys["admin"][3:11]
                if actor != who or not subject or not subject_id or (was is None and becomes is None) or reason != WHY:
                    wrong[route] = actor, subject, subject_id, was, becomes, reason
    assert not wrong, wrong
