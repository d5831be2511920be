"""The scoring pumps' tables: partitions and their owners, the event log read in order, dead letters, what was published to whom."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import tuple_row

from runtime.postgres import Connection


class StaleOwner(Exception):
    """Another owner has taken the partition: whoever gets this must stop at once, its transaction changes nothing."""


class Cursor(msgspec.Struct, frozen=True):
    """How far a partition has been scored; nothing behind it was accepted before `accepted_at`."""

    position: int
    accepted_at: datetime | None


class LoggedEvent(msgspec.Struct, frozen=True, gc=False):
    """One row of the event log."""

    position: int
    accepted_at: datetime
    occurred_at: datetime
    tenant_id: UUID
    user_id: UUID
    external_user_id: str
    event_id: str
    type: str
    body: bytes


async def take_partition(connection: Connection, partition: int) -> int:
    """Become the partition's owner: the new epoch. Whoever owned it before gets StaleOwner at its next transaction."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "UPDATE scoring_cursor SET owner_epoch = owner_epoch + 1, backlog_epoch = backlog_epoch + 1,"
            " updated_at = clock_timestamp() WHERE scoring_partition = %s RETURNING owner_epoch",
            (partition,),
        )
        row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"there is no scoring partition {partition}: storage.platform.partitions.set_up makes them")
    return int(row[0])


PRESENCE = "pumps"
"""The name of the connection on which a worker asks who else is alive."""


async def live_workers(connection: Connection, seconds: float) -> int:
    """How many workers, this one among them, have asked this within the last `seconds` on their connection named `PRESENCE`."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
            " AND query_start > clock_timestamp() - make_interval(secs => %s)",
            (f"laurel-{PRESENCE}", seconds),
        )
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def lock_cursor(connection: Connection, partition: int, epoch: int) -> Cursor:
    """The partition's cursor, locked until the end of the transaction; StaleOwner unless `epoch` still owns it."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "SELECT position, accepted_at FROM scoring_cursor WHERE scoring_partition = %s AND owner_epoch = %s FOR UPDATE",
            (partition, epoch),
        )
        row = await cursor.fetchone()
    if row is None:
        raise StaleOwner(f"scoring partition {partition} has an owner after epoch {epoch}")
    return Cursor(*row)


async def event_horizon(connection: Connection) -> int:
    """The position up to which the log is complete for statements that begin after this one."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("SELECT event_horizon()")
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def server_clock(connection: Connection) -> datetime:
    """What PostgreSQL's clock says."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("SELECT clock_timestamp()")
        row = await cursor.fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


async def log_head(connection: Connection) -> int:
    """The last position drawn by any writer, committed or not."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("SELECT last_value FROM event_position")
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


class Stretch(msgspec.Struct, frozen=True):
    """A part of a partition's log: from behind the cursor up to `until`, of all tenants `but` these, or of one `only`.

    Unless its events may lie `anywhere`, old parts of the log are spared: positions are drawn within moments of the clock reading, so an
    hour before both the cursor's time and the present is ample, as long as the server's clock does not step.
    """

    cursor: Cursor
    until: int
    anywhere: bool = True
    but: Sequence[UUID] = ()
    only: UUID | None = None


async def events_of(connection: Connection, partition: int, stretch: Stretch, *, limit: int) -> list[LoggedEvent]:
    """The first events of the stretch, in order."""
    since = None if stretch.anywhere else stretch.cursor.accepted_at
    whose, tenants = ("tenant_id <> ALL(%s)", list(stretch.but)) if stretch.only is None else ("tenant_id = ANY(%s)", [stretch.only])
    async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(
            f"""
            SELECT position, accepted_at, occurred_at, tenant_id, user_id, external_user_id, event_id, type, body FROM event_log
            WHERE scoring_partition = %s AND position > %s AND position <= %s
              AND accepted_at >= least(coalesce(%s::timestamptz, '-infinity'), now()) - interval '1 hour'
              AND {whose}
            ORDER BY position LIMIT %s
            """,
            (partition, stretch.cursor.position, stretch.until, since, tenants, limit),
        )
        return [LoggedEvent(*row) for row in await cursor.fetchall()]


async def advance_cursor(connection: Connection, partition: int, *, position: int, accepted_at: datetime | None, scored: int) -> None:
    """Say that the partition has been scored up to `position`. `accepted_at` is the latest seen, None to leave it."""
    await connection.execute(
        """
        UPDATE scoring_cursor SET position = %s, accepted_at = coalesce(%s, accepted_at), events_scored = events_scored + %s,
               updated_at = clock_timestamp()
        WHERE scoring_partition = %s
        """,
        (position, accepted_at, scored, partition),
    )


Change = tuple[int, int]
"""A change of a tenant's definitions: its number, and the transaction that made it. A database that was restored gives numbers again."""

NO_CHANGE: Change = (0, 0)


async def changes_of(connection: Connection, tenants: Sequence[UUID]) -> dict[UUID, Change]:
    """Each tenant's latest change of definitions, or `NO_CHANGE`. Compare one tenant's only: those of several commit in any order, so
    there is no number up to which all are known."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "SELECT tenant_id, change, xmin::text::bigint FROM definition_change WHERE tenant_id = ANY(%s)", (list(tenants),)
        )
        found = {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}
    return {tenant_id: found.get(tenant_id, NO_CHANGE) for tenant_id in tenants}


async def add_dead_letter(connection: Connection, event: LoggedEvent, *, partition: int, reason: str) -> None:
    """Put an event that breaks scoring among the dead letters."""
    await connection.execute(
        """
        INSERT INTO dead_letter (tenant_id, position, event_id, scoring_partition, accepted_at, reason, created_at)
        VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp()) ON CONFLICT DO NOTHING
        """,
        (event.tenant_id, event.position, event.event_id, partition, event.accepted_at, reason[:2000]),
    )
