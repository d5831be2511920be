"""PostgreSQL for every process: one pool, one way to open a transaction."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

Connection = psycopg.AsyncConnection[DictRow]

CONNECT_TIMEOUT_SECONDS = 5
RECONNECT_SECONDS = 5.0
TELL_SECONDS = 0.05

acting: ContextVar[tuple[str, str] | None] = ContextVar("acting", default=None)
"""Who changes something in the present request, and why: the audit log's triggers write it down. None: nobody who is audited."""


class Pool(AsyncConnectionPool[Connection]):
    """A pool that looks at all its connections when one comes back broken.

    So a server that was restarted costs the request that finds out, and not one request for each connection.
    """

    _checking: asyncio.Task[None] | None = None
    _telling: asyncio.Task[None] | None = None
    _untold: set[tuple[str, str]] | None = None

    async def putconn(self, conn: Connection) -> None:
        """Take a connection back, as the pool does; a broken one makes the others be checked."""
        broken = conn.closed
        await super().putconn(conn)
        if broken and not self.closed and (self._checking is None or self._checking.done()):
            self._checking = asyncio.create_task(self.check())

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - the pool's own signature
        """Close all connections; what has not been told is found by polling."""
        if self._telling is not None:
            self._telling.cancel()
        await super().close(timeout)

    def tell(self, notifications: Iterable[tuple[str, str]]) -> None:
        """Send these (channel, payload) soon, those of many transactions together."""
        self._untold = (self._untold or set()).union(notifications)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name="notify")

    async def _tell(self) -> None:
        while self._untold:
            told, self._untold = sorted(self._untold), None
            with contextlib.suppress(psycopg.Error, PoolTimeout, OSError):  # a hint: whoever misses it looks by itself
                async with self.connection() as connection, connection.transaction():
                    # Nobody else can commit a NOTIFY while this one does, so it does not wait for the disk.
                    await connection.execute("SET LOCAL synchronous_commit TO off")
                    await connection.execute(
                        "SELECT pg_notify(channel, payload) FROM unnest(%s::text[], %s::text[]) AS told (channel, payload)",
                        ([channel for channel, _ in told], [payload for _, payload in told]),
                    )
            await asyncio.sleep(TELL_SECONDS)


_to_tell: WeakKeyDictionary[Connection, set[tuple[str, str]]] = WeakKeyDictionary()


async def notify(connection: Connection, channel: str, payload: str = "") -> None:
    """Wake whoever listens, after the commit of the present transaction.

    PostgreSQL lets only one transaction at a time commit a NOTIFY, so one in each would make all of them queue for the disk. Those
    opened by `transaction` (and `telling`) send theirs behind it, many in one; any other transaction sends its own. Both are hints.
    """
    if (noted := _to_tell.get(connection)) is not None:
        noted.add((channel, payload))
    else:
        await connection.execute("SELECT pg_notify(%s, %s)", (channel, payload))


@asynccontextmanager
async def telling(pool: Pool, connection: Connection) -> AsyncIterator[None]:
    """Around a transaction: its notifications are sent behind it, and not at all when it fails."""
    noted = _to_tell[connection] = set()
    try:
        yield
        if noted:
            pool.tell(noted)
    finally:
        del _to_tell[connection]


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
    async with pool.connection() as connection, telling(pool, connection), connection.transaction():
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
