"""The audit log for admins (contract 6): who changed what, when and why, with the values before and after."""

from typing import Any

from litestar import Request, get

from api.auth import Principal, allow
from api.pagination import Page
from domain.errors import ValidationFault
from domain.wire import rfc3339
from runtime.postgres import Pool
from storage.tenant.audit import AuditEntry, list_entries


def entry_wire(entry: AuditEntry) -> dict[str, Any]:
    """The entry as JSON values."""
    return {
        "audit_id": str(entry.audit_id),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "subject_id": entry.subject_id,
        "before": entry.before,
        "after": entry.after,
        "reason": entry.reason,
        "created_at": rfc3339(entry.created_at),
    }


@get("/v1/admin/audit-log", guards=[allow("admin")], operation_id="list_audit_log")
async def list_audit_log(request: Request[Any, Any, Any], principal: Principal, pool: Pool, page: Page) -> dict[str, Any]:
    """What admins and the operator changed, newest first; filters `subject` (the kind of thing) and `subject_id`.

    The reason is what the header `X-Audit-Reason` of the change said.
    """
    subject, subject_id = request.query_params.get("subject"), request.query_params.get("subject_id")
    if "\0" in (subject or "") + (subject_id or ""):
        raise ValidationFault("Text may not hold the character U+0000")
    async with pool.connection() as connection:
        entries = await list_entries(
            connection, principal.tenant_id, subject=subject, subject_id=subject_id, after=page.after_id(), limit=page.limit
        )
    return {"audit_log": [entry_wire(entry) for entry in entries], "next_cursor": page.cursor_of(entries, "audit_id")}


routes = [list_audit_log]
