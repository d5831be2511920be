"""The tenant's settings: how events and users are taken, the time zone, and which sites may call from a browser (CORS)."""

import json
from typing import Any
from zoneinfo import available_timezones

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from console.client import Refusal
from console.i18n import _
from console.request import Visit


async def _page(visit: Visit, *, status: int = 200, **context: Any) -> Response[bytes]:
    settings = await visit.api.read("/v1/admin/settings")
    shown = {
        "error": None,
        "typed": settings | {"metadata": json.dumps(settings["metadata"], indent=2, ensure_ascii=False)},
        "origins": "\n".join(settings["cors_origins"]),
        "origins_error": None,
        **context,
    }
    return visit.page("settings/show.html", status=status, settings=settings, zones=sorted(available_timezones()), **shown)


@get("/settings")
async def show_settings(visit: Visit) -> Response[bytes]:
    """The two forms."""
    return await _page(visit)


@post("/settings")
async def change_settings(visit: Visit) -> Response[bytes] | Redirect:
    """Change how the tenant takes events and users, its time zone and its notes."""
    typed = {name: visit.form.text(name) for name in ("event_types", "users", "timezone", "metadata")}
    try:
        metadata = msgspec.json.decode((typed["metadata"] or "{}").encode())
    except (ValueError, RecursionError) as error:
        told = Refusal(code="VALIDATION_ERROR", message=str(error), status=400, details=[{"field": "metadata", "message": str(error)}])
        return await _page(visit, status=400, error=told, typed=typed)
    answer = await visit.api.patch("/v1/admin/settings", {**typed, "metadata": metadata}, reason=visit.form.text("reason"))
    if answer.error is not None:
        return await _page(visit, status=400, error=answer.error, typed=typed)
    return visit.go("/settings", good=_("Settings saved."))


@post("/settings/cors")
async def change_origins(visit: Visit) -> Response[bytes] | Redirect:
    """Replace the list of origins."""
    text = visit.form.text("origins")
    origins = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    answer = await visit.api.patch("/v1/admin/settings", {"cors_origins": origins}, reason=visit.form.text("reason"))
    if answer.error is not None:
        wrong = next(iter(answer.error.fields.items()), ("", answer.error.message))
        return await _page(visit, status=400, origins=text, origins_error=_wrong_origin(origins, wrong))
    return visit.go("/settings#cors", good=_("Origins saved. Takes effect within a second."))


def _wrong_origin(origins: list[str], wrong: tuple[str, str]) -> str:
    """The API's sentence, with the line it is about: its field is `cors_origins[2]`."""
    place = wrong[0].partition("[")[2].rstrip("]")
    if place.isascii() and place.isdigit() and len(place) < 8 and int(place) < len(origins):
        return _("“%(line)s” isn't an origin: use scheme and host, like https://play.example.com", line=origins[int(place)])
    return wrong[1]


routes = [show_settings, change_settings, change_origins]
