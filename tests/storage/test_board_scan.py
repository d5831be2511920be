"""Boards that PostgreSQL has to sort: one scan for all who ask the same, few at a time for a tenant, and a quick no to a crowd."""

import asyncio

import psycopg
import pytest
import pytest_asyncio

from domain import limits
from domain.errors import Unavailable
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool
from runtime.redis import Redis
from storage.leaderboard.board import Boards
from storage.leaderboard.board_scan import BoardScans
from storage.leaderboard.rankings import Rankings
from tests.builders.scoring import Event, World, definition


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def test_a_crowd_without_redis_is_answered_or_refused_soon_and_never_takes_the_pool(world: World, postgres_url: str) -> None:
    await world.make_board("b", definition())
    await world.send([Event(f"u{n}", n, 0, f"e{n}") for n in range(100)])
    await world.pump()
    boards = Boards(world.pool, Rankings(Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2)))
    board = await boards.find(world.tenant_id, "b")
    assert board is not None
    view = await boards.view(board, "all", utc_now())
    assert view is not None
    with psycopg.connect(postgres_url) as locking:  # a scan that takes its time
        locking.execute("LOCK TABLE standing IN ACCESS EXCLUSIVE MODE")
        crowd = [asyncio.create_task(boards.page(view, first % 50, 10)) for first in range(200)]
        others = [asyncio.create_task(boards.page(view, 50 + first, 10)) for first in range(100)]
        refused = [error for error in await asyncio.gather(*others, return_exceptions=True) if isinstance(error, Unavailable)]
        assert len(refused) == 100
        assert all(error.facts["retry_after"] == 1 for error in refused)
        async with asyncio.timeout(5), world.pool.connection() as connection:  # for somebody else
            await connection.execute("SELECT 1")
        locking.rollback()
    answers = await asyncio.gather(*crowd, return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) >= 200 // 50 * limits.BOARD_SCANS.value


async def test_the_same_question_is_asked_once_and_another_tenant_has_its_own_turns() -> None:
    turns, asked, go = BoardScans(), list[str](), asyncio.Event()

    async def scan(name: str) -> str:
        asked.append(name)
        await go.wait()
        return name

    one, other = new_id(), new_id()
    waiting = [asyncio.create_task(turns.ask(one, name, lambda name=name: scan(name))) for name in "aaabbbccc"]  # type: ignore[misc]
    waiting.append(asyncio.create_task(turns.ask(other, "d", lambda: scan("d"))))
    async with asyncio.timeout(60):
        while len(asked) < limits.BOARD_SCANS.value + 1:
            await asyncio.sleep(0.01)
    assert sorted(asked) == ["a", "b", "d"]
    go.set()
    assert await asyncio.gather(*waiting) == list("aaabbbcccd")
    with pytest.raises(ZeroDivisionError):
        await turns.ask(one, "fault", lambda: divide())


async def divide() -> float:
    return 1 / 0
