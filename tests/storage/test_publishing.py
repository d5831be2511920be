"""An owner compares all that it published with what was committed, however many boards there are."""

import asyncio

import pytest
import pytest_asyncio

from loops.scoring import publishing
from loops.scoring.publishing import Publisher
from runtime.postgres import Pool
from runtime.redis import Redis
from storage.leaderboard.definition import Leaderboard, ranked_board
from storage.leaderboard.rankings import RankedBoard, Rankings
from tests.builders.scoring import Event, World, definition


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def publisher_of(world: World) -> Publisher:
    """The publisher of the partition that scored the boards' one user."""
    partition = await world.partition_of("ann")
    async with world.pool.connection() as connection:
        row = await (
            await connection.execute("SELECT owner_epoch FROM scoring_cursor WHERE scoring_partition = %s", (partition,))
        ).fetchone()
    assert row is not None
    return Publisher(world.pool, world.rankings, partition, row["owner_epoch"])


async def all_there(world: World, boards: list[Leaderboard]) -> None:
    async with asyncio.timeout(60):
        for board in boards:
            while await world.live_rows(board) != await world.stored_rows(board):
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("lost", ["before it came", "while it was there"])
async def test_a_board_that_was_not_changed_lately_is_found_to_be_missing(world: World, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    monkeypatch.setattr(publishing, "VERIFY_LIMIT", 2)
    monkeypatch.setattr(publishing, "VERIFY_SECONDS", 0.01)
    boards = [await world.make_board(f"b{number}", definition()) for number in range(7)]
    await world.send([Event("ann", 5, 0, "e1")])
    await world.pump()

    async def forget_all() -> None:
        for board in boards:
            window = await world.window(board, "all")
            assert window is not None
            shown: RankedBoard = ranked_board(board, window)
            await world.rankings.forget(shown)
            assert await world.live_rows(board) is None

    publisher = await publisher_of(world)
    if lost == "before it came":
        await forget_all()
    running = publisher.start()
    try:
        async with asyncio.timeout(60):
            while not publisher.idle():
                await asyncio.sleep(0.01)
        if lost == "while it was there":
            await all_there(world, boards)
            await forget_all()
        await all_there(world, boards)
        publisher.raise_error()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
