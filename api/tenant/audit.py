"""The audit log for admins (contract 6): who changed what, when and why, with the values before and after."""

from typing import Annotated

import msgspec
from litestar import get
from msgspec import Meta

from api.pagination import Page, encode_cursor
from api.principal import Principal
from api.query import Between
from api.rule import ADMIN
from domain.wire import Actor, FreeForm, Id, Instant, NextCursor, rfc3339
from runtime.postgres import Pool
from storage.tenant.audit import AuditEntry, AuditSearch, list_entries


class AuditEntryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Who changed what, when and why, with the values before and after."""

    audit_id: Id
    actor: Actor
    action: Annotated[str, Meta(examples=["update"])]
    subject: Annotated[str, Meta(description="The kind of object", examples=["reward"])]
    subject_id: Annotated[str, Meta(examples=["0193f1de-7c1a-7e2b-9d65-0c8b5d1f4a10"])]
    before: Annotated[FreeForm | None, Meta(description="null for what was made")]
    after: Annotated[FreeForm | None, Meta(description="null for what was deleted")]
    reason: Annotated[str | None, Meta(description="The header X-Audit-Reason of the change, or the body's reason")]
    created_at: Instant


class AuditEntryListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What admins and the operator changed, newest first."""

    audit_log: list[AuditEntryAnswer]
    next_cursor: NextCursor


class AuditParams(Between, frozen=True, kw_only=True):
    """Which entries of the audit log."""

    subject: Annotated[str, Meta(description="The kind of object", max_length=255)] | None = None
    subject_id: Annotated[str, Meta(max_length=255)] | None = None
    actor: Annotated[str, Meta(description="Who made the change", max_length=400)] | None = None


def entry_answer(entry: AuditEntry) -> AuditEntryAnswer:
    """The entry as admins see it."""
    return AuditEntryAnswer(
        audit_id=entry.audit_id,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        subject_id=entry.subject_id,
        before=entry.before,
        after=entry.after,
        reason=entry.reason,
        created_at=rfc3339(entry.created_at),
    )


@get("/v1/admin/audit-log", rule=ADMIN)
async def list_audit_entries(params: AuditParams, principal: Principal, pool: Pool, page: Page) -> AuditEntryListAnswer:
    """List what admins and the operator changed, newest first.

    With `actor`, a page can be short or even empty and still have a `next_cursor`. The reason is the header `X-Audit-Reason` of the change.
    """
    wanted = AuditSearch(subject=params.subject, subject_id=params.subject_id, actor=params.actor, since=params.since, until=params.until)
    async with pool.connection() as connection:
        entries, behind = await list_entries(connection, principal.tenant_id, wanted, after=page.after_id(), limit=page.limit)
    cursor = None if behind is None else encode_cursor(str(behind))
    return AuditEntryListAnswer(audit_log=[entry_answer(entry) for entry in entries], next_cursor=cursor)


routes = [list_audit_entries]
