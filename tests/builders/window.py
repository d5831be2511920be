"""Windows that end, for tests: boards whose window holds the events of `tests.builders.scoring`, and the steps of closing it by hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

from activities.scoring import ScoringPump
from domain.leaderboard.definition import LeaderboardDefinition
from domain.leaderboard.window_messages import FrozenWindow
from domain.wire import rfc3339
from loops.scoring.barrier import Barrier
from runtime.ids import utc_now
from runtime.postgres import transaction
from storage.leaderboard.board import Boards
from storage.leaderboard.definition import Leaderboard, find_window
from storage.leaderboard.snapshot import lock_freezing
from storage.leaderboard.window import BoardWindow, begin_closing, close_early, window_with_board
from storage.payout.window_payout import freeze_window
from storage.rules_lock import change_instant
from tests.builders.scoring import NOON, PARTITIONS, World, definition

STARTS_AT = NOON - timedelta(hours=1)
KEY = rfc3339(STARTS_AT)


def ending(aggregation: str = "sum", method: str = "score_desc", *, ends_at: datetime | None = None, **more: Any) -> LeaderboardDefinition:
    """A board with one window, from before the events until `ends_at` (in an hour, unless said)."""
    end = ends_at or utc_now() + timedelta(hours=1)
    timeframe = {"type": "custom", "starts_at": rfc3339(STARTS_AT), "ends_at": rfc3339(end), "grace_seconds": more.pop("grace_seconds", 0)}
    return definition(aggregation, method, timeframe=timeframe, **more)


async def the_window(world: World, board: Leaderboard, key: str = KEY) -> BoardWindow:
    async with world.pool.connection() as connection:
        found = await find_window(connection, world.tenant_id, board.board_id, key)
    assert found is not None
    return found


async def close_now(world: World, board: Leaderboard, key: str = KEY) -> datetime:
    """End the window at this instant, which is the answer."""
    window = await the_window(world, board, key)
    async with transaction(world.pool) as connection:
        instant = await change_instant(connection, world.tenant_id)
        assert await close_early(connection, world.tenant_id, window.window_id, instant=instant) is not None
    return instant


async def end_in(world: World, seconds: float, *, grace_seconds: float = 0) -> datetime:
    """Let all windows that there are end so many seconds from now, however long the test took so far; answers when. At once if 0."""
    async with transaction(world.pool) as connection:
        instant = await change_instant(connection, world.tenant_id) + timedelta(seconds=seconds)
        await connection.execute(
            "UPDATE leaderboard_window SET ends_at = %s, closes_at = %s", (instant, instant + timedelta(seconds=grace_seconds))
        )
    return instant


def noon_zone() -> str:
    """A timezone in which it is noon or a little later now: no day, month or year ends there while a test runs."""
    ahead = 12 - utc_now().hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/UTC"


async def freeze(world: World, board: Leaderboard, key: str = KEY) -> FrozenWindow:
    """What the workflow does from `closes_at` on; the pumps must be running or done."""
    window = await the_window(world, board, key)
    async with transaction(world.pool) as connection:
        _, closes_at, _ = await begin_closing(connection, world.tenant_id, window.window_id)
    assert closes_at is not None
    await asyncio.wait_for(Barrier(world.pool).passed(world.tenant_id, closes_at), 60)
    async with transaction(world.pool) as connection:
        await lock_freezing(connection, window.window_id)
        found = await window_with_board(connection, world.tenant_id, window.window_id)
        assert found is not None
        return await freeze_window(connection, world.tenant_id, found)


async def page(world: World, board: Leaderboard, first: int = 0, limit: int = 1000) -> tuple[int, list[tuple[str, int]]]:
    """The board's one window as readers get it: how many are ranked, and (user, score) in order."""
    boards = Boards(world.pool, world.rankings)
    view = await boards.view(board, KEY, utc_now())
    assert view is not None
    found = await boards.page(view, first, limit)
    return found.total, [(entry.external_user_id, entry.score) for entry in found.entries]


@contextlib.asynccontextmanager
async def scoring(world: World, partitions: int = PARTITIONS) -> AsyncIterator[None]:
    """Pumps of the first partitions, running beside the test."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(ScoringPump(world.pool, world.rankings, world.wakeup, number).run(stop)) for number in range(partitions)]
    async with world.wakeup:
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)
