"""Live keys end with their windows: the memory of Redis does not grow for ever, and closed windows are read from their snapshots."""

import asyncio

import pytest_asyncio

from activities.window import WindowActivities
from domain.leaderboard.window_messages import WindowInput
from loops.provisioning import run_provisioning
from runtime.ids import new_id
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.leaderboard.definition import Leaderboard, archive_board, ranked_board
from storage.leaderboard.rankings import Rankings
from storage.leaderboard.rankings_expiry import claim_expiry, expire_unread
from storage.leaderboard.rankings_repair import rebuild_window
from storage.leaderboard.window import begin_closing
from storage.platform.installation import database_life
from storage.rules_lock import change_instant
from tests.builders.scoring import Event, World, definition
from tests.builders.window import close_now, ending, freeze, page, the_window

EVENTS = [Event(f"u{n % 7}", n % 5, n % 3, f"e{n:03}") for n in range(30)]


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def endless_keys(redis: Redis) -> set[str]:
    """The windows that have a live key without an end."""
    return {key.decode().split(":")[3] for key in await redis.keys("board:*:?") if await redis.ttl(key) == -1}


async def test_what_no_window_shows_any_more_goes_and_what_is_shown_stays(world: World, redis_client: Redis) -> None:
    kept = await world.make_board("kept", definition())
    closed, archived = [await world.make_board(name, ending()) for name in ("closed", "archived")]
    await world.send(EVENTS)
    await world.pump()
    shown = await world.window(kept, "all")
    assert shown is not None
    assert len(await endless_keys(redis_client)) == 3
    before = await page(world, closed)
    await close_now(world, closed)
    await freeze(world, closed)  # and Redis was away when the keys should have been let go
    late = ranked_board(closed, (await the_window(world, closed)).window_id)
    assert await rebuild_window(world.pool, world.rankings, late) == "done"
    async with transaction(world.pool) as connection:
        instant = await change_instant(connection, world.tenant_id)
        await archive_board(connection, world.tenant_id, archived.board_id, instant=instant)
    assert await expire_unread(world.pool, redis_client, seconds=1) == 6
    assert await endless_keys(redis_client) == {shown.hex}
    assert await expire_unread(world.pool, redis_client, seconds=600) == 0, "what goes already is left alone"
    async with asyncio.timeout(60):
        while {key.decode().split(":")[3] for key in await redis_client.keys("board:*")} != {shown.hex}:
            await asyncio.sleep(0.05)
    assert await page(world, closed) == before
    assert await world.live_rows(kept) == await world.stored_rows(kept)


async def test_freezing_lets_the_keys_of_the_window_go(world: World, redis_client: Redis) -> None:
    board = await world.make_board("b", ending())
    await world.send(EVENTS)
    await world.pump()
    window, before = await the_window(world, board), await page(world, board)
    await close_now(world, board)
    async with transaction(world.pool) as connection:
        await begin_closing(connection, world.tenant_id, window.window_id)
    frozen = await _freeze_by_activity(world, board)
    assert frozen == before[0]
    assert await endless_keys(redis_client) == set()
    await redis_client.flushall()
    assert await page(world, board) == before, "a closed window is read from its snapshot"


async def _freeze_by_activity(world: World, board: Leaderboard) -> int:
    from temporalio.testing import ActivityEnvironment

    window = await the_window(world, board)
    given = WindowInput(tenant_id=world.tenant_id, window_id=window.window_id)
    return int((await ActivityEnvironment().run(WindowActivities(world.pool, world.rankings).freeze, given)).total)


async def test_provisioning_looks_once_an_hour_whoever_it_is(world: World, redis_client: Redis) -> None:
    dead = f"board:{{{new_id().hex}:{new_id().hex}}}:{new_id().hex}:z"
    await redis_client.zadd(dead, {b"somebody": 0})
    stop = asyncio.Event()

    async def ensured() -> None:
        if await redis_client.ttl(dead) != -1:
            stop.set()

    await asyncio.wait_for(run_provisioning(world.pool, redis_client, ensured, stop, interval_seconds=0.05), 60)
    assert 0 < await redis_client.ttl(dead) <= 600
    async with world.pool.connection() as connection:
        assert not await claim_expiry(redis_client, life=await database_life(connection))
