"""PostgreSQL for every process: one pool, one way to open a transaction."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

Connection = psycopg.AsyncConnection[DictRow]

CONNECT_TIMEOUT_SECONDS = 5
RECONNECT_SECONDS = 5.0

acting: ContextVar[tuple[str, str] | None] = ContextVar("acting", default=None)
"""Who changes something in the present request, and why: the audit log's triggers write it down. None: nobody who is audited."""


class Pool(AsyncConnectionPool[Connection]):
    """A pool that looks at all its connections when one comes back broken.

    So a server that was restarted costs the request that finds out, and not one request for each connection.
    """

    _checking: asyncio.Task[None] | None = None

    async def putconn(self, conn: Connection) -> None:
        """Take a connection back, as the pool does; a broken one makes the others be checked."""
        broken = conn.closed
        await super().putconn(conn)
        if broken and not self.closed and (self._checking is None or self._checking.done()):
            self._checking = asyncio.create_task(self.check())


def connection_options(name: str) -> dict[str, Any]:
    """Keyword arguments for psycopg: rows are dicts, autocommit, UTC; `name` shows in pg_stat_activity."""
    return {
        "row_factory": dict_row,
        "autocommit": True,
        "prepare_threshold": 2,
        "application_name": f"laurel-{name}",
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "options": "-c timezone=UTC",
    }


def make_pool(database_url: str, name: str, *, max_size: int = 10, timeout_seconds: float = 10.0) -> Pool:
    """A closed pool; `await pool.open()` starts it (it also opens while Postgres is away, and waits)."""
    return Pool(
        database_url,
        connection_class=psycopg.AsyncConnection[DictRow],
        kwargs=connection_options(name),
        min_size=1,
        max_size=max_size,
        timeout=timeout_seconds,
        # How long a lost connection is tried again in the background, with growing pauses; after that, requests ask for a new one.
        reconnect_timeout=RECONNECT_SECONDS,
        open=False,
    )


@asynccontextmanager
async def transaction(pool: Pool, *, reason: str | None = None) -> AsyncIterator[Connection]:
    """A connection inside one transaction: committed at the end of the block, rolled back on any exception.

    `reason` is for the audit log, when the request's header gives none.
    """
    async with pool.connection() as connection, connection.transaction():
        await name_actor(connection, reason=reason)
        yield connection


async def name_actor(connection: Connection, *, reason: str | None = None) -> None:
    """Let the audit log's triggers know who changes something in this transaction, when that is somebody who is audited."""
    if (who := acting.get()) is not None:
        actor, given = who
        await connection.execute(
            "SELECT set_config('laurel.actor', %s, true), set_config('laurel.reason', %s, true)", (actor, given or reason or "")
        )


async def connect(database_url: str, name: str) -> Connection:
    """One connection outside the pool, for LISTEN and for writers that own theirs."""
    return await psycopg.AsyncConnection[DictRow].connect(database_url, **connection_options(name))
