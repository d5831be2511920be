"""Random rules with limits, events, batches and crashes: the ledger equals a loop over the log, and no cap or budget is ever exceeded."""

import asyncio
import datetime as dt
import random
from collections import Counter
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest

from runtime.postgres import Pool
from runtime.redis import Redis
from storage.leaderboard.rankings import Rankings
from tests.builders.scoring import PARTITIONS, Event, World, units

ZONE = "America/New_York"
USERS = [f"u{n}" for n in range(5)]
KEYS = {"max_per_day": "%Y-%m-%d", "max_per_week": "%G-W%V", "max_per_month": "%Y-%m"}


class Logged(msgspec.Struct):
    position: int
    user: str
    points: int
    occurred_at: dt.datetime


def some_rule(dice: random.Random) -> dict[str, Any]:
    rule: dict[str, Any] = {name: dice.choice([0.5, 2.5, 7, 30]) for name in KEYS if dice.random() < 0.5}
    if dice.random() < 0.3:
        rule["max_per_event"] = 3
    if dice.random() < 0.4:
        rule["segment"] = {"attributes": {"country": {"in": ["VN", "TH"]}}}
    if dice.random() < 0.5:
        rule["budget"] = dice.choice([0.25, 10.75, 60, 1e6])
    return rule


def periods(rule: dict[str, Any], event: Logged) -> dict[str, int]:
    local = event.occurred_at.astimezone(ZoneInfo(ZONE))
    return {local.strftime(shape): units(rule[name]) for name, shape in KEYS.items() if name in rule}


def reference(rule: dict[str, Any], events: list[Logged], unit: int) -> dict[int, int]:
    """Points by position as if the budget had no end."""
    used: Counter[tuple[str, str]] = Counter()
    given = {}
    for event in events:
        if "segment" in rule and event.user not in USERS[:3]:
            continue
        points = min(event.points, units(rule.get("max_per_event", 1e9)))
        points = min([points, *(cap - used[event.user, key] for key, cap in periods(rule, event).items())])
        points -= points % unit
        if points > 0:
            given[event.position] = points
            used.update({(event.user, key): points for key in periods(rule, event)})
    return given


async def set_up(world: World, places: int) -> None:
    await world.rows("UPDATE tenant SET timezone = %s", ZONE, fetch=False)
    await world.rows("UPDATE currency SET decimal_places = %s", places, fetch=False)
    for number, name in enumerate(USERS[:4]):
        await world.rows(
            "INSERT INTO app_user (tenant_id, user_id, external_id, attributes, created_at, updated_at)"
            " VALUES (%s, gen_random_uuid(), %s, jsonb_build_object('country', %s::text), now(), now())",
            world.tenant_id,
            name,
            "VN" if number < 3 else "DE",
            fetch=False,
        )


async def crash(world: World, dice: random.Random) -> None:
    """An owner is cut off at some moment of its transaction, or just after it."""
    owner = await world.owner(dice.randrange(PARTITIONS))
    work = asyncio.create_task(owner.score(dice.randint(1, 50)))
    await asyncio.sleep(dice.random() * 0.02)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def logged(world: World) -> list[Logged]:
    rows = await world.rows("SELECT position, external_user_id, occurred_at, body FROM event_log ORDER BY position")
    return [
        Logged(row["position"], row["external_user_id"], units(msgspec.json.decode(row["body"])["attrs"]["points"]), row["occurred_at"])
        for row in rows
    ]


async def posted(world: World, rule_id: UUID, unit: int) -> dict[int, int]:
    rows = await world.rows("SELECT cause_id, amount FROM transfer WHERE cause_id LIKE %s", f"%:{rule_id}")
    return {int(row["cause_id"].partition(":")[0]): row["amount"] * unit for row in rows}


@pytest.mark.parametrize("seed", range(8))
async def test_the_ledger_equals_the_reference(
    seed: int, pool: Pool, redis_client: Redis, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr("activities.scoring.BATCH_LIMIT", dice.choice([1, 7, 5000]))
    world = await World(pool, Rankings(redis_client), postgres_url).open()
    places = dice.choice([0, 0, 1, 4])
    unit = 10 ** (4 - places)
    await set_up(world, places)
    rules = [some_rule(dice) for _ in range(4)]
    ids = [await world.make_earning_rule("attrs.points", **rule) for rule in rules]
    moments = [dt.timedelta(days=day, hours=hour) // dt.timedelta(minutes=1) for day in (0, 1, 6, 31) for hour in (0, 17, 23)]
    events = [Event(dice.choice(USERS), dice.choice([-1, 0.3, 1, 2.5, 4]), dice.choice(moments), f"e{n}") for n in range(100)]
    for start in range(0, 100, 20):
        await world.send(events[max(0, start - 5) : start + 20])
        await asyncio.gather(crash(world, dice), crash(world, dice))
        if dice.random() < 0.6:
            await asyncio.gather(world.pump(), world.pump())
    await world.pump()
    log = await logged(world)
    assert len(log) == 100
    for rule, rule_id in zip(rules, ids, strict=True):
        expected, got = reference(rule, log, unit), await posted(world, rule_id, unit)
        if "budget" in rule:
            limit = units(rule["budget"]) // unit * unit
            assert sum(got.values()) == min(limit, sum(expected.values()))
            assert all(points <= expected[position] for position, points in got.items())
        else:
            assert got == expected
        await the_books_agree(world, rule_id, got, rule)


async def the_books_agree(world: World, rule_id: UUID, got: dict[int, int], rule: dict[str, Any]) -> None:
    """What is noted against budgets and caps is what was posted."""
    spent = (await world.rows("SELECT spent FROM earning_budget WHERE rule_id = %s", rule_id))[0]["spent"]
    assert spent == (sum(got.values()) if "budget" in rule else 0)
    used: Counter[tuple[str, str]] = Counter()
    for event in await logged(world):
        used.update({(event.user, key): got.get(event.position, 0) for key in periods(rule, event)})
    rows = await world.rows(
        "SELECT external_id, period, given FROM earning_usage JOIN app_user USING (user_id) WHERE rule_id = %s", rule_id
    )
    assert {(row["external_id"], row["period"]): row["given"] for row in rows if row["given"]} == {k: v for k, v in used.items() if v}


async def test_a_raised_budget_gives_again_and_a_batch_may_span_the_change(pool: Pool, redis_client: Redis, postgres_url: str) -> None:
    world = await World(pool, Rankings(redis_client), postgres_url).open()
    rule_id = await world.make_earning_rule("attrs.points", budget=10, max_per_day=100)
    await world.send([Event("u", 8, 0, "a"), Event("u", 8, 0, "b"), Event("u", 8, 0, "c")])
    await world.make_earning_rule("attrs.points", rule_id=rule_id, budget=15, max_per_day=12)
    await world.send([Event("u", 1, 0, "d"), Event("u", 8, 0, "e")])
    await world.pump()
    assert list((await posted(world, rule_id, 10_000)).values()) == [80_000, 20_000, 10_000, 10_000]
