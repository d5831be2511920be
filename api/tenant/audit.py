"""The audit log for admins (contract 6): who changed what, when and why, with the values before and after."""

from typing import Any

from litestar import Request, get

from api.auth import Principal, allow
from api.pagination import Page, encode_cursor
from api.query import instant_in
from domain.errors import ValidationFault
from domain.wire import rfc3339
from runtime.postgres import Pool
from storage.tenant.audit import AuditEntry, AuditSearch, list_entries


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
    """List what admins and the operator changed, newest first.

    Filters: `subject` (the kind of object), `subject_id`, `actor`, `from`, `to`. With `actor`, a page can be short or even empty and still
    have a `next_cursor`. The reason is the header `X-Audit-Reason` of the change.
    """
    texts = {name: request.query_params.get(name) for name in ("subject", "subject_id", "actor")}
    if any("\0" in (text or "") for text in texts.values()):
        raise ValidationFault("Text must not contain the character U+0000")
    wanted = AuditSearch(**texts, since=instant_in(request, "from"), until=instant_in(request, "to"))
    async with pool.connection() as connection:
        entries, behind = await list_entries(connection, principal.tenant_id, wanted, after=page.after_id(), limit=page.limit)
    cursor = None if behind is None else encode_cursor(str(behind))
    return {"audit_log": [entry_wire(entry) for entry in entries], "next_cursor": cursor}


routes = [list_audit_log]
