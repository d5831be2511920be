"""Tenants that are behind in a partition: its cursor has passed their events unscored, so that others do not wait for them (decision 26).

Only the partition's owner writes these rows, in transactions that hold its cursor: they are fenced as the cursor is.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import tuple_row

from runtime.postgres import Connection
from storage.scoring.pump import Cursor


class Backlog(msgspec.Struct, frozen=True):
    """How far one tenant's events have been scored; those from here to the partition's cursor wait. `cursor` is as a partition's."""

    tenant_id: UUID
    cursor: Cursor


async def backlogs_of(connection: Connection, partition: int) -> list[Backlog]:
    """The tenants that are behind in a partition, the one that has waited longest first."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "SELECT tenant_id, position, accepted_at FROM scoring_backlog WHERE scoring_partition = %s ORDER BY position", (partition,)
        )
        return [Backlog(row[0], Cursor(row[1], row[2])) for row in await cursor.fetchall()]


async def put_behind(connection: Connection, partition: int, tenants: Sequence[UUID], cursor: Cursor) -> None:
    """Say that these tenants' events after this position wait."""
    await connection.execute(
        "INSERT INTO scoring_backlog (tenant_id, scoring_partition, position, accepted_at) "
        "SELECT tenant_id, %s, %s, %s FROM unnest(%s::uuid[]) AS tenant_id",
        (partition, cursor.position, cursor.accepted_at, list(tenants)),
    )
    await connection.execute("UPDATE scoring_cursor SET backlog_epoch = owner_epoch WHERE scoring_partition = %s", (partition,))


async def advance_backlog(connection: Connection, partition: int, tenant_id: UUID, *, position: int, accepted_at: datetime | None) -> None:
    """Say that the tenant's events have been scored up to `position`."""
    await connection.execute(
        "UPDATE scoring_backlog SET position = %s, accepted_at = %s WHERE tenant_id = %s AND scoring_partition = %s",
        (position, accepted_at, tenant_id, partition),
    )


async def end_backlog(connection: Connection, partition: int, tenant_id: UUID) -> None:
    """The tenant has come up to the partition's cursor: it goes on with the others."""
    await connection.execute("DELETE FROM scoring_backlog WHERE tenant_id = %s AND scoring_partition = %s", (tenant_id, partition))
    await connection.execute(
        "UPDATE scoring_cursor AS c SET backlog_epoch = NULL WHERE scoring_partition = %s "
        "AND NOT EXISTS (SELECT FROM scoring_backlog AS b WHERE b.scoring_partition = c.scoring_partition)",
        (partition,),
    )
