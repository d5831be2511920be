"""The log's promise to its readers: what lies at or before the horizon is committed, and nothing appears there later."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from runtime.ids import new_id
from runtime.postgres import Connection, Pool
from storage.event.log import APPEND

AT = datetime(2025, 6, 1, tzinfo=UTC)
TENANT = new_id()


async def append(connection: AsyncConnection[Any], *event_ids: str, user: str = "u1", tenant: UUID = TENANT) -> list[int] | None:
    """Append events in one statement; the ordinals that were new, None when all were."""
    size = len(event_ids)
    cursor = await connection.execute(
        APPEND,
        (
            [tenant] * size,
            [""] * size,
            list(event_ids),
            ["goal"] * size,
            [None] * size,
            [new_id() for _ in event_ids],
            [user] * size,
            [AT] * size,
            [b"{}"] * size,
            8,
            0,
        ),
    )
    row = await cursor.fetchone()
    assert row is not None
    fresh: list[int] | None = row["fresh"]
    return fresh


async def number(connection: Connection, query: str) -> int:
    """The one number that a query answers."""
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return int(next(iter(row.values())))


async def horizon(connection: Connection) -> int:
    """The position up to which a reader may trust the log."""
    return await number(connection, "SELECT event_horizon()")


async def head(connection: Connection) -> int:
    """The last position in the log."""
    return await number(connection, "SELECT coalesce(max(position), 0) FROM event_log")


async def test_the_horizon_stays_before_a_writer_that_has_not_committed(pool: Pool) -> None:
    async with pool.connection() as slow, pool.connection() as quick, pool.connection() as reader:
        await append(slow, "first")
        async with slow.transaction():
            await append(slow, "slow")
            await append(quick, "quick")
            assert await head(reader) > await horizon(reader)
            seen = await horizon(reader)
        assert await horizon(reader) >= await head(reader) > seen
        behind = await number(reader, f"SELECT count(*) FROM event_log WHERE position > {seen}")
        assert behind == 2


async def test_a_long_transaction_that_writes_no_events_does_not_hold_the_horizon(pool: Pool) -> None:
    async with pool.connection() as elsewhere, pool.connection() as writer, pool.connection() as reader, elsewhere.transaction():
        await elsewhere.execute("CREATE TEMPORARY TABLE much AS SELECT generate_series(1, 1000) AS n")
        await elsewhere.execute("SELECT pg_current_xact_id()")
        await append(writer, "while it runs")
        assert await horizon(reader) >= await head(reader) > 0


async def test_nothing_ever_appears_behind_a_horizon_that_was_read(pool: Pool) -> None:
    stop = asyncio.Event()

    async def write(name: str) -> None:
        async with pool.connection() as connection:
            for number_ in range(25):
                async with connection.transaction():
                    await append(connection, f"{name}-{number_}", user=name)
                    await asyncio.sleep(0.001)

    async def read() -> set[int]:
        seen: set[int] = set()
        cursor = 0
        async with pool.connection() as connection:
            while True:
                last_round = stop.is_set()
                limit = await horizon(connection)
                rows = await connection.execute("SELECT position FROM event_log WHERE position > %s AND position <= %s", (cursor, limit))
                seen |= {row["position"] for row in await rows.fetchall()}
                cursor = max(cursor, limit)
                if last_round:
                    return seen
                await asyncio.sleep(0.002)

    reading = asyncio.create_task(read())
    await asyncio.gather(*(write(f"writer-{n}") for n in range(6)))
    stop.set()
    seen = await reading
    async with pool.connection() as connection:
        rows = await (await connection.execute("SELECT position FROM event_log")).fetchall()
    assert seen == {row["position"] for row in rows}
    assert len(seen) == 150


async def test_the_same_event_on_many_connections_counts_once(pool: Pool) -> None:
    async def send(start: int) -> int:
        async with pool.connection() as connection:
            names = sorted(f"e{n}" for n in range(start, start + 20))
            fresh = await append(connection, *names)
            return len(names) if fresh is None else len(fresh)

    accepted = await asyncio.gather(*(send(start) for start in (0, 5, 10, 0, 5, 10, 0, 5)))
    async with pool.connection() as connection:
        assert sum(accepted) == 30 == await number(connection, "SELECT count(*) FROM event_log")


async def test_a_repeat_makes_no_user(pool: Pool) -> None:
    async with pool.connection() as connection:
        await append(connection, "once", user="first")
        assert await append(connection, "once", user="second") == []
        assert await number(connection, "SELECT count(*) FROM app_user") == 1


async def test_the_same_id_in_another_tenant_is_another_event(pool: Pool) -> None:
    async with pool.connection() as connection:
        assert await append(connection, "same") is None
        assert await append(connection, "same", tenant=new_id()) is None


async def test_the_events_of_a_user_share_a_partition(pool: Pool) -> None:
    async with pool.connection() as connection:
        for name in ("a", "b", "c", "d"):
            await append(connection, f"{name}1", f"{name}2", user=name)
        assert (
            await number(connection, "SELECT max(n) FROM (SELECT count(DISTINCT scoring_partition) AS n FROM event_log GROUP BY user_id) x")
            == 1
        )
