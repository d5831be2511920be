"""The comparison of live boards with PostgreSQL: it finds whatever was tampered with, and nothing while all is well."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio

from domain.leaderboard.standing import order_key
from runtime.postgres import Pool
from runtime.redis import Redis
from storage.leaderboard import definition as definitions
from storage.leaderboard.definition import Leaderboard
from storage.leaderboard.rankings import RankedBoard, Rankings
from storage.leaderboard.rankings_audit import AuditVerdict, ranked_windows, verify_window
from storage.leaderboard.rankings_repair import rebuild_window
from tests.builders.scoring import NOON, PARTITIONS, Event, World, definition
from tests.builders.window import scoring

EVENTS = [Event(f"u{n % 40}", n % 7, n % 5, f"e{n:04}") for n in range(200)]
Keys = tuple[str, str, str]
Tamper = Callable[[Redis, RankedBoard, Keys], Awaitable[None]]


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def rankings(world: World, board: Leaderboard) -> RankedBoard:
    window = await world.window(board, "all")
    assert window is not None
    return definitions.ranked_board(board, window)


async def verify(world: World, board: RankedBoard, seconds: float = 60.0) -> AuditVerdict:
    return await verify_window(world.pool, world.rankings, board, patience_seconds=seconds)


async def swap_members(redis: Redis, board: RankedBoard, keys: Keys) -> None:
    """Another score for u1, in both keys, so that nothing but a comparison can tell."""
    (old,) = await redis.hmget(keys[1], [b"u1"])
    new = order_key(board.method, 10**9, NOON)
    await redis.zrem(keys[0], old + b"u1")
    await redis.zadd(keys[0], {new + b"u1": 0})
    await redis.hset(keys[1], b"u1", new)


async def move_in_the_set(redis: Redis, board: RankedBoard, keys: Keys) -> None:
    (key,) = await redis.hmget(keys[1], [b"u1"])
    await redis.zadd(keys[0], {key + b"u1": -1})


async def other_member(redis: Redis, board: RankedBoard, keys: Keys) -> None:
    (key,) = await redis.hmget(keys[1], [b"u1"])
    await redis.zrem(keys[0], key + b"u1")
    await redis.zadd(keys[0], {order_key(board.method, 7, NOON) + b"u1": 0})


async def exchange_a_user(redis: Redis, board: RankedBoard, keys: Keys) -> None:
    (key,) = await redis.hmget(keys[1], [b"u1"])
    await redis.zrem(keys[0], key + b"u1")
    await redis.hdel(keys[1], b"u1")
    await redis.zadd(keys[0], {key + b"stranger": 0})
    await redis.hset(keys[1], b"stranger", key)


@pytest.mark.parametrize(
    ("tamper", "users"),
    [
        (swap_members, ["u1"]),
        (move_in_the_set, ["u1"]),
        (other_member, ["u1"]),
        (exchange_a_user, ["stranger", "u1"]),
    ],
)
async def test_an_entry_that_was_changed_is_found_and_a_rebuild_makes_it_right(
    world: World, redis_client: Redis, tamper: Tamper, users: list[str]
) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS)
    await world.pump()
    seen = await rankings(world, board)
    assert await verify(world, seen) == AuditVerdict(complete=True, compared=40)
    await tamper(redis_client, seen, world.rankings.keys(seen))
    found = await verify(world, seen)
    assert [drift.user for drift in found.drifts] == users, found
    assert await rebuild_window(world.pool, world.rankings, seen) == "done"
    assert await verify(world, seen) == AuditVerdict(complete=True, compared=40)


async def delete_set(redis: Redis, board: RankedBoard, keys: Keys) -> None:
    await redis.delete(keys[0])


async def delete_users(redis: Redis, board: RankedBoard, keys: Keys) -> None:
    await redis.delete(keys[1])


async def delete_both(redis: Redis, board: RankedBoard, keys: Keys) -> None:
    await redis.delete(*keys[:2])


async def delete_marks(redis: Redis, board: RankedBoard, keys: Keys) -> None:
    await redis.delete(keys[2])


async def drop_best(redis: Redis, board: RankedBoard, keys: Keys) -> None:
    await redis.zpopmin(keys[0])


async def drop_a_user(redis: Redis, board: RankedBoard, keys: Keys) -> None:
    ((member, _),) = await redis.zpopmin(keys[0])
    await redis.hdel(keys[1], member[16:])


async def add_a_stranger(redis: Redis, board: RankedBoard, keys: Keys) -> None:
    await redis.zadd(keys[0], {order_key(board.method, 10**9, NOON) + b"stranger": 0})


DAMAGE = [delete_set, delete_users, delete_both, delete_marks, drop_best, drop_a_user, add_a_stranger]


@pytest.mark.parametrize("damage", DAMAGE)
async def test_keys_that_are_not_whole_are_not_read_and_the_pump_makes_them_whole(
    world: World, redis_client: Redis, damage: Tamper
) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS[:150])
    await world.pump()
    seen, stored = await rankings(world, board), await world.stored_rows(board)
    assert await world.live_rows(board) == stored
    await damage(redis_client, seen, world.rankings.keys(seen))
    assert await world.live_rows(board) is None
    assert await world.rankings.rank(seen, "u1") is None
    assert await world.rankings.around(seen, "u1", 3) is None
    assert await world.rankings.ranks(seen, ["u1"]) is None
    assert await verify(world, seen) == AuditVerdict(complete=False)
    await world.pump()  # without anything new, too
    assert await world.live_rows(board) == stored
    await damage(redis_client, seen, world.rankings.keys(seen))
    await world.send(EVENTS[150:])
    await world.pump()
    assert await world.live_rows(board) == await world.stored_rows(board)
    assert await verify(world, seen) == AuditVerdict(complete=True, compared=40)


async def test_a_publisher_that_does_not_come_far_enough_is_drift(world: World) -> None:
    board = await world.make_board("b", definition())
    await world.send(EVENTS[:100])
    await world.pump()
    seen = await rankings(world, board)
    await world.send([Event("u3", 5, 1, "x1")])
    for partition in range(PARTITIONS):  # scored, and never published
        await (await world.owner(partition)).score(1000)
    found = await verify(world, seen, 0.3)
    assert [(drift.user, "published up to" in drift.reason) for drift in found.drifts] == [("u3", True)]


async def test_while_boards_change_all_the_time_nothing_is_drift(world: World) -> None:
    board = await world.make_board("b", definition(min_score=3))
    await world.send(EVENTS)
    await world.pump()
    seen, stop = await rankings(world, board), asyncio.Event()

    async def play() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await world.send([Event(f"u{(number + n) % 55}", (number + n) % 9 - 4, number % 50, f"p{number}-{n}") for n in range(30)])

    async with scoring(world):
        playing = asyncio.create_task(play())
        verdicts: list[AuditVerdict] = []
        async with asyncio.timeout(60):
            while sum(verdict.complete and verdict.compared == 55 for verdict in verdicts) < 5:
                verdicts.append(await verify(world, seen))
        stop.set()
        await playing
    assert {verdict.drifts for verdict in verdicts} == {()}
    await world.pump()
    assert (await verify(world, seen)).drifts == ()


async def test_live_windows_are_listed_by_tenant_and_board(world: World) -> None:
    for name in ("one", "two"):
        await world.make_board(name, definition())
    await world.send(EVENTS[:10])
    await world.pump()
    async with world.pool.connection() as connection:
        assert [window.leaderboard_id for window in await ranked_windows(connection, None, None)] == ["one", "two"]
        assert [window.window_key for window in await ranked_windows(connection, world.tenant_id, "two")] == ["all"]
        assert await ranked_windows(connection, world.tenant_id, "three") == []
