"""The event log over HTTP: search, one event with what it did, dead letters."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest_asyncio

from activities.scoring import Pump
from activities.wakeup import Wakeup
from runtime.postgres import Pool
from runtime.redis import Redis
from runtime.settings import Settings
from storage.live import LiveStore
from tests.api_world import World, event, make_world

EVENTS = "/v1/admin/events"


@pytest_asyncio.fixture
async def scored(world: World, pool: Pool, redis_client: Redis, settings: Settings) -> Any:
    """Scores the whole log."""

    async def score() -> None:
        for partition in range(settings.scoring_partitions):
            pump = Pump(pool, LiveStore(redis_client), Wakeup(settings.database_url), partition)
            await pump.run(asyncio.Event(), until_idle=True)

    return score


def board(points: str) -> dict[str, Any]:
    rules = [{"event_type": "goal", "points_expression": points}]
    config = {"timeframe": {"type": "all_time"}, "scoring": {"rules": rules, "aggregation": "sum"}, "ranking": {"method": "score_desc"}}
    return {"name": "Board", "config": config}


async def test_the_log_is_searched(world: World) -> None:
    with world.client("server") as server, world.client() as admin:
        for number in range(5):
            assert server.post("/v1/events", json=event(f"e{number}", f"u{number % 2}", type=f"t{number % 3}")).status_code == 202
        assert [each["event_id"] for each in admin.get(EVENTS).json()["events"]] == ["e4", "e3", "e2", "e1", "e0"]
        first = admin.get(EVENTS, params={"limit": 3}).json()
        second = admin.get(EVENTS, params={"limit": 3, "cursor": first["next_cursor"]}).json()
        assert [each["event_id"] for each in first["events"] + second["events"]] == ["e4", "e3", "e2", "e1", "e0"]
        assert second["next_cursor"] is None
        for parameters, found in (
            ({"user_id": "u1"}, ["e3", "e1"]),
            ({"user_id": "nobody"}, []),
            ({"type": "t0"}, ["e3", "e0"]),
            ({"event_id": "e2"}, ["e2"]),
            ({"event_id": "e2", "type": "t0"}, []),
            ({"from": "2099-01-01T00:00:00Z"}, []),
            ({"to": "2001-01-01T00:00:00Z"}, []),
        ):
            assert [each["event_id"] for each in admin.get(EVENTS, params=parameters).json()["events"]] == found, parameters
        for parameters in ({"from": "yesterday"}, {"cursor": "abc"}, {"type": "a\0"}):
            assert admin.get(EVENTS, params=parameters).status_code == 400, parameters
        assert server.get(EVENTS).status_code == 403


async def test_one_event_tells_what_it_did(world: World, scored: Any) -> None:
    name = "order/7 ü"
    with world.client("server") as server, world.client() as admin:
        assert admin.post("/v1/admin/leaderboards", json=board("attrs.n * 2") | {"leaderboard_id": "good"}).status_code == 201
        assert admin.post("/v1/admin/leaderboards", json=board("attrs.missing") | {"leaderboard_id": "none"}).status_code == 201
        rule = {"name": "r", "event_type": "goal", "points_expression": "10"}
        assert admin.post("/v1/admin/earning-rules", json=rule).status_code == 201
        server.post("/v1/events", json=event(name, attrs={"n": 3}))
        path = f"{EVENTS}/{quote(name, safe='')}"
        assert admin.get(path).json()["state"] == "pending"
        await scored()
        seen = admin.get(path).json()
        assert (seen["state"], seen["event"]["attrs"], seen["dead_letter"]) == ("scored", {"n": 3}, None)
        assert [(each["amount"], each["currency_id"]) for each in seen["earnings"]] == [(10, "points")]
        good, none = seen["leaderboards"]
        assert (good["leaderboard_id"], good["counted"], good["points"]) == ("good", True, 6)
        assert (none["leaderboard_id"], none["counted"]) == ("none", False)
        assert none["reason"]
        assert admin.get(f"{EVENTS}/unknown").status_code == 404


async def test_a_dead_letter_is_replayed_by_its_tenant_once(world: World, settings: Settings, scored: Any) -> None:
    other = await make_world(settings, world.url)
    with world.client("server") as server, world.client() as admin, other.client() as stranger:
        server.post("/v1/events", json=event("e1"))
        world.rows("UPDATE event_log SET body = 'broken' WHERE tenant_id = %s RETURNING 1", world.tenant_id)
        admin.post("/v1/admin/leaderboards", json=board("1") | {"leaderboard_id": "b"})
        server.post("/v1/events", json=event("e2"))
        world.rows("UPDATE event_log SET body = 'broken' WHERE tenant_id = %s RETURNING 1", world.tenant_id)
        await scored()
        (letter,) = admin.get("/v1/admin/dead-letters").json()["dead_letters"]
        assert letter["event_id"] == "e2"
        assert admin.get(f"{EVENTS}/e2").json()["state"] == "dead_letter"
        replay = f"/v1/admin/dead-letters/{letter['position']}/replay"
        assert stranger.post(replay).status_code == 404
        assert stranger.get("/v1/admin/dead-letters").json()["dead_letters"] == []
        answer = admin.post(replay)
        assert answer.status_code == 202
        assert answer.json()["position"] > letter["position"]
        assert admin.post(replay).status_code == 409
        body = event("e2")
        world.rows("UPDATE event_log SET body = %s WHERE event_id = 'e2' AND tenant_id = %s RETURNING 1", _json(body), world.tenant_id)
        await scored()
        seen = admin.get(f"{EVENTS}/e2").json()
        assert seen["state"] == "scored"
        assert seen["leaderboards"][0]["counted"]


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
