"""Proof that PostgreSQL would take an event now: a commit, and everything without which the commit of an event would fail."""

import asyncio
import logging
import time
from datetime import datetime, timedelta

from psycopg.rows import tuple_row

from runtime import ids, schema
from runtime.postgres import Connection, Pool, cause_of
from runtime.pulse import Drain
from runtime.tasks import begin_for_all

log = logging.getLogger(__name__)

PROBE_SECONDS = 2.0
PROOF_SECONDS = 1.0

CLOCK_TOLERANCE = timedelta(seconds=10)
"""Times that are this far apart are no drift: somebody has to set a clock before order and deadlines are decided by it."""
ROOM_ROWS = 20_000
"""About a megabyte, written and thrown away: a disk that cannot take that is full, though a small commit may still find room."""


class NotReady(Exception):
    """No event could be persisted now. `reason` is a word for machines: read_only, schema, partitions, clock."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


async def prove_ready(connection: Connection, scoring_partitions: int) -> None:
    """Raise `NotReady`, or what PostgreSQL raises, unless an event could be persisted now. Also sets this process's clock by the server's.

    The schema may be newer than this code, for migrations only add; it may not be older.
    """
    async with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        before = time.monotonic()
        await cursor.execute("SELECT clock_timestamp(), current_setting('transaction_read_only') = 'on' OR pg_is_in_recovery()")
        now, read_only = await cursor.fetchone() or (None, True)
        ids.set_clock(now, timedelta(seconds=time.monotonic() - before))
        if read_only:
            raise NotReady("read_only", "the database does not accept writes")
        await cursor.execute("SELECT (SELECT version_num FROM alembic_version), (SELECT scoring_partitions FROM platform)")
        present, partitions = await cursor.fetchone() or (None, None)
        if schema.is_behind(present):
            raise NotReady("schema", f"the schema is at revision {present or 'none'}: run `laurel migrate`")
        if partitions != scoring_partitions:
            raise NotReady("partitions", f"LAUREL_SCORING_PARTITIONS is {scoring_partitions}, the database was set up with {partitions}")
        await cursor.execute("SET LOCAL work_mem TO '64kB'")
        await cursor.execute("SELECT count(*) FROM generate_series(1, %s)", (ROOM_ROWS,))  # more than fits: it goes to disk
        await cursor.execute("SELECT pg_logical_emit_message(true, 'laurel', 'ready')")  # a record that has to reach the disk at commit
    check_clock(now)


def check_clock(now: datetime) -> None:
    """Raise `NotReady` when this machine's clock and the database's, which says `now`, are too far apart."""
    apart = ids.clock_difference()
    if abs(apart) > CLOCK_TOLERANCE:
        raise NotReady(
            "clock", f"this machine's clock is {apart.total_seconds():.1f} s from the database's, where it is {now:%H:%M:%S} UTC"
        )


class Readiness:
    """Whether an event could be persisted now, proved by doing what it takes. However often it is asked, one proof at a time is made,
    and one that is a second old still stands: whoever probes costs the database a commit a second."""

    def __init__(self, pool: Pool, scoring_partitions: int, drain: Drain | None = None) -> None:
        self._pool, self._partitions = pool, scoring_partitions
        self._proving: asyncio.Task[str] | None = None
        self._proved_at = float("-inf")
        self._drain = drain or Drain()

    async def reason(self) -> str:
        """Why no event could be persisted now, in a word; empty when one could."""
        if self._drain.begun:
            return "draining"
        if self._proving is None or (self._proving.done() and time.monotonic() > self._proved_at + PROOF_SECONDS):
            self._proving = begin_for_all(self._prove(), "readiness")
        return await asyncio.shield(self._proving)

    async def _prove(self) -> str:
        try:
            async with asyncio.timeout(PROBE_SECONDS), self._pool.connection(timeout=PROBE_SECONDS) as connection:
                await prove_ready(connection, self._partitions)
        except NotReady as error:
            log.warning("not ready: %s", error)
            return error.reason
        except TimeoutError:
            return "timeout"
        except Exception as error:  # whatever stops it would stop an event
            log.warning("not ready: %s", error)
            return cause_of(error)
        finally:
            self._proved_at = time.monotonic()
        return ""
