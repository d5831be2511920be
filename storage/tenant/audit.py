"""The audit log: what admins changed, read newest first. It is written by triggers (migration 0003), and by `record`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain import limits
from runtime.ids import first_id, utc_now
from runtime.postgres import Connection, count_changed


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


async def record_token(connection: Connection, tenant_id: UUID, *, external_id: str, token_id: str, expires_at: str) -> None:
    """Write down that a gamer token was issued. Those of a user that an actor asks for within an hour share one entry, with how many they
    are, the first one and the latest: a game asks for one at every start. Nothing without an actor who is audited."""
    since = first_id(utc_now() - timedelta(hours=limits.TOKEN_ENTRY_HOURS.value))
    changed = await count_changed(
        connection,
        """
        UPDATE audit_log SET after = after || jsonb_build_object(
            'tokens', coalesce((after ->> 'tokens')::integer, 1) + 1,
            'latest_token_id', %(token_id)s::text, 'expires_at', %(expires_at)s::text)
        WHERE tenant_id = %(tenant_id)s AND audit_id = (
            SELECT audit_id FROM audit_log WHERE tenant_id = %(tenant_id)s AND subject_id = %(external_id)s AND audit_id >= %(since)s
              AND subject = 'gamer_token' AND actor = current_setting('laurel.actor', true) ORDER BY audit_id DESC LIMIT 1)
        """,
        {"tenant_id": tenant_id, "external_id": external_id, "token_id": token_id, "expires_at": expires_at, "since": since},
    )
    if not changed:
        facts = {"token_id": token_id, "expires_at": expires_at}
        await record(connection, tenant_id, action="issue", subject="gamer_token", subject_id=external_id, facts=facts)


async def forget_token_entries(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` entries of gamer tokens that were first written before this instant."""
    return await count_changed(
        connection,
        """
        DELETE FROM audit_log WHERE subject = 'gamer_token' AND (tenant_id, audit_id) IN (
            SELECT tenant_id, audit_id FROM audit_log WHERE subject = 'gamer_token' AND audit_id < %s LIMIT %s)
        """,
        (first_id(before), limit),
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


EPOCH = datetime.fromtimestamp(0, UTC)
LOOKED_THROUGH = 20_000
"""So many entries one question about an actor looks through: no index pays for it."""


class AuditSearch(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are wanted: of this kind of thing, this thing, this actor, written from `since` on and before `until`."""

    subject: str | None = None
    subject_id: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None


FITTING = """FROM audit_log
    WHERE tenant_id = %(tenant_id)s AND (%(below)s::uuid IS NULL OR audit_id < %(below)s)
      AND (%(lowest)s::uuid IS NULL OR audit_id >= %(lowest)s)
      AND (%(subject)s::text IS NULL OR subject = %(subject)s) AND (%(subject_id)s::text IS NULL OR subject_id = %(subject_id)s)
    ORDER BY audit_id DESC"""


async def list_entries(
    connection: Connection, tenant_id: UUID, wanted: AuditSearch, *, after: UUID | None, limit: int
) -> tuple[list[AuditEntry], UUID | None]:
    """The tenant's entries, newest first, from behind the entry `after`, and behind which entry to go on: None at the end. One question
    looks through `LOOKED_THROUGH` entries at most, so fewer than `limit` may come before the end."""
    bounds = [bound for bound in (after, wanted.until and first_id(max(wanted.until, EPOCH))) if bound is not None]
    named = {
        "tenant_id": tenant_id,
        "below": min(bounds, default=None),
        "lowest": None if wanted.since is None else first_id(max(wanted.since, EPOCH)),
        "subject": wanted.subject,
        "subject_id": wanted.subject_id,
        "actor": wanted.actor,
        "limit": limit,
    }
    cursor = await connection.execute(
        f"""
        SELECT audit_id, actor, action, subject, subject_id, before, after, reason, created_at
        FROM (SELECT * {FITTING} LIMIT {LOOKED_THROUGH}) AS looked
        WHERE %(actor)s::text IS NULL OR actor = %(actor)s ORDER BY audit_id DESC LIMIT %(limit)s
        """,
        named,
    )
    found = [msgspec.convert(row, AuditEntry) for row in await cursor.fetchall()]
    if len(found) == limit:
        return found, found[-1].audit_id
    cursor = await connection.execute(f"SELECT audit_id {FITTING} OFFSET {LOOKED_THROUGH - 1} LIMIT 1", named)
    row = await cursor.fetchone()
    return found, None if row is None else row["audit_id"]
