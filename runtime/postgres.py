"""PostgreSQL for every process: one pool, one way to open a transaction."""

import asyncio
import contextlib
import select
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import psycopg
from psycopg import errors
from psycopg.abc import RV, Params, PQGen, QueryNoTemplate
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, Row, dict_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from runtime.shares import TurnShares, asking
from runtime.tasks import begin_for_all

CONNECT_TIMEOUT_SECONDS = 5
RECONNECT_SECONDS = 5.0
TELL_SECONDS = 0.05
DRAIN_SECONDS = 1.0
ANSWER_SECONDS = 120.0
"""Within this time a server answers each statement, or its connection is given up: TCP does not notice a peer that is frozen."""
BRISK_SECONDS = 15.0
"""The same where somebody waits: requests, ingestion, scoring."""
LISTEN_SECONDS = 15.0
"""A connection that listens is asked this often whether it still leads to the server."""
DEAD_PEER: dict[str, Any] = {"tcp_user_timeout": 5000, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 2}
"""A host that vanished without a word is noticed after 5 to 9 seconds, not after the kernel's minutes and hours."""
SESSION = {"timezone": "UTC", "idle_in_transaction_session_timeout": "10s", "tcp_user_timeout": "10s", "lock_timeout": "12s"}
"""A process that froze in a transaction, or whose host is gone, holds its locks for 10 seconds at most; nobody queues for ever.

To the server one that froze over a long answer is not idle: it waits to be read, without end but for its `tcp_user_timeout`.
"""
BOUNDS = "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in SESSION.items())
"""The same for one transaction."""

ROWS_IN_A_ROW = 100
"""So many rows are decoded before other tasks have their turn: about a millisecond."""

set_json_loads(msgspec.json.decode)  # a fifth of the time of Python's own, which was a third of what a page of redemptions costs

BAD_DATA = (
    psycopg.DataError,  # class 22
    psycopg.IntegrityError,  # class 23
    errors.ProgramLimitExceeded,  # class 54: too large for an index, too deep
    errors.StatementTooComplex,
    errors.TooManyColumns,
    errors.TooManyArguments,
)
"""What PostgreSQL holds against the data itself. Nothing else may be blamed on an event or on whoever sent it."""

DATABASE_ERRORS = (
    psycopg.OperationalError,  # lost, full, stopping, locked, cancelled
    psycopg.InterfaceError,  # a connection that was closed
    psycopg.InternalError,  # read-only (25006), ended while idle in a transaction, damaged
    psycopg.ProgrammingError,  # the schema is of another release, or a right is missing
    psycopg.NotSupportedError,
    PoolTimeout,
    PoolClosed,
    TooManyRequests,
)
DATABASE_AWAY = (*DATABASE_ERRORS, OSError)
"""The database cannot do its work now, and nothing is known against the data: wait, or answer 503. Catch `BAD_DATA` first."""

CAUSES = {"25": "read_only", "26": "pooler", "28": "access", "40": "conflict", "42": "schema", "53": "no_resources", "55": "lock"}

acting: ContextVar[tuple[str, str] | None] = ContextVar("acting", default=None)
"""Who changes something in the present request, and why: the audit log's triggers write it down. None: nobody who is audited."""


brisk: ContextVar[bool] = ContextVar("brisk", default=False)
"""Whether the present task expects each answer within `BRISK_SECONDS`, whatever its connection is used for otherwise."""


def cause_of(error: BaseException) -> str:
    """Why the database could not do its work, in a word for metrics and logs."""
    if isinstance(error, PoolTimeout | TooManyRequests):
        return "pool"
    state = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
    if state == "53100":
        return "disk_full"
    if state in ("57014", "25P03"):
        return "timeout"
    if not state or state[:2] in ("08", "57"):
        return "connection"
    return CAUSES.get(state[:2], "other")


def is_away(error: BaseException) -> bool:
    """Whether PostgreSQL cannot serve now. What it holds against data is not that, nor is a statement that was never sent."""
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return False
    return isinstance(error, DATABASE_ERRORS) and not isinstance(error, BAD_DATA)


def leads_astray(error: BaseException) -> bool:
    """Whether the connection leads to a server that takes no writes: a new one may find the present primary."""
    return isinstance(error, psycopg.errors.ReadOnlySqlTransaction)


class SteppedCursor(psycopg.AsyncCursor[Row]):
    """A cursor that lets others go on while it decodes many rows: whoever asks for five hundred holds up nobody who asks for one."""

    async def fetchall(self) -> list[Row]:
        """All rows that are left, decoded some at a time."""
        found = rows = await self.fetchmany(ROWS_IN_A_ROW)
        while len(rows) == ROWS_IN_A_ROW:
            await asyncio.sleep(0)
            found += (rows := await self.fetchmany(ROWS_IN_A_ROW))
        return found


class Connection(psycopg.AsyncConnection[DictRow]):
    """A connection on which every exchange has its time: one that gets no answer is closed, as if the server had closed it."""

    answer_seconds: float = ANSWER_SECONDS
    pooled = False
    """Whether a pooler stands between, so that `SESSION` is set for each transaction anew."""

    @asynccontextmanager
    async def transaction(self, savepoint_name: str | None = None, force_rollback: bool = False) -> AsyncIterator[psycopg.AsyncTransaction]:
        """What psycopg gives; none is without its bounds."""
        unbounded = self.pooled and self.info.transaction_status == TransactionStatus.IDLE
        async with super().transaction(savepoint_name, force_rollback) as begun:
            if unbounded:
                await self.execute(BOUNDS)
            yield begun

    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:  # noqa: ASYNC109 - psycopg's own
        """What psycopg does for each exchange; raises `OperationalError` when no answer came in time."""
        if timeout is not None:
            return await super().wait(gen, interval, timeout)
        limit = min(self.answer_seconds, BRISK_SECONDS) if brisk.get() else self.answer_seconds
        try:
            return await super().wait(gen, interval, limit)
        except errors._WaitTimeout:  # psycopg's only word for it
            self.pgconn.finish()
            raise psycopg.OperationalError(f"PostgreSQL did not answer within {limit:.0f} s; the connection was closed") from None


def is_closed_by_server(connection: Connection) -> bool:
    """Whether something came in on a connection that nobody uses: nothing but the server's farewell does, and then it leads nowhere."""
    if connection.closed:
        return True
    ready = select.poll()
    ready.register(connection.fileno(), select.POLLIN)
    return bool(ready.poll(0))


class Pool(AsyncConnectionPool[Connection]):
    """A pool that gives no connection that its server has closed, and parts with all when one led to a read-only server.

    So a server that was restarted costs only those it was working for, and one that is the primary no longer the request that finds out.
    """

    shares: TurnShares | None = None
    """How the tenants share its connections; None: whoever comes first is served first."""
    _drained = 0.0

    _checking: asyncio.Task[None] | None = None
    _telling: asyncio.Task[None] | None = None
    _untold: set[tuple[str, str]] | None = None

    async def getconn(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109 - the pool's own signature
        """A connection, as the pool gives it. Those that the server closed while they lay here are replaced, which costs no round trip."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while is_closed_by_server(connection := await super().getconn(max(0.0, deadline - time.monotonic()))):
            await connection.close()
            await self.putconn(connection)
        return connection

    async def putconn(self, conn: Connection) -> None:
        """Take a connection back, as the pool does; a broken one makes the others be checked."""
        broken = conn.closed
        await super().putconn(conn)
        if broken and not self.closed and (self._checking is None or self._checking.done()):
            self._checking = begin_for_all(self.check(), "check connections")

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109 - the pool's own signature
        """A connection of the pool, as the pool gives it; none that turned out to lead astray comes back.

        Raises `CrowdedError` when the tenant whose request is at hand has more under way than its share.
        """
        own_turn = contextlib.nullcontext() if self.shares is None else self.shares.turn(asking.get())
        async with own_turn, super().connection(timeout) as connection:
            try:
                yield connection
            except psycopg.Error as error:
                if leads_astray(error) and time.monotonic() > self._drained + DRAIN_SECONDS:
                    self._drained = time.monotonic()
                    await self.drain()
                raise

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - the pool's own signature
        """Close all connections; what has not been told is found by polling."""
        if self._telling is not None:
            self._telling.cancel()
        await super().close(timeout)

    def tell(self, notifications: Iterable[tuple[str, str]]) -> None:
        """Send these (channel, payload) soon, those of many transactions together."""
        self._untold = (self._untold or set()).union(notifications)
        if self._telling is None or self._telling.done():
            self._telling = begin_for_all(self._tell(), "notify")

    async def _tell(self) -> None:
        while self._untold:
            told, self._untold = sorted(self._untold), None
            with contextlib.suppress(*DATABASE_AWAY):  # a hint: whoever misses it looks by itself
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


async def count_changed(connection: Connection, statement: QueryNoTemplate, parameters: Params | None = None) -> int:
    """How many rows the statement changed, also within a pipeline.

    There a cursor's own `rowcount` is -1 until the answer is in: whoever takes it for a number refuses what could be done.
    """
    cursor = await connection.execute(statement, parameters)
    if cursor.rowcount < 0:
        async with connection.pipeline():  # leaving one within another fetches all that is under way
            pass
    return cursor.rowcount


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


def connection_options(name: str, *, pooled: bool = False) -> dict[str, Any]:
    """Keyword arguments for psycopg: rows are dicts, autocommit, UTC; `name` shows in pg_stat_activity.

    `pooled`: a pooler that gives each transaction another server stands between, so nothing may be prepared or set for a session.
    """
    session = {} if pooled else {"options": " ".join(f"-c {name}={value}" for name, value in SESSION.items())}
    return {
        "row_factory": dict_row,
        "autocommit": True,
        "cursor_factory": SteppedCursor,
        "prepare_threshold": None if pooled else 2,
        "application_name": f"laurel-{name}",
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        **DEAD_PEER,
        **session,
    }


def make_pool(
    database_url: str,
    name: str,
    *,
    max_size: int = 10,
    timeout_seconds: float = 10.0,
    answer_seconds: float = ANSWER_SECONDS,
    pooled: bool = False,
) -> Pool:
    """A closed pool; `await pool.open()` starts it (it also opens while Postgres is away, and waits)."""

    async def configure(connection: Connection) -> None:
        connection.answer_seconds, connection.pooled = answer_seconds, pooled
        if pooled:  # of all that can be set, poolers carry this along for each client
            await connection.execute("SET timezone TO 'UTC'")

    return Pool(
        database_url,
        connection_class=Connection,
        kwargs=connection_options(name, pooled=pooled),
        configure=configure,
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


async def connect(database_url: str, name: str, *, answer_seconds: float = ANSWER_SECONDS) -> Connection:
    """One connection outside the pool, for LISTEN and for writers that own theirs. It must lead to PostgreSQL itself, not to a pooler."""
    connection = await Connection.connect(database_url, **connection_options(name))
    connection.answer_seconds = answer_seconds
    return connection


async def notices(connection: Connection, probe_seconds: float = LISTEN_SECONDS) -> AsyncIterator[str]:
    """The payloads of the notifications that `connection` listens for. Raises `OperationalError` once it leads nowhere any more, which
    is looked at every `probe_seconds`."""
    connection.answer_seconds = probe_seconds
    while True:
        async for notice in connection.notifies(timeout=probe_seconds):
            yield notice.payload
        await connection.execute("SELECT 1")


@contextlib.contextmanager
def briskly() -> Iterator[None]:
    """Within this block no exchange with PostgreSQL takes longer than `BRISK_SECONDS`."""
    token = brisk.set(True)
    try:
        yield
    finally:
        brisk.reset(token)
