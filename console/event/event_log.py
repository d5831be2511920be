"""The event log: what came, what one event did, and the dead letters that broke scoring."""

import asyncio
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.response import Redirect

from console.event.why_labels import why_words
from console.i18n import _
from console.request import Visit

FILTERS = ("event_id", "type", "user_id")
PAGE = 50


def _instant(text: str, visit: Visit) -> str:
    """An input of type `datetime-local`, in the tenant's time, as the API wants it; what is none is left for it to refuse."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=visit.zone).isoformat() if text else ""
    except ValueError:
        return text


@get("/event-log")
async def list_events(visit: Visit) -> Response[bytes]:
    """Accepted events, newest first; a search looks at a part of the log and says where to go on."""
    wanted = {name: visit.query(name) for name in (*FILTERS, "cursor")}
    times = {name: _instant(visit.query(name), visit) for name in ("from", "to")}
    answer = await visit.api.get("/v1/admin/events", {**wanted, **times, "limit": PAGE})
    found = answer.body if answer.ok else {"events": [], "next_cursor": None}
    return visit.page(
        "event_log/list.html",
        status=answer.status if answer.error and answer.status == 400 else 200,
        events=found["events"],
        next_cursor=found["next_cursor"],
        error=answer.error,
        filtered=any(visit.query(name) for name in (*FILTERS, "from", "to")),
    )


@get("/event-log/event")
async def show_event(visit: Visit) -> Response[bytes]:
    """One event with what it did; `user_id` tells apart events of one id that several users' apps sent."""
    event_id = visit.query("event_id")
    event, same = await asyncio.gather(
        visit.api.read(f"/v1/admin/events/{event_id}", {"user_id": visit.query("user_id")}),
        visit.api.get("/v1/admin/events", {"event_id": event_id, "limit": 20}),
    )
    if event["event"]:
        event["event"].pop("tenant_id", None)  # Laurel's, whatever was sent
    others = [each for each in same.body["events"] if each["position"] != event["position"]] if same.ok else []
    return visit.page(
        "event_log/event.html", event=event, others=others, delay=_delay(event), why=lambda given: why_words(given, visit.zone)
    )


def _delay(event: dict[str, Any]) -> float:
    """Seconds between the event and its acceptance."""
    accepted, occurred = (datetime.fromisoformat(event[name]) for name in ("accepted_at", "occurred_at"))
    return (accepted - occurred).total_seconds()


@get("/event-log/dead-letters")
async def list_letters(visit: Visit) -> Response[bytes]:
    """Events that broke scoring, newest first."""
    found = await visit.api.read("/v1/admin/dead-letters", {"cursor": visit.query("cursor"), "limit": PAGE})
    return visit.page("event_log/dead_letters.html", letters=found["dead_letters"], next_cursor=found["next_cursor"])


@post("/event-log/dead-letters/{position:int}/replay")
async def replay(visit: Visit, position: int) -> Redirect:
    """Send an event through scoring once more."""
    answer = await visit.api.post(f"/v1/admin/dead-letters/{position}/replay", reason=visit.form.text("reason"))
    if answer.error is not None:
        return visit.go("/event-log/dead-letters", bad=answer.error.message)
    back = f"/event-log/event?{urlencode({'event_id': answer.body['event_id']})}"
    return visit.go(back, good=_("The event is being scored again."))


routes = [list_events, show_event, list_letters, replay]
