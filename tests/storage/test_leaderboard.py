"""Boards, their windows as readers mean them, and the names shown beside scores."""

import asyncio
from datetime import UTC, datetime

import pytest_asyncio

from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.board import Boards
from storage.leaderboard import archive_board, find_any_board, find_board
from storage.live import LiveStore
from storage.profile import Profiles
from tests.scoring_world import Event, World, definition

LATER = datetime(2026, 2, 5, 12, tzinfo=UTC)


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, LiveStore(redis_client), postgres_url).open()


async def test_an_empty_current_window_gives_way_to_the_latest_closed_one(world: World) -> None:
    board = await world.make_board("b", definition(timeframe={"type": "daily"}))
    await world.open_window(board, "2026-02-03")
    await world.send([Event("u", 1, 0, "a")])
    await world.pump()
    boards = Boards(world.pool, world.live)
    still_open = await boards.view(board, None, LATER)
    await world.rows("UPDATE leaderboard_window SET status = 'closed'", fetch=False)
    closed, current = await boards.view(board, None, LATER), await boards.view(board, "current", LATER)
    assert still_open is not None
    assert closed is not None
    assert current is not None
    assert (still_open.window_key, closed.window_key, current.window_key) == ("2026-02-05", "2026-02-03", "2026-02-05")
    assert (closed.status, current.status) == ("closed", "open")
    assert (await boards.page(closed, 0, 10)).total == 1
    assert await boards.view(board, "2026-W06", LATER) is None


async def test_an_archived_id_can_be_used_again(world: World) -> None:
    board = await world.make_board("b", definition())
    async with transaction(world.pool) as connection:
        await archive_board(connection, world.tenant_id, board.board_id, instant=LATER)
        assert await find_board(connection, world.tenant_id, "b") is None
    again = await world.make_board("b", definition())
    async with world.pool.connection() as connection:
        found = await find_any_board(connection, world.tenant_id, "b")
    assert found is not None
    assert found.board_id == again.board_id != board.board_id


async def test_a_profile_is_forgotten_when_it_changes(world: World, postgres_url: str) -> None:
    await world.send([Event("u", 1, 0, "a")])
    profiles = Profiles(world.pool, postgres_url)
    try:
        assert await profiles.of(world.tenant_id, ["u", "nobody"]) == {"u": (None, None), "nobody": (None, None)}
        await world.rows("UPDATE app_user SET display_name = 'Uma'", fetch=False)
        await world.rows("SELECT pg_notify('laurel_profile', %s)", f"{world.tenant_id}:u")
        async with asyncio.timeout(4):
            while (await profiles.of(world.tenant_id, ["u"]))["u"] != ("Uma", None):
                await asyncio.sleep(0.02)
    finally:
        await profiles.close()
