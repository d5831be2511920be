"""The timeline of redemptions: each move and each note, numbered."""

from datetime import datetime
from uuid import UUID

from domain.redemption.redemption import Redemption, TimelineRow
from runtime.postgres import Connection

INSERT_MOVE = """
INSERT INTO redemption_move (tenant_id, redemption_id, number, at, from_status, to_status, by, note)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""


async def timeline_of(connection: Connection, tenant_id: UUID, redemption_id: UUID) -> list[TimelineRow]:
    """Every move of the redemption, the first one first."""
    cursor = await connection.execute(
        "SELECT at, from_status, to_status, by, note FROM redemption_move WHERE tenant_id = %s AND redemption_id = %s ORDER BY number",
        (tenant_id, redemption_id),
    )
    return [TimelineRow(**row) for row in await cursor.fetchall()]


async def next_number(connection: Connection, tenant_id: UUID, redemption_id: UUID) -> int:
    """The number of the timeline's next row; lock the redemption before."""
    return 1 + await last_number(connection, tenant_id, redemption_id)


async def last_number(connection: Connection, tenant_id: UUID, redemption_id: UUID) -> int:
    """How many rows the redemption's timeline has: a move with a lower number is old news."""
    cursor = await connection.execute(
        "SELECT coalesce(max(number), 0) AS number FROM redemption_move WHERE tenant_id = %s AND redemption_id = %s",
        (tenant_id, redemption_id),
    )
    row = await cursor.fetchone()
    return int(row["number"]) if row else 0


async def write_timeline(connection: Connection, tenant_id: UUID, redemption_id: UUID, *, number: int, row: TimelineRow) -> None:
    """Write a row of the timeline; its number is the `next_number`."""
    await connection.execute(INSERT_MOVE, timeline_columns(tenant_id, redemption_id, number, row))


def timeline_columns(tenant_id: UUID, redemption_id: UUID, number: int, row: TimelineRow) -> tuple[object, ...]:
    """The parameters of `INSERT_MOVE`."""
    return (tenant_id, redemption_id, number, row.at, row.from_status, row.to_status, row.by, row.note)


async def note_in_timeline(connection: Connection, present: Redemption, note: str, *, by: str, now: datetime) -> None:
    """Write something into the timeline that moves nothing; lock the redemption before."""
    number = await next_number(connection, present.tenant_id, present.redemption_id)
    row = TimelineRow(at=now, from_status=present.status.value, to_status=present.status.value, by=by, note=note)
    await write_timeline(connection, present.tenant_id, present.redemption_id, number=number, row=row)
