"""Event types: what a tenant declares of the events it sends, and how they are taken."""

from litestar import Response, get, post
from litestar.response import Redirect

from console.event.event_type_form import fields_of
from console.i18n import _
from console.request import Visit

ROOT = "/v1/admin/event-types"
SEEN = 100
"""How many of the newest events are looked through for types that nobody declared."""


@get("/event-types")
async def list_types(visit: Visit) -> Response[bytes]:
    """The declared types, and those of the newest events that are not declared."""
    found = await visit.api.read(ROOT, {"cursor": visit.query("cursor"), "limit": 50})
    settings = await visit.api.read("/v1/admin/settings")
    for each in found["event_types"]:
        each["fields"] = fields_of(each["schema"])
    undeclared = [] if visit.query("cursor") else await _undeclared(visit, {each["name"] for each in found["event_types"]})
    return visit.page(
        "event_types/list.html",
        types=found["event_types"],
        next_cursor=found["next_cursor"],
        undeclared=undeclared,
        mode=settings["event_types"],
    )


async def _undeclared(visit: Visit, declared: set[str]) -> list[str]:
    events = await visit.api.get("/v1/admin/events", {"limit": SEEN})
    seen = dict.fromkeys(each["type"] for each in events.body["events"]) if events.ok else {}
    candidates = [name for name in seen if name not in declared][:12]
    # The page shows 50 types; one that is further down the list is declared, too.
    return [name for name in candidates if (await visit.api.get(f"{ROOT}/{name}")).status == 404]


@get("/event-types/{name:str}")
async def show_type(visit: Visit, name: str) -> Response[bytes]:
    """A type, with its newest events."""
    declared = await visit.api.read(f"{ROOT}/{name}")
    settings = await visit.api.read("/v1/admin/settings")
    events = await visit.api.get("/v1/admin/events", {"type": name, "limit": 10})
    return visit.page(
        "event_types/show.html",
        declared=declared,
        fields=fields_of(declared["schema"]),
        mode=settings["event_types"],
        events=events.body["events"] if events.ok else [],
    )


@post("/event-types/{name:str}/delete")
async def delete_type(visit: Visit, name: str) -> Redirect:
    """Forget the type."""
    answer = await visit.api.delete(f"{ROOT}/{name}", reason=visit.form.text("reason"))
    if answer.error is not None:
        return visit.go(f"/event-types/{name}", bad=answer.error.message)
    return visit.go("/event-types", good=_("Event type deleted. Its events stay."))


routes = [list_types, show_type, delete_type]
