"""Webhook endpoints: the list with how each fares, and one endpoint with what may be done to it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

from litestar import Response, get, post
from litestar.response import Redirect

from console.i18n import _
from console.request import Visit
from console.webhook.labels import EVENTS, OVERLAPS, attempt_tone, ladder_words, outcome_of
from storage.webhook.health import Health, endpoint_health

ROWS = 50
RECENT = 12
DAY = timedelta(days=1)


async def _health(visit: Visit, endpoints: list[dict[str, Any]]) -> dict[str, Health]:
    ids = [UUID(each["endpoint_id"]) for each in endpoints]
    async with visit.pool.connection() as connection:
        found = await endpoint_health(connection, visit.tenant_id, ids, since=visit.now - DAY, now=visit.now)
    return {str(endpoint_id): health for endpoint_id, health in found.items()}


def endpoint_path(endpoint_id: str) -> str:
    """The endpoint's page, behind `/console`."""
    return f"/webhooks/{quote(endpoint_id, safe='')}"


def endpoint_route(endpoint_id: str) -> str:
    """The endpoint in the API."""
    return f"/v1/admin/webhook-endpoints/{quote(endpoint_id, safe='')}"


@get("/webhooks")
async def list_endpoints(visit: Visit) -> Response[bytes]:
    """The endpoints, and how each fared in the last day."""
    found = await visit.api.read("/v1/admin/webhook-endpoints", {"cursor": visit.query("cursor"), "limit": ROWS})
    endpoints = found["webhook_endpoints"]
    return visit.page("webhooks/list.html", endpoints=endpoints, health=await _health(visit, endpoints), next_cursor=found["next_cursor"])


@get("/webhooks/{endpoint_id:str}")
async def show_endpoint(visit: Visit, endpoint_id: str) -> Response[bytes]:
    """How it is called, how it fares, its latest deliveries, and with `test` what became of that test."""
    endpoint = await visit.api.read(endpoint_route(endpoint_id))
    wanted = {"endpoint_id": endpoint["endpoint_id"], "limit": RECENT}
    health, recent = await asyncio.gather(_health(visit, [endpoint]), visit.api.read("/v1/admin/deliveries", wanted))
    tested = await visit.api.get(f"/v1/admin/deliveries/{quote(visit.query('test'), safe='')}") if visit.query("test") else None
    return visit.page(
        "webhooks/show.html",
        endpoint=endpoint,
        health=health[endpoint["endpoint_id"]],
        deliveries=recent["deliveries"],
        test=tested.body if tested is not None and tested.ok else None,
        ladder=ladder_words(endpoint["retry_delays_seconds"]),
        words=EVENTS,
        overlaps={value: _(text) for value, text in OVERLAPS.items()},
        outcome=outcome_of,
        tone=attempt_tone,
        yesterday=(visit.now - DAY).astimezone(visit.zone).strftime("%Y-%m-%dT%H:%M"),
    )


@post("/webhooks/{endpoint_id:str}/test")
async def test_endpoint(visit: Visit, endpoint_id: str) -> Redirect:
    """Send `webhook.test` through the real path; the page then shows what is answered."""
    path = endpoint_path(endpoint_id)
    answer = await visit.api.post(f"{endpoint_route(endpoint_id)}/test")
    return visit.done(path, answer.error, "") if answer.error else visit.go(f"{path}?test={answer.body['delivery_id']}")


@post("/webhooks/{endpoint_id:str}/enable")
async def enable_endpoint(visit: Visit, endpoint_id: str) -> Redirect:
    """Send to it again; what was held goes on."""
    answer = await visit.api.post(f"{endpoint_route(endpoint_id)}/enable", reason=visit.form.text("reason"))
    return visit.done(_back(visit, endpoint_path(endpoint_id)), answer.error, _("Enabled. Held deliveries are being sent."))


@post("/webhooks/{endpoint_id:str}/disable")
async def disable_endpoint(visit: Visit, endpoint_id: str) -> Redirect:
    """Hold everything for it."""
    answer = await visit.api.post(f"{endpoint_route(endpoint_id)}/disable", reason=visit.form.text("reason"))
    return visit.done(endpoint_path(endpoint_id), answer.error, _("Disabled. Deliveries are held until you enable it."))


@post("/webhooks/{endpoint_id:str}/recover")
async def recover_endpoint(visit: Visit, endpoint_id: str) -> Redirect:
    """Send everything again that failed since an instant of the tenant's time."""
    path = _back(visit, endpoint_path(endpoint_id))
    try:
        since = datetime.fromisoformat(visit.form.text("since"))
    except ValueError:
        return visit.go(path, bad=_("Choose a start time."))
    since = since if since.tzinfo else since.replace(tzinfo=visit.zone)
    route = f"{endpoint_route(endpoint_id)}/recover"
    answer = await visit.api.post(route, {"since": since.isoformat()}, reason=visit.form.text("reason"))
    count = 0 if answer.error else answer.body["recovered"]
    return visit.done(path, answer.error, _("%(n)s queued for resending.", n=count))


@post("/webhooks/{endpoint_id:str}/archive")
async def archive_endpoint(visit: Visit, endpoint_id: str) -> Redirect:
    """Take it away for good."""
    answer = await visit.api.delete(endpoint_route(endpoint_id), reason=visit.form.text("reason"))
    return visit.done(endpoint_path(endpoint_id) if answer.error else "/webhooks", answer.error, _("Endpoint archived."))


def _back(visit: Visit, path: str) -> str:
    return "/stuck-work" if visit.form.text("back") == "stuck-work" else path


routes = [
    list_endpoints, show_endpoint, test_endpoint, enable_endpoint, disable_endpoint, recover_endpoint, archive_endpoint,
]  # fmt: skip
