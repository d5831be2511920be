"""A tenant with one of everything, and requests that name these things: whoever adds a route with a new kind of id makes one here."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg

from tests.builders.api import World, event

NEEDS_TEMPORAL = "/platform-schedules"
"""Schedules live in Temporal, which this world has not: tests/journey/test_platform_schedules.py looks at what is written there."""
POINTS_BOARD = {"timeframe": {"type": "daily"}, "scoring": {"rules": [{"event_type": "goal", "points_expression": "1"}]}}
HANDMADE = {"name": "Handmade", "fulfilment": {"type": "manual"}, "prices": [{"currency": "points", "amount": 1}]}
BADGE = {"name": "Badge", "reward_type": "badge"}
CONFIG = {"name": "Rewards", "tiers": [{"min_rank": 1, "item_ids": ["{item_id}"]}]}
TIER = {"name": "gold", "level": 1, "threshold": 100}
REASON = {"reason": "a test"}
SCHEDULE = {"name": "Daily", "when": {"cron": "0 9 * * *"}, "audience": {"type": "all_users"}, "reward_config_id": "{reward_config_id}"}
ACTS = ("approve", "reject", "cancel", "fulfil", "fail", "reverse", "resend")
"""What staff do with a redemption."""
GRANT = {"item_id": "{item_id}", "external_ids": ["ann"], **REASON}
BODIES: dict[str, Any] = {
    "PUT /v1/admin/earning-rules/{rule_id}": {"name": "x", "event_type": "goal", "points_expression": "1"},
    "PATCH /v1/admin/earning-rules/{rule_id}": {"name": "y"},
    "PATCH /v1/admin/event-types/{name}": {"server_only": True},
    "PUT /v1/admin/leaderboards/{leaderboard_id}": {"name": "x", "config": POINTS_BOARD},
    "POST /v1/admin/leaderboards/{leaderboard_id}/explain": event("explained"),
    "POST /v1/admin/leaderboards/{leaderboard_id}/rescore": {"window_key": "current"},
    "PATCH /v1/admin/rewards/redemptions/{redemption_id}": {"status": "processing"},
    "PUT /v1/admin/rewards/{reward_id}": {"slug": "other", **HANDMADE},
    "PATCH /v1/admin/rewards/{reward_id}": {"name": "y"},
    "POST /v1/admin/rewards/{reward_id}/codes": {"codes": ["A"]},
    "PUT /v1/admin/reward-items/{item_id}": BADGE,
    "PATCH /v1/admin/reward-items/{item_id}": {"name": "y"},
    "POST /v1/admin/reward-items/{item_id}/codes": {"codes": ["A"]},
    "PUT /v1/admin/reward-configs/{reward_config_id}": CONFIG,
    "PATCH /v1/admin/reward-configs/{reward_config_id}": {"name": "y"},
    "PUT /v1/admin/tiers/{name}": TIER,
    "PATCH /v1/admin/currencies/{currency_id}": {"symbol": "P"},
    "POST /v1/admin/adjustments": {"adjustments": [{"external_id": "ann", "amount": 5}], "reason": "a test"},
    "POST /v1/admin/transfers/{transfer_id}/reverse": {"reason": "a test"},
    "POST /v1/admin/users/{external_id}/adjustments": {"amount": 5, "currency": "points", "reason": "a test"},
    "PUT /v1/admin/users/{external_id}/tier": {"tier": None, "reason": "a test"},
    "PATCH /v1/admin/webhook-endpoints/{endpoint_id}": {"description": "y"},
    "POST /v1/admin/webhook-endpoints/{endpoint_id}/recover": {"since": "2026-01-01T00:00:00Z"},
    **{f"POST /v1/admin/redemptions/{{redemption_id}}/{act}": REASON for act in ACTS},
    "PATCH /v1/admin/schedules/{schedule_id}": {"name": "y"},
    "POST /v1/admin/schedules/{schedule_id}/backfill": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
    "POST /v1/orders/{order_id}/claim": {"fields": {}},
}
"""A body that the route would take; the others get an empty one. `{item_id}` and the like stand for the things of `seed`."""


def make(client: httpx.Client, path: str, body: Any, *status: int) -> dict[str, Any]:
    """What a POST that succeeds answers."""
    answer = client.post(path, json=body)
    assert answer.status_code in (status or (201,)), f"{path}: {answer.text}"
    return dict(answer.json())


def seed(world: World) -> dict[str, str]:
    """One of everything that has an id, by the name that the paths give it."""
    today = datetime.now(UTC).date().isoformat()
    with world.client() as client:
        make(client, "/v1/users", {"external_id": "ann"})
        make(client, "/v1/admin/users/ann/adjustments", {"amount": 100, "currency": "points", "reason": "a test"})
        given = make(client, "/v1/admin/users/ann/adjustments", {"amount": 1, "currency": "points", "reason": "a test"})
        make(client, "/v1/admin/currencies", {"id": "gems", "name": "Gems"})
        make(client, "/v1/admin/event-types", {"name": "goal"})
        make(client, "/v1/admin/tiers", TIER)
        make(client, "/v1/admin/leaderboards", {"leaderboard_id": "best", "name": "Best", "config": POINTS_BOARD})
        rule = make(client, "/v1/admin/earning-rules", {"name": "r", "event_type": "goal", "points_expression": "1"})
        reward = make(client, "/v1/admin/rewards", {"slug": "handmade", **HANDMADE})
        redemption = make(client, "/v1/redemptions", {"external_user_id": "ann", "slug": "handmade"})
        endpoint = make(client, "/v1/admin/webhook-endpoints", {"url": "http://127.0.0.1:9/hook", "events": ["webhook.test"]})
        delivery = make(client, f"/v1/admin/webhook-endpoints/{endpoint['endpoint_id']}/test", {}, 202)
        key = make(client, "/v1/admin/api-keys", {"name": "till", "role": "server"})
        item = make(client, "/v1/admin/reward-items", BADGE)
        config = make(client, "/v1/admin/reward-configs", filled(CONFIG, item))
        schedule = make(client, "/v1/admin/schedules", filled(SCHEDULE, config))
        make(client, "/v1/events", event("event-1", "ann"), 202)
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO dead_letter (tenant_id, position, event_id, scoring_partition, accepted_at, reason, created_at)"
            " SELECT tenant_id, position, event_id, scoring_partition, accepted_at, 'a test', now() FROM event_log WHERE tenant_id = %s",
            (world.tenant_id,),
        )
        connection.execute(
            "INSERT INTO leaderboard_window (tenant_id, window_id, board_id, window_key, status, starts_at, ends_at, closes_at, created_at)"
            " SELECT tenant_id, uuidv7(), board_id, %s, 'open', now(), now() + interval '1 d', now() + interval '1 d', now()"
            " FROM leaderboard WHERE tenant_id = %s",
            (today, world.tenant_id),
        )
        connection.execute(
            "INSERT INTO payout_run (tenant_id, payout_run_id, source_type, source_id, instant, trigger, audience, prizes, status,"
            " created_at, updated_at, finished_at)"
            " SELECT tenant_id, uuidv7(), 'leaderboard', window_id::text, now(), 'window',"
            " jsonb_build_object('type', 'window', 'window_id', window_id), %s, 'failed', now(), now(), now()"
            " FROM leaderboard_window WHERE tenant_id = %s",
            ('{"tiers": [], "items": {}}', world.tenant_id),
        )
        run = connection.execute("SELECT payout_run_id FROM payout_run WHERE tenant_id = %s", (world.tenant_id,)).fetchone()
        found = connection.execute("SELECT position FROM dead_letter WHERE tenant_id = %s", (world.tenant_id,)).fetchone()
    assert found is not None
    assert run is not None
    with world.client() as client:
        rescore = make(client, "/v1/admin/leaderboards/best/rescore", {"window_key": today}, 202)
    return {
        "external_id": "ann",
        "user_id": "ann",
        "currency_id": "gems",
        "transfer_id": given["transfer_id"],
        "schedule_name": "clean-up",
        "name": "goal",
        "leaderboard_id": "best",
        "window_key": today,
        "rescore_id": rescore["rescore_id"],
        "rule_id": rule["rule_id"],
        "reward_id": reward["reward_id"],
        "item_id": item["item_id"],
        "reward_config_id": config["reward_config_id"],
        "run_id": str(run[0]),
        "schedule_id": schedule["schedule_id"],
        "slug": "handmade",
        "redemption_id": redemption["redemption_id"],
        "order_id": redemption["redemption_id"],
        "endpoint_id": endpoint["endpoint_id"],
        "delivery_id": delivery["delivery_id"],
        "api_key_id": key["api_key_id"],
        "event_id": "event-1",
        "position": str(found[0]),
        "snapshot_time": "2026-01-01T00:00:00Z",
    }


def filled(body: Any, things: dict[str, Any]) -> Any:
    """The body with the ids of these things in it."""
    return json.loads(re.sub(r"\{(\w+)\}", lambda found: str(things.get(found[1], found[0])), json.dumps(body)))


def ask(client: httpx.Client, route: str, things: dict[str, str], body: Any = None) -> httpx.Response:
    """The answer to a request that names these things in its path."""
    method, path = route.split(" ")
    named = things | ({"name": "gold"} if "/tiers/" in path else {})
    unknown = set(re.findall(r"\{(\w+)\}", path)) - named.keys()
    assert not unknown, f"make one of {unknown} in seed()"
    given = None if method in ("GET", "DELETE") else filled(BODIES.get(route, {}) if body is None else body, named)
    return client.request(method, re.sub(r"\{(\w+)\}", lambda found: named[found[1]], path), json=given)
