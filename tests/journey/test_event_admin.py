"""The event log over HTTP: search, one event with what it did, dead letters."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest_asyncio

from activities.scoring import ScoringPump
from loops.scoring.wakeup import Wakeup
from runtime.postgres import Pool
from runtime.redis import Redis
from runtime.settings import Settings
from storage.leaderboard.rankings import Rankings
from tests.builders.api import World, event, make_world

EVENTS = "/v1/admin/events"


@pytest_asyncio.fixture
async def scored(world: World, pool: Pool, redis_client: Redis, settings: Settings) -> Any:
    """Scores the whole log."""

    async def score() -> None:
        for partition in range(settings.scoring_partitions):
            pump = ScoringPump(pool, Rankings(redis_client), Wakeup(settings.database_url), partition)
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


def rule(name: str, points: str = "10", **more: Any) -> dict[str, Any]:
    return {"name": name, "event_type": "goal", "points_expression": points} | more


def why_of(seen: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in seen["earning_rules"]}


async def test_an_event_says_of_each_rule_and_board_why_it_made_nothing_of_it(world: World, scored: Any) -> None:
    later = "2099-01-01T00:00:00Z"
    rules = [
        rule("gives"),
        rule("condition", conditions={"attrs.mode": {"eq": "ranked"}}),
        rule("missing", conditions={"attrs.nothing": {"gt": 5}}),
        rule("other", event_type="foul"),
        rule("negative", "0 - attrs.n"),
        rule("tiny", "0.4"),
        rule("no result", "1 / (attrs.n - 3)"),
        rule("early", starts_at=later),
        rule("late", ends_at="2001-01-01T00:00:00Z"),
        rule("segment", segment={"attributes": {"vip": {"eq": True}}}),
        rule("daily", max_per_day=15),
        rule("budget", budget=10),
        rule("asleep", active=False),
    ]
    with world.client("server") as server, world.client() as admin:
        made = {each["name"]: admin.post("/v1/admin/earning-rules", json=each).json()["rule_id"] for each in rules}
        filtered = board("attrs.n") | {"leaderboard_id": "filtered"}
        filtered["config"]["scope"] = {"filters": {"attrs.mode": {"eq": "ranked"}}}
        assert admin.post("/v1/admin/leaderboards", json=filtered).status_code == 201
        assert admin.post("/v1/admin/leaderboards", json=board("attrs.missing") | {"leaderboard_id": "none"}).status_code == 201
        for name in ("e1", "e2", "e3"):
            server.post("/v1/events", json=event(name, "lan", attrs={"n": 3, "mode": "casual"}))
        await scored()
        admin.put(f"/v1/admin/earning-rules/{made['asleep']}", json=rule("asleep"))
        admin.post("/v1/admin/earning-rules", json=rule("young"))
        admin.post("/v1/admin/leaderboards", json=board("1") | {"leaderboard_id": "young"})
        first, second, third = (admin.get(f"{EVENTS}/{name}").json() for name in ("e1", "e2", "e3"))
    said = why_of(first)
    assert {name: (each["matched"], each["promised"], each["given"]) for name, each in said.items() if each["given"]} == {
        "gives": (True, 10, 10),
        "daily": (True, 10, 10),
        "budget": (True, 10, 10),
    }
    assert {name: each["why"] and each["why"]["code"] for name, each in said.items()} == {
        "gives": None,
        "daily": None,
        "budget": None,
        "condition": "condition_failed",
        "missing": "condition_failed",
        "other": "other_event_type",
        "negative": "not_positive",
        "tiny": "below_smallest_unit",
        "no result": "no_result",
        "early": "not_started",
        "late": "ended",
        "segment": "not_in_segment",
        "asleep": "inactive",
        "young": "not_in_force",
    }
    assert said["condition"]["why"] == {
        "code": "condition_failed",
        "path": "attrs.mode",
        "operator": "eq",
        "wanted": '"ranked"',
        "value": '"casual"',
    }
    assert said["condition"]["reason"] == 'attrs.mode is "casual", wanted eq "ranked"'
    assert said["missing"]["reason"] == "attrs.nothing is missing, wanted gt 5"
    assert "value" not in said["missing"]["why"]
    assert said["early"]["why"]["at"] == later
    assert said["no result"]["reason"] == "division by zero"
    limit = {"code": "limit_reached", "period": "day", "most": 15, "given": 15}
    assert (why_of(second)["daily"]["given"], why_of(second)["daily"]["why"]) == (5, limit), "a remainder is given in part"
    assert (why_of(third)["daily"]["given"], why_of(third)["daily"]["why"]) == (0, limit)
    assert why_of(second)["budget"]["why"] == {"code": "budget_used_up", "most": 10, "given": 10}
    boards = {each["leaderboard_id"]: each for each in first["leaderboards"]}
    assert {name: (each["counted"], each["why"]["code"]) for name, each in boards.items()} == {
        "filtered": (False, "filter_failed"),
        "none": (False, "no_rule"),
        "young": (False, "not_in_force"),
    }
    assert [each["reason"] for each in boards["none"]["rules"]] == ["attrs.missing is missing or not a number"]
    assert boards["filtered"]["reason"] == 'filters: attrs.mode is "casual", wanted eq "ranked"'


async def test_an_event_fills_a_balance_and_says_that_it_is_full(world: World, scored: Any) -> None:
    most = 2**53 - 1
    with world.client("server") as server, world.client() as admin:
        admin.post("/v1/admin/earning-rules", json=rule("ten"))
        admin.post("/v1/admin/leaderboards", json=board("1") | {"leaderboard_id": "b"})
        admin.post("/v1/users", json={"external_id": "lan"})
        given = {"amount": most - 3, "currency": "points", "reason": "x"}
        assert admin.post("/v1/admin/users/lan/adjustments", json=given).status_code == 201
        for name in ("e1", "e2"):
            server.post("/v1/events", json=event(name, "lan"))
        await scored()
        first, second = (admin.get(f"{EVENTS}/{name}").json() for name in ("e1", "e2"))
        assert admin.get("/v1/users/lan/points").json()["balances"][0]["available"] == most
        assert admin.get("/v1/admin/dead-letters").json()["dead_letters"] == []
    assert [why_of(seen)["ten"]["given"] for seen in (first, second)] == [3, 0]
    assert [why_of(seen)["ten"]["why"] for seen in (first, second)] == [{"code": "balance_full"}] * 2
    assert [seen["leaderboards"][0]["counted"] for seen in (first, second)] == [True, True], "boards count it all the same"


async def test_what_an_erased_users_event_did_is_not_guessed(world: World, scored: Any) -> None:
    with world.client("server") as server, world.client() as admin:
        admin.post("/v1/admin/earning-rules", json=rule("condition", conditions={"attrs.n": {"gt": 5}}))
        admin.post("/v1/admin/leaderboards", json=board("attrs.n") | {"leaderboard_id": "b"})
        server.post("/v1/events", json=event("e1", "lan", attrs={"n": 3}))
        await scored()
        gone = "UPDATE event_log SET external_user_id = 'erased:' || user_id WHERE tenant_id = %s RETURNING 1"  # as the erasure does
        world.rows(gone, world.tenant_id)
        seen = admin.get(f"{EVENTS}/e1").json()
    assert [each["why"] for each in seen["leaderboards"] + seen["earning_rules"]] == [{"code": "user_erased"}] * 2


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
