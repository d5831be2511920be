"""The audit log: what admins changed, read newest first. It is written by triggers (migration 0003), and by `record`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from runtime.postgres import Connection


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One changed row: the columns that differ, as they were and as they became."""

    audit_id: UUID
    actor: str
    action: str
    subject: str
    subject_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    created_at: datetime


@asynccontextmanager
async def summarised(connection: Connection) -> AsyncIterator[None]:
    """Keep the triggers quiet within the block: what is done there is one deed, which the caller writes down by `record` behind it."""
    row = await (await connection.execute("SELECT current_setting('laurel.actor', true) AS actor")).fetchone()
    await connection.execute("SELECT set_config('laurel.actor', '', true)")
    yield  # a transaction that fails takes the setting back with it
    await connection.execute("SELECT set_config('laurel.actor', %s, true)", ("" if row is None else row["actor"] or "",))


async def record(connection: Connection, tenant_id: UUID, *, action: str, subject: str, subject_id: str, facts: dict[str, Any]) -> None:
    """Write down what no trigger could tell well: a deed that changes many rows, or sends. Nothing without an actor who is audited."""
    await connection.execute(
        """
        INSERT INTO audit_log (tenant_id, audit_id, actor, action, subject, subject_id, before, after, reason, created_at)
        SELECT %(tenant_id)s, uuidv7(), current_setting('laurel.actor'), %(action)s, %(subject)s, %(subject_id)s, NULL, %(facts)s,
               nullif(current_setting('laurel.reason', true), ''), clock_timestamp()
        WHERE coalesce(current_setting('laurel.actor', true), '') <> ''
        """,
        {
            "tenant_id": tenant_id,
            "action": action,
            "subject": subject,
            "subject_id": subject_id,
            "facts": Jsonb(facts),
        },
    )


async def record_figures(
    connection: Connection,
    tenant_id: UUID,
    *,
    action: str,
    subject: tuple[str, str],
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str | None,
) -> None:
    """Write what a deed made of the subject (name, id), with its figures before and after. Nothing without an actor who is audited.

    A reason that the request's header gives stands before `reason`.
    """
    await connection.execute(
        """
        INSERT INTO audit_log (tenant_id, audit_id, actor, action, subject, subject_id, before, after, reason, created_at)
        SELECT %s, uuidv7(), current_setting('laurel.actor'), %s, %s, %s, %s, %s,
               coalesce(nullif(current_setting('laurel.reason', true), ''), %s), clock_timestamp()
        WHERE coalesce(current_setting('laurel.actor', true), '') <> ''
        """,
        (tenant_id, action, *subject, Jsonb(before), Jsonb(after), reason),
    )


async def list_entries(
    connection: Connection, tenant_id: UUID, *, subject: str | None, subject_id: str | None, after: UUID | None, limit: int
) -> list[AuditEntry]:
    """The tenant's entries, newest first, from behind the entry `after`."""
    cursor = await connection.execute(
        """
        SELECT audit_id, actor, action, subject, subject_id, before, after, reason, created_at FROM audit_log
        WHERE tenant_id = %(tenant_id)s AND (%(after)s::uuid IS NULL OR audit_id < %(after)s)
          AND (%(subject)s::text IS NULL OR subject = %(subject)s) AND (%(subject_id)s::text IS NULL OR subject_id = %(subject_id)s)
        ORDER BY audit_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "subject": subject, "subject_id": subject_id, "after": after, "limit": limit},
    )
    return [msgspec.convert(row, AuditEntry) for row in await cursor.fetchall()]
