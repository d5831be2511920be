"""Tiers move in the transaction that moves points: once, with history and a notice, whatever is repeated or cut off."""

import asyncio
import random
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from domain.points.ledger import Adjustment
from domain.points.tier import parse_tier_set
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.leaderboard.rankings import Rankings
from storage.points.adjustment import adjust
from storage.points.tier import end_periods, lock_tier_set, write_tier_set
from storage.tenant.tenant import lock_tenant, update_tenant
from tests.builders.scoring import PARTITIONS, Event, World

TIERS = [{"name": "bronze", "level": 1, "threshold": 0}, {"name": "silver", "level": 2, "threshold": 10}]
TIERS.append({"name": "gold", "level": 3, "threshold": 25})


async def review_due_tiers(pool: Pool) -> int:
    """What the platform's tier review does."""
    reviewed = 0
    while True:
        async with transaction(pool) as connection:
            page = await end_periods(connection, utc_now(), 100)
        if page == 0:
            return reviewed
        reviewed += page


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def write_tiers(world: World, basis: str = "lifetime_earned", **more: Any) -> None:
    async with transaction(world.pool) as connection:
        await lock_tier_set(connection, world.tenant_id, utc_now())
        await write_tier_set(connection, world.tenant_id, parse_tier_set({"tiers": TIERS, "basis": basis, **more}, 0), utc_now())


async def history(world: World) -> list[tuple[str, str | None, str, int]]:
    rows = await world.rows(
        "SELECT external_id, previous_tier, new_tier, points FROM tier_change JOIN app_user USING (user_id) ORDER BY change_id"
    )
    return [(row["external_id"], row["previous_tier"], row["new_tier"], row["points"]) for row in rows]


async def tiers(world: World) -> dict[str, str]:
    rows = await world.rows("SELECT external_id, tier FROM user_tier JOIN app_user USING (user_id)")
    return {row["external_id"]: row["tier"] for row in rows}


async def test_earnings_lead_to_tiers_and_tell_the_endpoints(world: World) -> None:
    await world.rows(
        "INSERT INTO webhook_endpoint (tenant_id, endpoint_id, url, events, enabled, rate_per_second, timeout_seconds,"
        " retry_delays_seconds, created_at, updated_at)"
        " VALUES (%s, %s, 'http://127.0.0.1:9/', '{tier_change}', true, 1, 1, '{1}', now(), now())",
        world.tenant_id,
        new_id(),
        fetch=False,
    )
    await world.make_earning_rule("attrs.points")
    await world.send([Event("u", 4, 0, "a")])
    await world.pump()
    assert await tiers(world) == {}
    await write_tiers(world)
    await world.send([Event("u", 8, 0, "b"), Event("v", 1, 0, "c")])
    await world.pump()
    await world.send([Event("u", 8, 0, "b"), Event("u", 100, 0, "d")])
    await world.pump()
    changes = [("u", None, "silver", 12), ("u", "silver", "gold", 112), ("v", None, "bronze", 1)]
    assert sorted(await history(world), key=str) == sorted(changes, key=str)
    rows = await world.rows("SELECT body FROM webhook_delivery WHERE event = 'tier_change'")
    assert len(rows) == 3
    assert sum(b'"previous_tier":"silver","new_tier":"gold","points":112' in bytes(row["body"]) for row in rows) == 1


@pytest.mark.parametrize("basis", ["lifetime_earned", "balance"])
async def test_an_adjustment_counts_for_the_balance_only(world: World, basis: str) -> None:
    await write_tiers(world, basis)
    await world.make_earning_rule("attrs.points")
    await world.send([Event("u", 4, 0, "a")])
    await world.pump()
    user_id = (await world.rows("SELECT user_id FROM app_user"))[0]["user_id"]
    for amount in (30, -30):
        async with transaction(world.pool) as connection:
            given = Adjustment(user_id=user_id, currency_id="points", amount=amount, reason="r", cause_id=str(new_id()))
            await adjust(connection, world.tenant_id, given, utc_now())
    assert await tiers(world) == {"u": "gold" if basis == "balance" else "bronze"}


async def test_a_rule_for_a_tier_gives_to_its_users_only(world: World) -> None:
    await write_tiers(world)
    await world.make_earning_rule("attrs.points")
    bonus = await world.make_earning_rule("1", segment={"tiers": ["silver", "gold"]})
    await world.send([Event("u", 12, 0, "a"), Event("v", 1, 0, "b")])
    await world.pump()
    await world.send([Event("u", 1, 0, "c"), Event("v", 1, 0, "d")])
    await world.pump()
    assert len(await world.rows("SELECT FROM transfer WHERE cause_id LIKE %s", f"%:{bonus}")) == 1


@pytest.mark.parametrize("seed", range(4))
async def test_crashes_and_rivals_change_no_tier_twice(world: World, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr("activities.scoring.BATCH_LIMIT", dice.choice([1, 3, 5000]))
    await write_tiers(world)
    await world.make_earning_rule("attrs.points")
    events = [Event(f"u{dice.randrange(6)}", dice.randint(1, 6), 0, f"e{n}") for n in range(40)]
    for start in range(0, 40, 10):
        await world.send(events[start : start + 10])
        work = asyncio.create_task((await world.owner(dice.randrange(PARTITIONS))).score(50))
        await asyncio.sleep(dice.random() * 0.02)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await asyncio.gather(world.pump(), world.pump())
    totals = {user: sum(int(e.points) for e in events if e.user == user) for user in {event.user for event in events}}
    assert await tiers(world) == {u: "gold" if n >= 25 else "silver" if n >= 10 else "bronze" for u, n in totals.items()}
    order = {None: 0, "bronze": 1, "silver": 2, "gold": 3}
    for user in totals:
        mine = [(before, after) for name, before, after, _ in await history(world) if name == user]
        assert [after for _, after in mine[:-1]] == [before for before, _ in mine[1:]]
        assert all(order[before] < order[after] for before, after in mine)


async def months_pass(world: World, days: int) -> None:
    """As if everything so far had happened earlier."""
    gone = f"interval '{days} days'"
    for column in ("since", "reviewed_at"):
        await world.rows(f"UPDATE user_tier SET {column} = {column} - {gone}", fetch=False)
    await world.rows(f"UPDATE transfer SET created_at = created_at - {gone}", fetch=False)


async def test_a_tier_of_a_period_is_lost_at_its_end_to_what_was_earned_in_it(world: World) -> None:
    await write_tiers(world, "earned_in_period", downgrade="at_period_end", period_days=30)
    await world.make_earning_rule("attrs.points")
    await world.send([Event("u", 26, 0, "a"), Event("v", 26, 0, "b"), Event("w", 9, 0, "c")])
    await world.pump()
    assert await tiers(world) == {"u": "gold", "v": "gold", "w": "bronze"}
    assert await review_due_tiers(world.pool) == 0
    await months_pass(world, 20)
    await world.send([Event("v", 11, 0, "d"), Event("w", 1, 0, "e")])
    await world.pump()
    assert await tiers(world) == {"u": "gold", "v": "gold", "w": "silver"}
    await months_pass(world, 11)
    await asyncio.gather(review_due_tiers(world.pool), review_due_tiers(world.pool))
    assert await tiers(world) == {"u": "bronze", "v": "silver", "w": "silver"}
    assert ("u", "gold", "bronze", 0) in await history(world)
    assert len(await history(world)) == 6
    assert await review_due_tiers(world.pool) == 0


async def test_what_is_never_lost_is_not_reviewed(world: World) -> None:
    await write_tiers(world, "earned_in_period", period_days=30)
    await world.make_earning_rule("attrs.points")
    await world.send([Event("u", 26, 0, "a")])
    await world.pump()
    await months_pass(world, 100)
    assert await review_due_tiers(world.pool) == 0
    await world.send([Event("u", 11, 0, "b")])
    await world.pump()
    assert await tiers(world) == {"u": "gold"}


async def test_pumps_corrections_and_changes_of_the_rules_do_not_stand_in_each_others_way(world: World) -> None:
    await write_tiers(world)
    rule_id = await world.make_earning_rule("attrs.points", budget=1000, max_per_day=500)
    await world.send([Event(f"u{n}", 1, 0, f"first{n}") for n in range(8)])
    await world.pump()
    users = [row["user_id"] for row in await world.rows("SELECT user_id FROM app_user")]

    async def correct(user_id: UUID) -> None:
        for amount in (5, -5, 5):
            async with transaction(world.pool) as connection:
                given = Adjustment(user_id=user_id, currency_id="points", amount=amount, reason="r", cause_id=str(new_id()))
                await adjust(connection, world.tenant_id, given, utc_now())

    async def redefine() -> None:
        for zone in ("Asia/Tokyo", "UTC"):
            await write_tiers(world)
            await world.make_earning_rule("attrs.points", rule_id=rule_id, budget=1000, max_per_day=500)
            async with transaction(world.pool) as connection:
                await lock_tenant(connection, world.tenant_id)
                await update_tenant(connection, world.tenant_id, {"timezone": zone}, utc_now())

    await world.send([Event(f"u{n % 8}", 1, 0, f"e{n}") for n in range(200)])
    async with asyncio.timeout(60):
        await asyncio.gather(world.pump(), world.pump(), redefine(), *map(correct, users))
    assert await tiers(world) == {f"u{n}": "gold" for n in range(8)}
    assert (await world.rows("SELECT spent FROM earning_budget"))[0]["spent"] == 208 * 10_000
