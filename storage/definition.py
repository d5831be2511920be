"""The instant at which a definition changes, against which the scoring pumps are fenced.

A pump holds the lock shared from before it reads events and versions until its commit; a change holds it exclusively and takes
its `valid_from` once it has it. So no pump has passed that instant with the older version, and none reads on before the newer
one is committed (contract 3).
"""

from datetime import datetime
from uuid import UUID

from psycopg.rows import tuple_row

from runtime.postgres import Connection

DEFINITION_LOCK = 7202


async def change_instant(connection: Connection, tenant_id: UUID) -> datetime:
    """The `valid_from` (also `closes_at`) of a change of boards, earning rules or activity, made in the present transaction.

    Waits for the scoring transactions that are under way and holds up those to come until commit: take it last, and commit soon.
    """
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", (DEFINITION_LOCK,))
        await cursor.execute(
            """
            INSERT INTO definition_change (tenant_id, change) VALUES (%s, nextval('definition_change_number'))
            ON CONFLICT (tenant_id) DO UPDATE SET change = excluded.change
            RETURNING clock_timestamp()
            """,
            (tenant_id,),
        )
        row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("definition_change returned no row")
    instant: datetime = row[0]
    return instant


async def lock_definitions_shared(connection: Connection) -> None:
    """Keep every definition as it is until the end of the present transaction. Taken by a pump before it reads anything."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(%s, 0)", (DEFINITION_LOCK,))
