"""The end of a window on a real PostgreSQL: what counts, the barrier, and the snapshot."""

import asyncio
import datetime as dt

import msgspec
import pytest
import pytest_asyncio

from activities.scoring import ScoringPump
from loops.scoring.barrier import Barrier
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, connect, transaction
from runtime.redis import Redis
from storage.leaderboard.board import Boards
from storage.leaderboard.definition import Leaderboard, archive_board, latest_ended_window
from storage.leaderboard.rankings import Rankings
from storage.outbox import lease_due
from storage.rules_lock import change_instant
from tests.builders.scoring import PARTITIONS, Event, World, definition, reference
from tests.builders.window import KEY, close_now, ending, freeze, page, scoring, the_window

EVENTS = [Event(f"u{n % 11}", n * 7 % 5 - 1.5, n * 13 % 9, f"e{n:03}") for n in range(80)]


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def commands(world: World) -> list[str]:
    async with transaction(world.pool) as connection:
        return [f"{row.kind} {row.workflow_id}" for row in await lease_due(connection, 100)]


async def entries(world: World, board) -> list[tuple[int, str, int]]:
    window = await the_window(world, board)
    async with world.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT rank, external_user_id, score FROM snapshot_entry WHERE window_id = %s ORDER BY rank", (window.window_id,)
        )
        return [(row["rank"], row["external_user_id"], row["score"]) for row in await cursor.fetchall()]


@pytest.mark.parametrize("aggregation", ["sum", "max", "min", "count", "avg"])
@pytest.mark.parametrize("method", ["score_desc", "score_asc"])
async def test_the_snapshot_is_the_reference_order_with_its_ties(world: World, aggregation: str, method: str) -> None:
    what = ending(aggregation, method, min_score=-1)
    board = await world.make_board("b", what)
    await world.send(EVENTS)
    await world.pump()
    before = await page(world, board)
    await close_now(world, board)
    frozen = await freeze(world, board)
    expected = reference(what, EVENTS)
    assert await entries(world, board) == [(rank, user, score) for rank, (user, score) in enumerate(expected, 1)]
    assert (frozen.status, frozen.total, frozen.snapshot_size) == ("paid", len(expected), len(expected))
    assert before == (len(expected), expected)
    assert await page(world, board) == before


async def test_a_snapshot_keeps_the_best_and_pages_beyond_them_answer_as_before(world: World) -> None:
    what = ending()
    what = msgspec.structs.replace(what, config=msgspec.structs.replace(what.config, ranking=type(what.config.ranking)(size=4)))
    board = await world.make_board("b", what)
    await world.send(EVENTS)
    await world.pump()
    boards = Boards(world.pool, world.rankings)
    users = [user for user, _ in reference(what, EVENTS)]

    async def answers():
        view = await boards.view(board, KEY, utc_now())
        around = [await boards.around(view, user, 5) for user in [*users, "nobody"]]
        pages = [await page(world, board, first, limit) for first, limit in ((0, 4), (2, 2), (2, 5), (5, 100), (50, 5))]
        return pages, around, await boards.places(view, [*users, "nobody"])

    before = await answers()
    await close_now(world, board)
    frozen = await freeze(world, board)
    assert (frozen.total, frozen.snapshot_size) == (11, 4)
    assert await answers() == before
    assert len(await entries(world, board)) == 4


async def test_freezing_twice_at_once_writes_one_snapshot(world: World) -> None:
    board = await world.make_board("b", ending())
    await world.send(EVENTS)
    await world.pump()
    await close_now(world, board)
    first, second = await asyncio.gather(freeze(world, board), freeze(world, board))
    assert first == second
    assert len(await entries(world, board)) == 11


@pytest.mark.parametrize(("least", "ranked"), [(1e15, 0), (-1e15, 11)])
async def test_a_window_closes_whatever_its_min_score(world: World, least: float, ranked: int) -> None:
    board = await world.make_board("b", ending(min_score=least))
    await world.send(EVENTS[:40])
    await world.pump()
    await close_now(world, board)
    assert (await freeze(world, board)).total == ranked


async def test_a_late_event_is_counted_as_late_and_changes_nothing(world: World) -> None:
    board = await world.make_board("b", ending())
    await world.send(EVENTS[:40])
    await world.pump()
    await close_now(world, board)
    await world.send([Event("u1", 1000, 5, "late")])
    await world.pump()
    expected = (11, reference(ending(), EVENTS[:40]))
    assert await page(world, board) == expected
    await freeze(world, board)
    await world.send([Event("u2", 1000, 5, "later")])
    await world.pump()
    assert await page(world, board) == expected
    assert (await the_window(world, board)).late_events == 2


async def test_the_barrier_waits_for_a_writer_that_began_before_the_end(world: World, postgres_url: str) -> None:
    board = await world.make_board("b", ending())
    await world.send(EVENTS[:10])
    await world.pump()
    async with scoring(world), await connect(postgres_url, "slow-writer") as slow:
        async with slow.transaction():
            await slow.execute(
                "SELECT append_events(%s::uuid[], '{server}', '{slow}', '{match}', '{NULL}'::uuid[], %s::uuid[], '{u5}',"
                " ARRAY[now()], ARRAY[%s::bytea], %s)",
                (
                    [world.tenant_id],
                    [new_id()],
                    b'{"event_id": "slow", "type": "match", "actor": {"user_id": "u5"}, "attrs": {"points": 500}}',
                    PARTITIONS,
                ),
            )
            await close_now(world, board)
            closing = asyncio.create_task(freeze(world, board))
            await world.send([Event("u6", 900, 5, "late")])
            done, _ = await asyncio.wait({closing}, timeout=1.5)
            assert not done, "the slow writer's event counts, so the window must wait"
        frozen = await asyncio.wait_for(closing, 60)
    assert frozen.late_events <= 1
    assert (await entries(world, board))[0][1:] == ("u5", dict(reference(ending(), EVENTS[:10]))["u5"] + 5_000_000)


async def test_the_barrier_waits_for_the_slowest_partition(world: World) -> None:
    board = await world.make_board("b", ending())
    await world.send(EVENTS[:1])
    await world.pump()
    await world.send(EVENTS)
    await close_now(world, board)
    async with scoring(world, PARTITIONS - 1):
        closing = asyncio.create_task(freeze(world, board))
        done, _ = await asyncio.wait({closing}, timeout=1.5)
        assert not done
    async with scoring(world):
        await asyncio.wait_for(closing, 60)
    assert [row[1:] for row in await entries(world, board)] == reference(ending(), EVENTS)


async def test_windows_that_wait_together_share_one_look(world: World) -> None:
    await world.pump()
    barrier = Barrier(world.pool)
    async with scoring(world):
        async with asyncio.timeout(60):
            await asyncio.gather(*(barrier.passed(world.tenant_id, utc_now()) for _ in range(500)))


async def test_an_early_close_among_events_splits_them_by_the_instant_of_acceptance(world: World) -> None:
    board = await world.make_board("b", ending("count"))
    await world.send([Event("u0", 1, 1, "first")])
    await world.pump()

    async def send(sender: int) -> None:
        for number in range(30):
            await world.send([Event(f"u{sender}", 1, 1, f"{sender}-{number}")])

    async with scoring(world):
        senders = [asyncio.create_task(send(sender)) for sender in range(3)]
        await asyncio.sleep(0.15)
        instant = await close_now(world, board)
        await asyncio.gather(*senders)
        frozen = await freeze(world, board)
    await world.pump()
    async with world.pool.connection() as connection:
        counting = "SELECT count(*) FILTER (WHERE accepted_at < %s) AS counted, count(*) AS all FROM event_log"
        cursor = await connection.execute(counting, (instant,))
        said = await cursor.fetchone()
    assert sum(score for _, _, score in await entries(world, board)) == 10_000 * said["counted"]
    assert (await the_window(world, board)).late_events == said["all"] - said["counted"]
    assert frozen.total == len(await entries(world, board))


async def test_a_window_that_something_counts_in_starts_its_workflow_once(world: World) -> None:
    board = await world.make_board("b", ending())
    await world.make_board("forever", definition())
    await world.send(EVENTS)
    await world.pump()
    assert await commands(world) == [f"start window:{world.tenant_id}:{board.board_id}:{KEY}"]


async def test_history_that_comes_too_late_starts_nothing_and_is_counted(world: World) -> None:
    board = await world.make_board("b", definition(timeframe={"type": "hourly"}))
    await world.send([Event("u1", 1, 60 * hour, f"e{hour:03}") for hour in range(200)])
    await world.pump()
    assert await commands(world) == []
    window = await the_window(world, board, "2026-02-03T12")
    assert (window.status, window.total, window.late_events) == ("paid", None, 1)
    async with world.pool.connection() as connection:  # a window without a result is nothing to show in the place of an empty one
        assert await latest_ended_window(connection, world.tenant_id, board.board_id, utc_now()) is None


async def one_event_in_time(world: World) -> tuple[Leaderboard, dt.datetime, str]:
    """A board that ends soon, when it does, and the event that was accepted before: a slow machine gets more time for it."""
    for seconds in (1, 5, 60):
        ends_at, name = utc_now() + dt.timedelta(seconds=seconds), f"in-time-{seconds}"
        board = await world.make_board(f"b{seconds}", ending(ends_at=ends_at))
        await world.send([Event("u1", 1, 1, name)])
        (logged,) = await world.rows("SELECT accepted_at FROM event_log WHERE event_id = %s", name)
        if logged["accepted_at"] < ends_at - dt.timedelta(milliseconds=100):
            return board, ends_at, name
    raise AssertionError("an event takes a minute")


async def test_an_event_in_time_opens_a_window_that_late_ones_had_made(world: World) -> None:
    """One partition lags: it meets an event that counts after another has met one that came too late."""
    board, ends_at, name = await one_event_in_time(world)
    await asyncio.sleep(max(0.0, (ends_at - utc_now()).total_seconds()) + 0.1)
    await world.send([Event(f"u{n}", 1, 1, f"late-{n}") for n in range(2, 30)])
    async with world.pool.connection() as connection:
        cursor = await connection.execute("SELECT scoring_partition FROM event_log WHERE event_id = %s", (name,))
        lagging = (await cursor.fetchone())["scoring_partition"]
    pumps = [ScoringPump(world.pool, world.rankings, world.wakeup, partition) for partition in range(PARTITIONS) if partition != lagging]
    await asyncio.gather(*(pump.run(asyncio.Event(), until_idle=True) for pump in pumps))
    assert (await the_window(world, board)).status == "paid"
    assert await commands(world) == []
    await world.pump()
    assert (await the_window(world, board)).status == "open"
    assert len(await commands(world)) == 1
    frozen = await freeze(world, board)
    assert (frozen.total, frozen.late_events) == (1, 28)


async def test_archiving_closes_windows_with_and_without_an_end(world: World) -> None:
    ends, endless = await world.make_board("ends", ending()), await world.make_board("endless", definition())
    await world.send(EVENTS)
    await world.pump()
    async with transaction(world.pool) as connection:
        for board in (ends, endless):
            instant = await change_instant(connection, world.tenant_id)
            await archive_board(connection, world.tenant_id, board.board_id, instant=instant)
    await world.pump()
    assert (await freeze(world, ends)).total == 11
    assert (await freeze(world, endless, "all")).total == 11
    assert sorted(command.split()[0] for command in await commands(world)) == ["start", "start"], "each start goes before its update"
