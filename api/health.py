"""Whether the process serves, whether an event could be persisted now, and its metrics (contract 1, health)."""

import asyncio
import logging
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

from litestar import Response, get
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE
from temporalio.client import Client

from api.auth import PUBLIC
from loops.installation import NamespaceClaim
from runtime.metrics import CONTENT_TYPE, render_metrics
from runtime.redis import Redis
from storage.platform.readiness import Readiness

log = logging.getLogger(__name__)

PROBE_SECONDS = 2.0
PROOF_SECONDS = 1.0


async def works(probe: Awaitable[Any]) -> bool:
    """Whether the probe ends well within `PROBE_SECONDS`."""
    try:
        await asyncio.wait_for(probe, PROBE_SECONDS)
    except Exception:  # whatever stops a dependency from answering, it is down
        return False
    return True


@get("/health", opt={"rule": PUBLIC}, operation_id="health")
async def health() -> dict[str, str]:
    """Return 200 while the process is serving."""
    return {"status": "ok"}


@get("/ready", opt={"rule": PUBLIC}, operation_id="ready")
async def ready(readiness: Readiness, redis: Redis, temporal: Client, namespace: NamespaceClaim) -> Response[dict[str, str]]:
    """Return 200 if an event could be stored now, otherwise 503 with the `reason`. Without Redis or Temporal it is `degraded`, but ready.

    A process whose Temporal namespace is another installation's takes no traffic: its database or its namespace is the wrong one.
    """
    reason, cache, waiting, is_foreign = await asyncio.gather(
        readiness.reason(),
        works(redis.ping()),
        works(temporal.service_client.check_health(timeout=timedelta(seconds=PROBE_SECONDS))),
        namespace.is_foreign(),
    )
    postgres = "down" if reason and reason != "draining" else "up"
    reason = reason or ("namespace" if is_foreign else "")
    status = ("draining" if reason == "draining" else "unavailable") if reason else "ready" if cache and waiting else "degraded"
    body = {
        "status": status,
        "postgres": postgres,
        "redis": "up" if cache else "down",
        "temporal": "up" if waiting else "down",
    }
    if reason:
        body["reason"] = reason
    return Response(body, status_code=HTTP_503_SERVICE_UNAVAILABLE if reason else HTTP_200_OK)


@get("/metrics", opt={"rule": PUBLIC}, operation_id="metrics")
async def metrics() -> Response[bytes]:
    """The metrics of this process in Prometheus format."""
    return Response(render_metrics(), headers={"content-type": CONTENT_TYPE})


routes = [health, ready, metrics]
