"""API keys: who may call the API for the tenant. A key's text is shown once, on the page that made it."""

from datetime import datetime, time
from typing import Any
from uuid import UUID

from litestar import Response, get, post
from litestar.response import Redirect

from console.i18n import N_, _
from console.request import Visit

ROLES = {
    "server": N_("Your servers: send events, read, redeem, call back"),
    "fulfilment": N_("A fulfilment partner: call back on a redemption and read it"),
    "read": N_("Read-only, for reports and displays"),
    "admin": N_("Everything in this tenant, like a console administrator"),
}
"""What each role is for, the most common first."""


async def _page(visit: Visit, *, status: int = 200, **context: Any) -> Response[bytes]:
    found = await visit.api.read("/v1/admin/api-keys", {"cursor": visit.query("cursor"), "limit": 50})
    for key in found["api_keys"]:
        key["state"] = _state(key, visit.now)
    given = {"made": None, "error": None, "typed": {"name": "", "role": "server", "until": ""}, **context}
    return visit.page("api_keys/list.html", status=status, keys=found["api_keys"], next_cursor=found["next_cursor"], roles=ROLES, **given)


def _state(key: dict[str, Any], now: datetime) -> str:
    if key["revoked_at"]:
        return "revoked"
    return "expired" if key["expires_at"] and datetime.fromisoformat(key["expires_at"]) <= now else "active"


@get("/api-keys")
async def list_keys(visit: Visit) -> Response[bytes]:
    """The keys, and the form for a new one."""
    return await _page(visit)


@post("/api-keys")
async def make_key(visit: Visit) -> Response[bytes]:
    """Make a key and show its text, here and nowhere else."""
    typed = {name: visit.form.text(name) for name in ("name", "role", "until")}
    body = {"name": typed["name"], "role": typed["role"]}
    if typed["until"]:
        try:
            # To the end of that day, where the tenant is.
            body["expires_at"] = datetime.combine(datetime.fromisoformat(typed["until"]).date(), time.max, visit.zone).isoformat()
        except ValueError:
            body["expires_at"] = typed["until"]
    answer = await visit.api.post("/v1/admin/api-keys", body, reason=visit.form.text("reason"))
    if answer.error is not None:
        return await _page(visit, status=400, error=answer.error, typed=typed)
    return await _page(visit, made=answer.body)


@post("/api-keys/{key_id:uuid}/revoke")
async def revoke_key(visit: Visit, key_id: UUID) -> Redirect:
    """Revoke a key: within a second nobody can use it."""
    answer = await visit.api.delete(f"/v1/admin/api-keys/{key_id}", reason=visit.form.text("reason"))
    return visit.done("/api-keys", answer.error, _("Key revoked. It stops working within a second."))


routes = [list_keys, make_key, revoke_key]
