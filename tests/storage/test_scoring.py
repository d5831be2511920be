"""The pump on a real PostgreSQL and a real Valkey: exactly once, whatever the order, the batches and the crashes."""

import pytest
import pytest_asyncio

from runtime.postgres import Pool
from runtime.redis import Redis
from storage.live import LiveStore
from tests.scoring_world import Event, World, definition, reference

EVENTS = [Event(f"u{n % 7}", n * 7 % 5 - 1.5, n * 13 % 60, f"e{n:03}") for n in range(60)]


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, LiveStore(redis_client), postgres_url).open()


@pytest.mark.parametrize("aggregation", ["sum", "max", "min", "count", "avg"])
@pytest.mark.parametrize("method", ["score_desc", "score_asc"])
async def test_standings_and_live_board_equal_the_reference(world: World, aggregation: str, method: str) -> None:
    what = definition(aggregation, method, min_score=-1)
    board = await world.make_board("b", what)
    await world.send(EVENTS[:25])
    await world.pump()
    await world.send(EVENTS[20:])
    await world.pump()
    expected = reference(what, EVENTS)
    assert await world.stored_rows(board) == expected
    assert await world.live_rows(board) == expected
