"""The instant at which a definition changes, against which the scoring pumps are fenced, tenant by tenant.

A pump holds the lock of each tenant of its batch shared, from before it reads their versions until its commit; a change holds its own
tenant's exclusively and takes its `valid_from` once it has it. So no pump has passed that instant with the older version, and none
reads on before the newer one is committed (contract 3). Nobody waits for another tenant's change (decision 20).
"""

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import tuple_row

from domain import limits
from domain.errors import RateLimited
from runtime.postgres import Connection

RULES_LOCK = 7202
HOUR = timedelta(hours=1)
WAIT_SECONDS = 12
"""No change waits longer for the pumps: one that is frozen loses its transaction after 10 s (`runtime/postgres.py`)."""


def fence_of(tenant_id: UUID) -> int:
    """The number of the tenant's lock. Tenants that share one wait for each other at times, and nothing else."""
    return int.from_bytes(tenant_id.bytes[-4:], signed=True)


async def change_instant(connection: Connection, tenant_id: UUID, *, asked_for: bool = False) -> datetime:
    """The `valid_from` (also `closes_at`) of a change of boards, earning rules or activity, made in the present transaction.

    Waits for the tenant's scoring transactions that are under way and holds up those to come until commit: take it last, and commit
    soon. Raises psycopg's LockNotAvailable when they do not end in time; RateLimited for a change that the tenant has `asked_for` and
    that is one too many in this hour: each has its rules read and compiled anew.
    """
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{WAIT_SECONDS}s",))
        await cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (RULES_LOCK, fence_of(tenant_id)))
        await cursor.execute(
            """
            INSERT INTO definition_change AS known (tenant_id, change, counted_from, counted)
            VALUES (%(tenant_id)s, nextval('definition_change_number'), now(), %(counted)s)
            ON CONFLICT (tenant_id) DO UPDATE SET change = excluded.change,
                counted_from = CASE WHEN known.counted_from > now() - %(hour)s THEN known.counted_from ELSE now() END,
                counted = CASE WHEN known.counted_from > now() - %(hour)s THEN known.counted ELSE 0 END + excluded.counted
            RETURNING clock_timestamp(), counted, counted_from + %(hour)s - now()
            """,
            {"tenant_id": tenant_id, "counted": int(asked_for), "hour": HOUR},
        )
        row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("definition_change returned no row")
    instant, counted, left = row
    if asked_for and counted > limits.RULE_CHANGES.value:
        said = f"A tenant can change its leaderboards and rules at most {limits.RULE_CHANGES.value} times an hour"
        raise RateLimited(said, retry_after=math.ceil(left.total_seconds()))
    assert isinstance(instant, datetime)
    return instant


async def lock_rules_shared(connection: Connection, tenants: Iterable[UUID]) -> None:
    """Keep these tenants' definitions as they are until the end of the present transaction. Read them in a statement after this one."""
    # In one order, whoever asks: a change that waits stands between two that would otherwise share.
    fences = sorted({fence_of(tenant_id) for tenant_id in tenants})
    await connection.execute(
        "SELECT pg_advisory_xact_lock_shared(%s, fence) FROM unnest(%s::integer[]) AS fence",
        (RULES_LOCK, fences),
    )
