"""The rankings refuse what is not certain, and readers get the same answer from PostgreSQL."""

import asyncio

import pytest_asyncio

from domain.leaderboard.standing import order_key
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool
from runtime.redis import Redis
from storage.leaderboard.board import Boards
from storage.leaderboard.rankings import Mark, Publication, RankedBoard, Rankings
from tests.builders.scoring import NOON, Event, World, definition

EVENTS = [Event(f"u{n % 9}", n % 4, n % 3, f"e{n:03}") for n in range(50)]


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


def some_board(min_score: int | None = None) -> RankedBoard:
    return RankedBoard(new_id(), new_id(), new_id(), definition().config.ranking.method, min_score)


def change(board: RankedBoard, start: int, end: int, *, epoch: int = 1, partition: int = 0, score: int = 1) -> Publication:
    return Publication(board, partition, epoch, start, end, [b"ann", order_key(board.method, score, NOON)])


async def filled(rankings: Rankings, board: RankedBoard, *marks: Mark) -> None:
    fill = rankings.begin_fill(board)
    await fill.add([(b"ann", order_key(board.method, 0, NOON))])
    assert await fill.swap(marks) == "done"


async def test_a_board_that_was_never_filled_takes_nothing_and_answers_nothing(redis_client: Redis) -> None:
    rankings, board = Rankings(redis_client), some_board()
    assert await rankings.publish([change(board, 0, 5)]) == ["absent"]
    assert await rankings.page(board, 0, 10) is None
    assert await rankings.rank(board, "ann") is None
    assert await rankings.around(board, "ann", 3) is None


async def test_publications_follow_each_other_by_position_and_epoch(redis_client: Redis) -> None:
    rankings, board = Rankings(redis_client), some_board()
    await filled(rankings, board, Mark(0, 2, 5))
    assert await rankings.publish([change(board, 5, 9, epoch=1)]) == ["stale"]
    assert await rankings.publish([change(board, 5, 9, epoch=2), change(board, 5, 9, epoch=2), change(board, 9, 12, epoch=3)]) == [
        "done",
        "stale",
        "done",
    ]
    assert await rankings.publish([change(board, 0, 3, partition=1)]) == ["done"]
    assert await rankings.marks([board], 0) == [12]


async def test_a_gap_closes_the_board_until_it_is_filled(redis_client: Redis) -> None:
    rankings, board = Rankings(redis_client), some_board()
    await filled(rankings, board, Mark(0, 1, 5))
    assert await rankings.publish([change(board, 7, 9)]) == ["gap"]
    assert await rankings.page(board, 0, 10) is None
    assert await rankings.publish([change(board, 5, 9, score=7)]) == ["done"]
    page = await rankings.page(board, 0, 10)
    assert page is not None
    assert page.members == [order_key(board.method, 7, NOON) + b"ann"]


async def test_a_fill_that_is_older_than_the_board_is_thrown_away(redis_client: Redis) -> None:
    rankings, board = Rankings(redis_client), some_board()
    await filled(rankings, board, Mark(0, 1, 5))
    fill = rankings.begin_fill(board)
    assert await fill.swap([Mark(0, 1, 4)]) == "newer"
    assert await rankings.page(board, 0, 1) is not None
    assert [key async for key in redis_client.scan_iter("*fill*")] == []


async def test_a_board_ranked_otherwise_is_not_usable(redis_client: Redis) -> None:
    rankings, board = Rankings(redis_client), some_board()
    await filled(rankings, board)
    other = RankedBoard(board.tenant_id, board.board_id, board.window_id, board.method, 5)
    assert await rankings.page(other, 0, 1) is None
    assert await rankings.publish([change(other, 0, 3)]) == ["absent"]


async def test_a_user_below_the_bound_leaves_the_board(redis_client: Redis) -> None:
    rankings, board = Rankings(redis_client), some_board(1)
    await filled(rankings, board)
    assert await rankings.publish([Publication(board, 0, 1, 0, 1, [b"ann", b""])]) == ["done"]
    rank = await rankings.rank(board, "ann")
    assert rank is not None
    assert (rank.total, rank.rank) == (0, None)


async def test_readers_get_the_same_answers_without_redis(world: World) -> None:
    board = await world.make_board("b", definition(min_score=1))
    await world.send(EVENTS)
    await world.pump()
    nowhere = Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2)
    with_redis, without = Boards(world.pool, world.rankings), Boards(world.pool, Rankings(nowhere))
    view = await with_redis.view(board, None, utc_now())
    assert view is not None
    for first, limit in ((0, 100), (0, 1), (3, 4), (50, 10)):
        assert await with_redis.page(view, first, limit) == await without.page(view, first, limit)
    for user in [*(f"u{n}" for n in range(9)), "nobody"]:
        for limit in (1, 2, 5, 100):
            assert await with_redis.around(view, user, limit) == await without.around(view, user, limit)
    await nowhere.aclose()


async def test_scoring_goes_on_without_redis_and_the_board_is_right_when_it_is_back(world: World, redis_client: Redis) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS[:10])
    await world.pump()
    reachable, world.rankings = world.rankings, Rankings(Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2))
    await world.send(EVENTS[10:])
    scored = [asyncio.create_task(world.pump())]
    async with asyncio.timeout(60):
        while sum(row["events_scored"] for row in await world.rows("SELECT events_scored FROM scoring_cursor")) < len(EVENTS):
            await asyncio.sleep(0.05)
    for task in scored:
        task.cancel()
    await asyncio.wait(scored)
    world.rankings = reachable
    await world.pump()
    assert await world.live_rows(board) == await world.stored_rows(board)
