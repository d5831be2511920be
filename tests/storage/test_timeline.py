"""A board changes timeframe, aggregation and method while events come: each window counts and ranks by what it is."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import msgspec
import pytest_asyncio

from activities.window import WindowActivities
from domain.leaderboard import window_sequence
from domain.leaderboard.definition import LeaderboardDefinition
from domain.leaderboard.window_messages import WindowInput
from domain.leaderboard.window_sequence import find_window, segment_of
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.leaderboard.board import Boards
from storage.leaderboard.definition import Leaderboard, boards_by_id, replace_board
from storage.leaderboard.definition import find_window as find_row
from storage.leaderboard.rankings import Rankings
from storage.leaderboard.window import latest_start
from storage.rules_lock import change_instant
from tests.builders.scoring import NOON, Event, World, definition
from tests.builders.window import close_now, freeze, scoring


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def change(world: World, board: Leaderboard, what: LeaderboardDefinition) -> Leaderboard:
    """What a PUT does."""
    async with transaction(world.pool) as connection:
        present = (await boards_by_id(connection, world.tenant_id, [board.board_id]))[board.board_id]
        instant = await change_instant(connection, world.tenant_id)
        latest = await latest_start(connection, world.tenant_id, board.board_id)
        after = max(instant + window_sequence.NOTICE, latest or instant)
        line = window_sequence.changed(present.segments, segment_of(what.config), after=after)
        return await replace_board(connection, world.tenant_id, board.board_id, definition=what, instant=instant, timeline=line)


def at(instant: datetime) -> int:
    """The minute of a test event that occurs in this minute, and so in the same hour, whose window takes it for a minute more."""
    return int((instant - NOON).total_seconds() // 60)


async def entries(world: World, board: Leaderboard, key: str) -> list[tuple[str, int]]:
    """The window's entries as readers get them, from Redis and from PostgreSQL."""
    boards = Boards(world.pool, world.rankings)
    view = await boards.view(board, key, utc_now())
    assert view is not None
    shown = [(entry.external_user_id, entry.score) for entry in (await boards.page(view, 0, 100)).entries]
    boards._away_until = float("inf")
    assert [(entry.external_user_id, entry.score) for entry in (await boards.page(view, 0, 100)).entries] == shown
    return shown


async def test_windows_before_and_after_a_change_count_each_by_its_own(world: World) -> None:
    board = await world.make_board("b", definition("sum", "score_desc", timeframe={"type": "hourly"}))
    now = utc_now()
    await world.send([Event(user, points, at(now), f"a{n}") for n, (user, points) in enumerate([("u1", 1), ("u1", 2), ("u2", 5)])])
    await world.pump()
    board = await change(world, board, definition("max", "score_asc", timeframe={"type": "daily"}))
    old, new = board.segments
    assert new.starts_at is not None
    assert now + timedelta(hours=1) < new.starts_at <= now + timedelta(hours=2, minutes=1)
    last, begun = new.starts_at - timedelta(minutes=10), new.starts_at + timedelta(minutes=10)
    again = [("u1", 1, last), ("u1", 2, last), ("u2", 5, last), ("u1", 1, begun), ("u1", 2, begun), ("u2", 5, begun)]
    await world.send([Event(user, points, at(when), f"b{n}") for n, (user, points, when) in enumerate(again)])
    await world.pump()
    spans = [find_window(board.segments, instant) for instant in (now, last, begun)]
    assert [span.starts_at for span in spans[1:]] == [new.starts_at - timedelta(hours=1), new.starts_at]
    for span in spans[:2]:
        assert await entries(world, board, span.key) == [("u2", 50_000), ("u1", 30_000)]
    assert await entries(world, board, spans[2].key) == [("u1", 20_000), ("u2", 50_000)]
    assert spans[2].ends_at == datetime.combine(begun.date() + timedelta(days=1), datetime.min.time(), UTC)
    assert old.aggregation == "sum"
    await close_now(world, board, spans[1].key)
    await close_now(world, board, spans[2].key)
    async with scoring(world):
        assert (await freeze(world, board, spans[1].key)).total == 2
        assert (await freeze(world, board, spans[2].key)).total == 2
    assert await entries(world, board, spans[1].key) == [("u2", 50_000), ("u1", 30_000)]
    assert await entries(world, board, spans[2].key) == [("u1", 20_000), ("u2", 50_000)]


async def test_the_next_window_is_the_one_that_the_change_announced(world: World) -> None:
    board = await world.make_board("b", definition(timeframe={"type": "hourly"}))
    now = utc_now()
    await world.send([Event("u1", 1, at(now), "a")])
    await world.pump()
    board = await change(world, board, definition(timeframe={"type": "weekly"}))
    switch, activities, key = board.segments[1].starts_at, WindowActivities(world.pool, world.rankings), ""
    span = find_window(board.segments, now)
    while span.starts_at < switch:
        async with world.pool.connection() as connection:
            row = await find_row(connection, world.tenant_id, board.board_id, span.key)
        key = await activities.open_next(WindowInput(tenant_id=world.tenant_id, window_id=row.window_id))
        following = window_sequence.following_window(board.segments, span)
        assert following.starts_at == span.ends_at
        span = following
        assert key == span.key
    assert (span.starts_at, "-W" in key) == (switch, True)
    rows = await world.rows("SELECT starts_at, ends_at FROM leaderboard_window ORDER BY starts_at")
    assert all(before["ends_at"] == after["starts_at"] for before, after in itertools.pairwise(rows))


async def test_changes_and_the_making_of_windows_at_once_leave_no_overlap(world: World) -> None:
    """A window that was made ahead stays, whatever a clock says: the change waits for the one after it."""
    board = await world.make_board("b", definition(timeframe={"type": "hourly"}))
    await world.send([Event("u1", 1, at(utc_now()), "a")])
    await world.pump()
    activities, kinds = WindowActivities(world.pool, world.rankings), ["daily", "hourly", "weekly", "hourly"]

    async def make_windows() -> None:
        for _ in range(6):
            rows = await world.rows("SELECT window_id FROM leaderboard_window ORDER BY starts_at DESC LIMIT 1")
            await activities.open_next(WindowInput(tenant_id=world.tenant_id, window_id=rows[0]["window_id"]))

    async def make_changes() -> None:
        for kind in kinds:
            await change(world, board, definition(timeframe={"type": kind}))
            await asyncio.sleep(0.005)

    await asyncio.gather(make_windows(), make_changes())
    rows = await world.rows("SELECT window_key, starts_at, ends_at FROM leaderboard_window ORDER BY starts_at")
    assert all(before["ends_at"] == after["starts_at"] for before, after in itertools.pairwise(rows)), rows
    async with world.pool.connection() as connection:
        board = (await boards_by_id(connection, world.tenant_id, [board.board_id]))[board.board_id]
    for row in rows:
        span = find_window(board.segments, row["starts_at"])
        assert (span.key, span.starts_at, span.ends_at) == (row["window_key"], row["starts_at"], row["ends_at"])


async def test_a_change_taken_back_leaves_everything_as_it_was(world: World) -> None:
    what = definition("sum", timeframe={"type": "hourly"})
    board = await world.make_board("b", what)
    now = utc_now()
    await world.send([Event("u1", 2, at(now), "a")])
    board = await change(world, board, definition("count", timeframe={"type": "daily"}))
    await world.send([Event("u1", 3, at(now), "b")])
    board = await change(world, board, msgspec.structs.replace(what, name="Same"))
    await world.send([Event("u1", 4, at(now), "c")])
    await world.pump()
    assert len(board.segments) == 1
    assert await entries(world, board, find_window(board.segments, now).key) == [("u1", 90_000)]
