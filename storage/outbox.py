"""Commands for Temporal, written in the transaction that decided them and delivered by the relay.

A row is leased, and the lease committed, before Temporal is called, so no transaction stays open over a remote call.
A workflow's rows are delivered in order: a row is due only when no earlier one of its workflow is unsent.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain import limits
from runtime import tracing
from runtime.postgres import Connection, count_changed, notify

CHANNEL = "outbox"
LEASE = timedelta(seconds=limits.TAKEN_SECONDS.value)
MAXIMUM_BACKOFF_SECONDS = 60


class OutboxCommand(msgspec.Struct, frozen=True, kw_only=True):
    """One command. `name` is the workflow type of a start and the update's id of an update ("moved:2"), unique in its workflow.

    A `schedule` has the Temporal Schedule brought in line with its row; `workflow_id` is that schedule's id, its argument {"schedule_id"}.

    The argument of a start is {"argument", "attributes", "summary", "page"}, the page being where the console shows what it is about;
    that of an update is what its handler takes.
    """

    kind: Literal["start", "update", "schedule"]
    workflow_id: str
    name: str
    argument: dict[str, Any]


class LeasedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A leased command."""

    outbox_id: int
    tenant_id: UUID
    kind: Literal["start", "update", "schedule"]
    workflow_id: str
    name: str
    argument: dict[str, Any]
    tries: int
    trace_context: str | None = None
    tenant_name: str | None = None


ENQUEUE = """
INSERT INTO outbox (tenant_id, kind, workflow_id, name, argument, trace_context, created_at, due_at)
VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp(), clock_timestamp())
ON CONFLICT (workflow_id, kind, name) DO NOTHING
"""


async def enqueue(connection: Connection, tenant_id: UUID, entry: OutboxCommand) -> None:
    """Write a command and wake the relay after the commit. The same command again is no second one."""
    await connection.execute(ENQUEUE, _columns(tenant_id, entry))
    await notify(connection, CHANNEL)


async def enqueue_once(connection: Connection, tenant_id: UUID, entry: OutboxCommand) -> None:
    """The same for a start that many transactions write: this one writes none while another is about to.

    Two that wrote such commands in opposite order would wait for each other at the unique key. Should the other one fail, the sweep
    starts the workflow that is missing.
    """
    await connection.execute(
        """
        INSERT INTO outbox (tenant_id, kind, workflow_id, name, argument, trace_context, created_at, due_at)
        SELECT %(tenant_id)s, %(kind)s, %(workflow_id)s, %(name)s, %(argument)s, %(trace)s, clock_timestamp(), clock_timestamp()
        WHERE CASE WHEN EXISTS (
                SELECT FROM outbox WHERE workflow_id = %(workflow_id)s AND kind = %(kind)s AND name = %(name)s
            ) THEN false ELSE pg_try_advisory_xact_lock(hashtextextended('start:' || %(workflow_id)s::text, 0)) END
        ON CONFLICT (workflow_id, kind, name) DO NOTHING
        """,
        {
            "tenant_id": tenant_id,
            "kind": entry.kind,
            "workflow_id": entry.workflow_id,
            "name": entry.name,
            "argument": Jsonb(entry.argument),
            "trace": tracing.current(),
        },
    )
    await notify(connection, CHANNEL)


async def enqueue_many(connection: Connection, tenant_id: UUID, entries: Sequence[OutboxCommand]) -> None:
    """The same for many commands, without waiting for the server's answer to each."""
    async with connection.cursor() as cursor:
        await cursor.executemany(ENQUEUE, [_columns(tenant_id, entry) for entry in entries])
    await notify(connection, CHANNEL)


def _columns(tenant_id: UUID, entry: OutboxCommand) -> tuple[object, ...]:
    return (tenant_id, entry.kind, entry.workflow_id, entry.name, Jsonb(entry.argument), tracing.current())


async def lease_due(connection: Connection, limit: int, *, workflow_id: str | None = None) -> list[LeasedCommand]:
    """Take up to `limit` due commands for `LEASE`, the oldest unsent one of each workflow. With `workflow_id`, only that workflow's."""
    # Materialized: as a subquery it may be run again for each row it is joined with, and then it takes others, beyond the limit.
    cursor = await connection.execute(
        """
        WITH taken AS MATERIALIZED (
            SELECT due.outbox_id AS taken_id FROM outbox AS due
            WHERE due.sent_at IS NULL AND due.due_at <= clock_timestamp()
              AND (due.leased_until IS NULL OR due.leased_until < clock_timestamp())
              AND (%(workflow_id)s::text IS NULL OR due.workflow_id = %(workflow_id)s)
              AND NOT EXISTS (
                  SELECT FROM outbox AS earlier
                  WHERE earlier.workflow_id = due.workflow_id AND earlier.sent_at IS NULL AND earlier.outbox_id < due.outbox_id
              )
            ORDER BY due.due_at, due.outbox_id
            LIMIT %(limit)s
            FOR UPDATE SKIP LOCKED
        )
        UPDATE outbox SET leased_until = clock_timestamp() + %(lease)s, tries = tries + 1 FROM taken
        WHERE outbox_id = taken_id
        RETURNING outbox_id, tenant_id, kind, workflow_id, name, argument, tries, trace_context,
            (SELECT tenant.name FROM tenant WHERE tenant.tenant_id = outbox.tenant_id) AS tenant_name
        """,
        {"lease": LEASE, "workflow_id": workflow_id, "limit": limit},
    )
    rows = [LeasedCommand(**row) for row in await cursor.fetchall()]
    return sorted(rows, key=lambda row: row.outbox_id)


async def unsent_updates(connection: Connection, tenant_id: UUID, workflow_id: str, update: str) -> list[dict[str, Any]]:
    """The arguments of the updates of that name that the workflow has not been told yet, the first one first."""
    cursor = await connection.execute(
        "SELECT argument FROM outbox WHERE tenant_id = %s AND workflow_id = %s AND kind = 'update' AND starts_with(name, %s) "
        "AND sent_at IS NULL ORDER BY outbox_id",
        (tenant_id, workflow_id, f"{update}:"),
    )
    return [row["argument"] for row in await cursor.fetchall()]


async def mark_sent(connection: Connection, outbox_ids: Sequence[int]) -> None:
    """These commands have reached Temporal, or their workflow is over and needs them no more."""
    await connection.execute(
        "UPDATE outbox SET sent_at = clock_timestamp(), leased_until = NULL, last_error = NULL WHERE outbox_id = ANY(%s)",
        (list(outbox_ids),),
    )


async def put_back(connection: Connection, row: LeasedCommand, error: str) -> None:
    """Try this command again later: after 1, 2, 4 … at most 60 seconds."""
    delay = min(2 ** min(row.tries - 1, 10), MAXIMUM_BACKOFF_SECONDS)
    await connection.execute(
        "UPDATE outbox SET leased_until = NULL, due_at = clock_timestamp() + %s, last_error = %s WHERE outbox_id = %s",
        (timedelta(seconds=delay), error[:500], row.outbox_id),
    )


async def give_back(connection: Connection, outbox_ids: Sequence[int]) -> None:
    """Return leased commands untouched, due at once: Temporal is away, which says nothing against them."""
    await connection.execute(
        "UPDATE outbox SET leased_until = NULL, tries = greatest(tries - 1, 0) WHERE outbox_id = ANY(%s)", (list(outbox_ids),)
    )


async def enqueue_again(connection: Connection, tenant_id: UUID, entry: OutboxCommand) -> None:
    """Write a command, or make it due again although it was sent: Temporal has lost what it did."""
    await connection.execute(
        """
        INSERT INTO outbox (tenant_id, kind, workflow_id, name, argument, trace_context, created_at, due_at)
        VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp(), clock_timestamp())
        ON CONFLICT (workflow_id, kind, name) DO UPDATE
        SET sent_at = NULL, due_at = excluded.due_at, tries = 0, argument = excluded.argument
        """,
        (tenant_id, entry.kind, entry.workflow_id, entry.name, Jsonb(entry.argument), tracing.current()),
    )


async def oldest_unsent(connection: Connection) -> datetime | None:
    """When the oldest command that has not reached Temporal was written; None when all have."""
    cursor = await connection.execute("SELECT min(created_at) AS oldest FROM outbox WHERE sent_at IS NULL")
    row = await cursor.fetchone()
    return None if row is None else row["oldest"]


async def forget_sent(connection: Connection, before: datetime, limit: int) -> int:
    """Delete commands that were sent before this instant, at most `limit` of them; answers how many went."""
    return await count_changed(
        connection, "DELETE FROM outbox WHERE outbox_id IN (SELECT outbox_id FROM outbox WHERE sent_at < %s LIMIT %s)", (before, limit)
    )
