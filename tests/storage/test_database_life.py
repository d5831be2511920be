"""A database that is put back under a living Redis: nobody reads a future that is no more, and boards fill themselves anew."""

import asyncio
import os
import subprocess
from urllib.parse import urlsplit
from uuid import UUID

import pytest_asyncio

from loops.scoring.batch import Scorer
from loops.scoring.rule_books import Books
from loops.scoring.wakeup import Wakeup
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, make_pool, transaction
from runtime.redis import Redis
from stack import postgres
from storage.leaderboard.board import Boards
from storage.leaderboard.definition import ranked_board
from storage.leaderboard.rankings import Rankings
from storage.leaderboard.rankings_expiry import expire_unread
from storage.platform.installation import OWN_CHARACTERS, database_life, find_installation
from storage.scoring.pump import take_partition
from tests.builders.scoring import PARTITIONS, Event, World, definition
from tests.conftest import PASSWORD

PLAYED = [Event(f"u{n % 5}", 1, n, f"e{n:03}") for n in range(20)]
LOST = [Event(f"u{n % 5}", 1, n, f"lost{n:03}") for n in range(20)]
CHANGED = ("score", "total", "counted", "scored_at", "counted_at", "reached_at", "position", "window_id", "user_id")
AFTER = [Event("u1", 1, 0, "after")]


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


def run(tool: str, address: str, *arguments: str, given: bytes = b"") -> bytes:
    """What one of PostgreSQL's tools answers."""
    parts = urlsplit(address)
    where = ["-h", str(parts.hostname), "-p", str(parts.port), "-U", str(parts.username), "-d", parts.path[1:]]
    environment = {**os.environ, "PGPASSWORD": str(parts.password)}
    command = [str(postgres.binaries() / tool), *where, *arguments]
    return subprocess.run(command, input=given, env=environment, check=True, capture_output=True, timeout=120).stdout


async def scores(boards: Boards, tenant_id: UUID) -> dict[str, int]:
    """What a reader is shown."""
    board = await boards.find(tenant_id, "b")
    assert board is not None
    view = await boards.view(board, "all", utc_now())
    assert view is not None
    return {entry.external_user_id: entry.score // 10_000 for entry in (await boards.page(view, 0, 100)).entries}


async def test_a_restored_database_takes_no_board_into_a_lost_future(
    world: World, postgres_server: int, postgres_url: str, redis_client: Redis
) -> None:
    await world.make_board("b", definition())
    await world.send(PLAYED)
    await world.pump()
    backup = run("pg_dump", postgres_url)
    await world.send(LOST)
    await world.pump()
    reader = Rankings(redis_client)
    async with world.pool.connection() as connection:
        before = await database_life(connection)
        await reader.learn(connection)
    boards = Boards(world.pool, reader)
    assert await scores(boards, world.tenant_id) == dict.fromkeys((f"u{n}" for n in range(5)), 8)
    board = await boards.find(world.tenant_id, "b")
    assert board is not None
    assert await world.live_rows(board) is not None

    restored = postgres.ensure_database(postgres_server, PASSWORD, f"restored_{new_id().hex}")
    run("psql", restored, "-q", "-v", "ON_ERROR_STOP=1", given=backup)
    world.pool, world.wakeup = make_pool(restored, "test", max_size=16), Wakeup(restored)
    await world.pool.open(wait=True)
    try:
        async with world.pool.connection() as connection:
            after = await database_life(connection)
            assert await reader.learn(connection)
        assert after[:OWN_CHARACTERS] == before[:OWN_CHARACTERS]
        assert after != before
        boards = Boards(world.pool, reader)
        assert await scores(boards, world.tenant_id) == dict.fromkeys((f"u{n}" for n in range(5)), 4)
        await world.send(AFTER)
        await world.pump()
        assert await scores(boards, world.tenant_id) == {**dict.fromkeys((f"u{n}" for n in range(5)), 4), "u1": 5}
        assert await world.live_rows(board) == await world.stored_rows(board)
        assert await expire_unread(world.pool, redis_client, seconds=60) == 3, "the keys of the lost future go"
    finally:
        await world.pool.close()


async def test_rules_of_a_lost_future_judge_no_event(world: World, postgres_server: int, postgres_url: str) -> None:
    board = await world.make_board("b", definition())
    backup = run("pg_dump", postgres_url)
    books = Books()
    await world.change_board(board, definition(expression="attrs.points * 10"))
    await world.send([Event("u1", 1, 0, "lost")])
    await score_all(world, books)
    assert await world.stored_rows(board) == [("u1", 100_000)]

    restored = postgres.ensure_database(postgres_server, PASSWORD, f"restored_{new_id().hex}")
    run("psql", restored, "-q", "-v", "ON_ERROR_STOP=1", given=backup)
    world.pool = make_pool(restored, "test", max_size=16)
    await world.pool.open(wait=True)
    try:
        await world.change_board(board, definition(expression="attrs.points * 100"))  # has the number of the change that was lost
        await world.send([Event("u1", 1, 0, "after")])
        await score_all(world, books)
        assert await world.stored_rows(board) == [("u1", 1_000_000)]
    finally:
        await world.pool.close()


async def score_all(world: World, books: Books) -> None:
    """What waits is scored by owners in a process that remembers these books."""
    for partition in range(PARTITIONS):
        async with transaction(world.pool) as connection:
            epoch = await take_partition(connection, partition)
        await Scorer(world.pool, partition, epoch, books).score(5000)


async def test_rows_that_were_put_back_by_other_means_are_found_by_their_positions(world: World) -> None:
    board = await world.make_board("b", definition())
    await world.send(PLAYED)
    await world.pump()
    saved = {table: await world.rows(f"SELECT * FROM {table}") for table in ("standing", "live_position")}
    await world.send(LOST)
    await world.pump()
    async with world.pool.connection() as connection, connection.transaction():  # as a snapshot of the disk would
        for row in saved["standing"]:
            await connection.execute(
                "UPDATE standing SET score = %s, total = %s, counted = %s, scored_at = %s, counted_at = %s, reached_at = %s, position = %s"
                " WHERE window_id = %s AND user_id = %s",
                [row[name] for name in CHANGED],
            )
        for row in saved["live_position"]:
            await connection.execute(
                "UPDATE live_position SET position = %s WHERE window_id = %s AND scoring_partition = %s",
                (row["position"], row["window_id"], row["scoring_partition"]),
            )
    await world.pump()
    assert await world.live_rows(board) == await world.stored_rows(board)


async def test_the_keys_of_another_installation_are_left_alone(world: World, redis_client: Redis) -> None:
    async with world.pool.connection() as connection:
        own, life = await find_installation(connection), await database_life(connection)
    assert own is not None
    theirs = f"board:{{{new_id().hex}:{new_id().hex}}}:{new_id().hex}:{'0' * OWN_CHARACTERS}{life[OWN_CHARACTERS:]}:z"
    ours = theirs.replace("0" * OWN_CHARACTERS + life[OWN_CHARACTERS:], life)
    for key in (theirs, ours):
        await redis_client.zadd(key, {b"somebody": 0})
    assert await expire_unread(world.pool, redis_client, seconds=60) == 1
    assert (await redis_client.ttl(theirs), await redis_client.ttl(ours) > 0) == (-1, True)


async def test_a_large_board_that_is_filled_anew_holds_no_other_up(world: World, redis_client: Redis) -> None:
    large, small = await world.make_board("large", definition()), await world.make_board("small", definition())
    await world.send(PLAYED)
    await world.pump()
    window = await world.window(large, "all")
    assert window is not None
    held = ranked_board(large, window)
    async with world.rankings.rebuild_claim(held, 1) as mine:  # somebody is at it, for longer than a claim lasts
        assert mine
        await world.rankings.forget(held)
        await asyncio.sleep(1.5)
        async with world.rankings.rebuild_claim(held) as another:
            assert not another
        await world.send(AFTER)
        pumping = asyncio.create_task(world.pump())
        async with asyncio.timeout(60):
            while await world.live_rows(small) != await world.stored_rows(small):
                await asyncio.sleep(0.02)
        assert await world.live_rows(large) is None
    await pumping
    assert await world.live_rows(large) == await world.stored_rows(large)
    assert await redis_client.keys("*:fill:*") == []
