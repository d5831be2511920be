"""Deliveries: the log with its filters, and one delivery with its attempts and the body it sends."""

import asyncio
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from console.format import day_start
from console.i18n import _
from console.request import Visit
from console.webhook.labels import EVENTS, attempt_tone, outcome_of
from domain.webhook.webhook import DeliveryState

ROWS = 50
FILTERS = ("endpoint", "event", "state", "redemption", "from", "to")
MOST_ENDPOINTS = 200


async def _urls(visit: Visit) -> dict[str, str]:
    """The endpoints' addresses by their ids; archived ones are not among them."""
    answer = await visit.api.get("/v1/admin/webhook-endpoints", {"limit": MOST_ENDPOINTS})
    return {each["endpoint_id"]: each["url"] for each in answer.body["webhook_endpoints"]} if answer.ok else {}


@get("/webhooks/deliveries")
async def list_deliveries(visit: Visit) -> Response[bytes]:
    """Newest first; kept for 30 days."""
    wanted: dict[str, Any] = {
        "endpoint_id": visit.query("endpoint"),
        "event": visit.query("event"),
        "state": visit.query("state"),
        "redemption_id": visit.query("redemption"),
        "from": day_start(visit.query("from"), visit.zone),
        "to": day_start(visit.query("to"), visit.zone, days=1),
        "cursor": visit.query("cursor"),
        "limit": ROWS,
    }
    answer, urls = await asyncio.gather(visit.api.get("/v1/admin/deliveries", wanted), _urls(visit))
    found = answer.body if answer.ok else {"deliveries": [], "next_cursor": None}
    return visit.page(
        "webhooks/deliveries.html",
        deliveries=found["deliveries"],
        next_cursor=found["next_cursor"],
        refused=answer.error,
        urls=urls,
        events=list(EVENTS),
        states=[state.value for state in DeliveryState],
        filtered=any(visit.query(name) for name in FILTERS),
    )


@get("/webhooks/deliveries/{delivery_id:str}")
async def show_delivery(visit: Visit, delivery_id: str) -> Response[bytes]:
    """Its attempts with what was answered, and the bytes that every attempt sends."""
    delivery, urls = await asyncio.gather(visit.api.read(f"/v1/admin/deliveries/{quote(delivery_id, safe='')}"), _urls(visit))
    return visit.page(
        "webhooks/delivery.html",
        d=delivery,
        url=urls.get(delivery["endpoint_id"], ""),
        body=msgspec.json.format(delivery["body"].encode(), indent=2).decode(),
        outcome=outcome_of,
        tone=attempt_tone,
    )


@post("/webhooks/deliveries/{delivery_id:str}/resend")
async def resend_delivery(visit: Visit, delivery_id: str) -> Redirect:
    """One attempt more."""
    named = quote(delivery_id, safe="")
    answer = await visit.api.post(f"/v1/admin/deliveries/{named}/resend", reason=visit.form.text("reason"))
    path = "/stuck-work" if visit.form.text("back") == "stuck-work" else f"/webhooks/deliveries/{named}"
    return visit.done(path, answer.error, _("Queued for resending."))


routes = [list_deliveries, show_delivery, resend_delivery]
