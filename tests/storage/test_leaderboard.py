"""Boards, their windows as readers mean them, and the names shown beside scores."""

import asyncio
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from api.leaderboard import board as board_api
from api.leaderboard.board import BoardReader, Written
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.leaderboard import profile
from storage.leaderboard.board import Boards
from storage.leaderboard.definition import archive_board, find_any_board, find_board
from storage.leaderboard.profile import Profiles
from storage.leaderboard.rankings import Rankings
from tests.builders.scoring import Event, World, definition

LATER = datetime(2026, 2, 5, 12, tzinfo=UTC)


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def test_an_empty_current_window_gives_way_to_the_latest_closed_one(world: World) -> None:
    board = await world.make_board("b", definition(timeframe={"type": "daily"}))
    await world.open_window(board, "2026-02-03")
    await world.send([Event("u", 1, 0, "a")])
    await world.pump()
    boards = Boards(world.pool, world.rankings)
    still_open = await boards.view(board, None, LATER)
    await world.rows("UPDATE leaderboard_window SET status = 'closed', total = 1", fetch=False)
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
        async with asyncio.timeout(profile.TTL_SECONDS - 2):
            while (await profiles.of(world.tenant_id, ["u"]))["u"] != ("Uma", None):
                await asyncio.sleep(0.02)
    finally:
        await profiles.close()


async def test_no_change_is_missed_while_the_listening_connection_is_looked_after(
    world: World, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(profile, "TTL_SECONDS", 3600.0)
    await world.send([Event("u", 1, 0, "a")])
    profiles = Profiles(world.pool, postgres_url)
    try:
        for number in range(20):
            name = f"Uma {number}"
            await profiles.of(world.tenant_id, ["u"])
            await world.rows("UPDATE app_user SET display_name = %s", name, fetch=False)
            await world.rows("SELECT pg_notify('laurel_profile', %s)", f"{world.tenant_id}:u")
            async with asyncio.timeout(60):
                while (await profiles.of(world.tenant_id, ["u"]))["u"] != (name, None):
                    await asyncio.sleep(0.01)
    finally:
        await profiles.close()


async def test_when_the_first_to_ask_for_a_page_goes_away_another_one_renders_it(
    world: World, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_api, "CACHE_SECONDS", 3600.0)
    reader = BoardReader(Boards(world.pool, world.rankings), Profiles(world.pool, postgres_url))
    begun, go_on, renderings = asyncio.Event(), asyncio.Event(), []

    async def render() -> Written:
        renderings.append(None)
        begun.set()
        await go_on.wait()
        return b"the page", b"the page"

    first = asyncio.create_task(reader.shared(("page",), render))
    await begun.wait()
    others = [asyncio.create_task(reader.shared(("page",), render)) for _ in range(3)]
    leaving = asyncio.create_task(reader.shared(("page",), render))
    await asyncio.sleep(0)
    leaving.cancel()
    first.cancel()
    go_on.set()
    async with asyncio.timeout(60):
        pages = await asyncio.gather(*others)
        gone = await asyncio.gather(first, leaving, return_exceptions=True)
    assert [page.body for page in pages] == [b"the page"] * 3
    assert [type(each) for each in gone] == [asyncio.CancelledError] * 2
    assert len(renderings) == 2


async def test_all_who_wait_for_a_page_that_fails_are_told_and_the_next_one_is_served(world: World, postgres_url: str) -> None:
    reader = BoardReader(Boards(world.pool, world.rankings), Profiles(world.pool, postgres_url))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def fail() -> Written:
        begun.set()
        await go_on.wait()
        raise LookupError("no such page")

    async def render() -> Written:
        return b"the page", b"the page"

    asked = [asyncio.create_task(reader.shared(("page",), fail)) for _ in range(3)]
    await begun.wait()
    go_on.set()
    async with asyncio.timeout(60):
        told = await asyncio.gather(*asked, return_exceptions=True)
        page = await reader.shared(("page",), render)
    assert [type(each) for each in told] == [LookupError] * 3
    assert page.body == b"the page"
