"""A tenant with more than its share is put behind: nobody waits for it, and nothing of it is lost, doubled, or closed too early."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta

import psycopg
import pytest
import pytest_asyncio

from domain import limits
from loops.scoring.barrier import Barrier
from loops.scoring.batch import Scorer
from loops.scoring.shares import ScoringShares
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.event.retention import drop_event_partitions
from storage.leaderboard.definition import Leaderboard
from storage.leaderboard.rankings import Rankings
from storage.leaderboard.rescore_request import request_rescore
from storage.scoring import pump as scoring
from storage.scoring.pump import StaleOwner
from tests.builders.scoring import PARTITIONS, Event, World, definition, reference

EVENTS = [Event(f"u{n % 7}", n * 7 % 5 - 1.5, n * 13 % 60, f"e{n:03}") for n in range(120)]


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


@pytest_asyncio.fixture
async def heavy(pool: Pool, redis_client: Redis, postgres_url: str, world: World) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of a few events, so that tenants are put behind all the time."""
    for name, value in (("TENANT_WORK", 14_000), ("TURN_WORK", 12_000)):
        monkeypatch.setattr(limits, name, limits.Limit(section="s", name="n", value=value, unit="u", scope="tenant", beyond="b"))


def crowded() -> ScoringShares:
    """As if another tenant had just sent events."""
    shares = ScoringShares()
    shares.note([new_id()])
    return shares


async def owner(world: World, partition: int) -> Scorer:
    async with transaction(world.pool) as connection:
        epoch = await scoring.take_partition(connection, partition)
    return Scorer(world.pool, partition, epoch, shares=crowded())


async def behind(world: World) -> list[int]:
    """The partitions in which the tenant is behind."""
    rows = await world.rows("SELECT scoring_partition AS p FROM scoring_backlog WHERE tenant_id = %s ORDER BY 1", world.tenant_id)
    return [row["p"] for row in rows]


async def put_behind(heavy: World, events: Sequence[Event] = EVENTS) -> dict[int, Scorer]:
    """The owners of all partitions, who have passed the tenant's events."""
    await heavy.send(events)
    owners = {partition: await owner(heavy, partition) for partition in range(PARTITIONS)}
    for each in owners.values():
        await each.score(5000)
    assert len(await behind(heavy)) == len({await heavy.partition_of(event.user) for event in events})
    return owners


async def catch_up(owners: dict[int, Scorer]) -> None:
    for each in owners.values():
        while each.lags:
            await each.catch_up(5000)


async def total(world: World, board: Leaderboard) -> int:
    return len(await world.stored_rows(board))


async def test_events_behind_those_of_a_heavy_tenant_are_scored_in_the_next_transaction(world: World, heavy: World) -> None:
    for n in range(30):
        await heavy.make_board(f"b{n}", definition())
    board = await world.make_board("b", definition())
    await heavy.send([Event("hog", 1, 0, f"h{n:04}") for n in range(1000)])
    await world.send([Event(f"u{n}", 1, 0, f"e{n}") for n in range(20)])
    for partition in range(PARTITIONS):
        batch = await (await owner(world, partition)).score(5000)
        assert not batch.behind
    assert await total(world, board) == 20
    assert await behind(heavy) == [await heavy.partition_of("hog")]
    assert not await world.rows("SELECT FROM standing WHERE tenant_id = %s", heavy.tenant_id)


async def test_a_tenant_that_is_alone_has_all_there_is(world: World, small: None) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS)
    for partition in range(PARTITIONS):
        await (await world.owner(partition)).score(5000)
    assert await world.stored_rows(board) == reference(definition(), EVENTS)
    assert await behind(world) == []


async def test_a_tenant_that_is_alone_and_fills_a_read_is_passed_so_that_who_comes_next_is_seen(world: World, heavy: World) -> None:
    board = await world.make_board("b", definition())
    await heavy.send([Event("hog", 1, 0, f"h{n:04}") for n in range(60)])
    partition = await heavy.partition_of("hog")
    await world.send([Event(f"u{n}", 1, 0, f"e{n}") for n in range(40)])
    mine = [f"u{n}" for n in range(40) if await world.partition_of(f"u{n}") == partition]
    scorer = await world.owner(partition)
    for _ in range(2):
        await scorer.score(20)
    assert {user for user, _ in await world.stored_rows(board)} & set(mine)
    assert await behind(heavy) == [partition]


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_put_behind_counts_once_through_turns_crashes_and_owners(
    world: World, heavy: World, small: None, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)
    worlds = {world: await world.make_board("b", definition()), heavy: await heavy.make_board("b", definition("max"))}
    owners = {partition: await owner(world, partition) for partition in range(PARTITIONS)}
    real = scoring.advance_cursor

    async def fails_at_times(*given: object, **more: object) -> None:
        if dice.random() < 0.2:
            raise ConnectionResetError("the server went away")
        await real(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "advance_cursor", fails_at_times)
    seen = set[int]()
    for start in range(0, len(EVENTS), 20):
        for each in worlds:
            await each.send(EVENTS[start : start + 20])
        for _ in range(20):
            partition = dice.randrange(PARTITIONS)
            if dice.random() < 0.1:
                owners[partition] = await owner(world, partition)
            try:
                batch = await dice.choice([owners[partition].score, owners[partition].catch_up])(dice.choice([7, 5000]))
            except ConnectionResetError:
                continue
            if dice.random() < 0.7:
                await world.rankings.publish(batch.publications)
            seen |= set(await behind(heavy))
    assert seen, "nobody was ever behind"
    monkeypatch.setattr(scoring, "advance_cursor", real)
    await world.pump()
    await heavy.pump()  # its rankings have to learn of the database too
    assert await behind(world) == await behind(heavy) == []
    for each, aggregation in ((world, "sum"), (heavy, "max")):
        expected = reference(definition(aggregation), EVENTS)
        assert await each.stored_rows(worlds[each]) == expected
        assert await each.live_rows(worlds[each]) == expected


async def test_a_window_ends_when_its_own_tenant_has_caught_up_and_waits_for_no_other(world: World, heavy: World, small: None) -> None:
    await heavy.make_board("b", definition())
    owners = await put_behind(heavy)
    now, barrier = utc_now(), Barrier(world.pool)
    await asyncio.wait_for(barrier.passed(world.tenant_id, now), 60)
    waiting = asyncio.create_task(barrier.passed(heavy.tenant_id, now))
    await asyncio.sleep(1)
    assert not waiting.done()
    await catch_up(owners)
    await asyncio.wait_for(waiting, 60)


async def test_a_rescore_reads_to_where_a_tenant_that_is_behind_stands(world: World, heavy: World, small: None) -> None:
    board = await heavy.make_board("b", definition())
    await heavy.send(EVENTS[:40])
    await heavy.pump()
    owners = await put_behind(heavy, EVENTS[40:])
    async with transaction(heavy.pool) as connection:
        rescore = await request_rescore(connection, heavy.tenant_id, "b", "all")
    until = await heavy.rows("SELECT scoring_partition AS p, until_position AS u FROM rescore_partition")
    stand = await heavy.rows("SELECT scoring_partition AS p, position AS u FROM scoring_backlog")
    assert {(row["p"], row["u"]) for row in stand} <= {(row["p"], row["u"]) for row in until}
    await catch_up(owners)
    hidden = await heavy.rows("SELECT sum(counted)::int AS n FROM standing WHERE window_id = %s", rescore.rescore_id)
    assert hidden[0]["n"] == 80, "what was behind is written to both"
    assert await heavy.stored_rows(board) == reference(definition(), EVENTS)


async def test_an_event_that_breaks_scoring_is_found_behind_too(world: World, heavy: World, small: None) -> None:
    board = await heavy.make_board("b", definition())
    await heavy.send([*EVENTS, Event("u1", 9, 5, "broken")], bodies={"broken": b"not json"})
    for partition in range(PARTITIONS):
        await (await owner(heavy, partition)).score(5000)
    assert await behind(heavy)
    await heavy.pump()
    assert await heavy.live_rows(board) == await heavy.stored_rows(board) == reference(definition(), EVENTS)
    assert [row["event_id"] for row in await heavy.rows("SELECT event_id FROM dead_letter")] == ["broken"]


async def test_an_owner_that_was_replaced_catches_nobody_up(world: World, heavy: World, small: None) -> None:
    board = await heavy.make_board("b", definition())
    owners = await put_behind(heavy)
    await heavy.pump()
    with pytest.raises(StaleOwner):
        await next(iter(owners.values())).catch_up(5000)
    assert await heavy.stored_rows(board) == reference(definition(), EVENTS)


async def test_a_pump_of_a_release_that_knows_no_backlog_cannot_take_its_partition(world: World, heavy: World, small: None) -> None:
    await heavy.make_board("b", definition())
    owners = await put_behind(heavy)
    partition = (await behind(heavy))[0]
    take = "UPDATE scoring_cursor SET owner_epoch = owner_epoch + 1 WHERE scoring_partition = %s"
    with pytest.raises(psycopg.errors.CheckViolation):
        await heavy.rows(take, partition, fetch=False)
    await catch_up(owners)
    await heavy.rows(take, partition, fetch=False)


async def test_a_day_of_the_log_stays_while_a_tenant_is_behind_in_it(world: World, heavy: World, small: None) -> None:
    await heavy.make_board("b", definition())
    owners = await put_behind(heavy)
    await heavy.rows("UPDATE scoring_backlog SET accepted_at = NULL", fetch=False)
    later = utc_now() + timedelta(days=3)
    async with transaction(heavy.pool) as connection:
        kept = await heavy.rows("SELECT count(*) AS n FROM event_log")
        await drop_event_partitions(connection, later)
        left = await (await connection.execute("SELECT count(*) AS n FROM event_log")).fetchone()
        assert left == kept[0]
        await connection.execute("SET LOCAL lock_timeout = 0")
    await catch_up(owners)
