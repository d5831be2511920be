"""Whether the process serves, whether an event could be persisted now, and its metrics (contract 1, health)."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

from litestar import Response, get
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE
from temporalio.client import Client

from api.auth import PUBLIC
from runtime.metrics import CONTENT_TYPE, render_metrics
from runtime.postgres import Pool
from runtime.redis import Redis

PROBE_SECONDS = 2.0


async def works(probe: Awaitable[Any]) -> bool:
    """Whether the probe ends well within `PROBE_SECONDS`."""
    try:
        await asyncio.wait_for(probe, PROBE_SECONDS)
    except Exception:  # whatever stops a dependency from answering, it is down
        return False
    return True


async def _postgres_accepts(pool: Pool) -> None:
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT pg_is_in_recovery() AS standby")).fetchone()
    if row is None or row["standby"]:
        raise RuntimeError("the database takes no writes")


@get("/health", opt={"rule": PUBLIC}, operation_id="health")
async def health() -> dict[str, str]:
    """200 as long as the process serves."""
    return {"status": "ok"}


@get("/ready", opt={"rule": PUBLIC}, operation_id="ready")
async def ready(pool: Pool, redis: Redis, temporal: Client) -> Response[dict[str, str]]:
    """200 when an event could be persisted now, else 503; without Redis or Temporal the platform is degraded, yet ready."""
    postgres, cache, waiting = await asyncio.gather(
        works(_postgres_accepts(pool)),
        works(redis.ping()),
        works(temporal.service_client.check_health(timeout=timedelta(seconds=PROBE_SECONDS))),
    )
    status = "unavailable" if not postgres else "ready" if cache and waiting else "degraded"
    body = {
        "status": status,
        "postgres": "up" if postgres else "down",
        "redis": "up" if cache else "down",
        "temporal": "up" if waiting else "down",
    }
    return Response(body, status_code=HTTP_200_OK if postgres else HTTP_503_SERVICE_UNAVAILABLE)


@get("/metrics", opt={"rule": PUBLIC}, operation_id="metrics")
async def metrics() -> Response[bytes]:
    """Every metric of this process as Prometheus text."""
    return Response(render_metrics(), headers={"content-type": CONTENT_TYPE})


routes = [health, ready, metrics]
