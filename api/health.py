"""Whether the process serves, whether an event could be persisted now, and its metrics (contract 1, health)."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

from litestar import Response, get
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE
from temporalio.client import Client

from api.auth import PUBLIC
from runtime.drain import Drain
from runtime.metrics import CONTENT_TYPE, render_metrics
from runtime.postgres import Pool, cause_of
from runtime.redis import Redis
from storage.readiness import NotReady, prove_ready

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


class Readiness:
    """Whether an event could be persisted now, proved by doing what it takes. However often it is asked, one proof at a time is made,
    and one that is a second old still stands: whoever probes costs the database a commit a second."""

    def __init__(self, pool: Pool, scoring_partitions: int, drain: Drain | None = None) -> None:
        self._pool, self._partitions = pool, scoring_partitions
        self._proving: asyncio.Task[str] | None = None
        self._proved_at = float("-inf")
        self._drain = drain or Drain()

    async def reason(self) -> str:
        """Why no event could be persisted now, in a word; empty when one could."""
        if self._drain.begun:
            return "draining"
        if self._proving is None or (self._proving.done() and time.monotonic() > self._proved_at + PROOF_SECONDS):
            self._proving = asyncio.create_task(self._prove(), name="readiness")
        return await asyncio.shield(self._proving)

    async def _prove(self) -> str:
        try:
            async with asyncio.timeout(PROBE_SECONDS), self._pool.connection(timeout=PROBE_SECONDS) as connection:
                await prove_ready(connection, self._partitions)
        except NotReady as fault:
            log.warning("not ready: %s", fault)
            return fault.reason
        except TimeoutError:
            return "timeout"
        except Exception as fault:  # whatever stops it would stop an event
            log.warning("not ready: %s", fault)
            return cause_of(fault)
        finally:
            self._proved_at = time.monotonic()
        return ""


@get("/health", opt={"rule": PUBLIC}, operation_id="health")
async def health() -> dict[str, str]:
    """200 as long as the process serves."""
    return {"status": "ok"}


@get("/ready", opt={"rule": PUBLIC}, operation_id="ready")
async def ready(readiness: Readiness, redis: Redis, temporal: Client) -> Response[dict[str, str]]:
    """200 when an event could be persisted now, else 503 with the `reason`; without Redis or Temporal it is degraded, yet ready."""
    reason, cache, waiting = await asyncio.gather(
        readiness.reason(),
        works(redis.ping()),
        works(temporal.service_client.check_health(timeout=timedelta(seconds=PROBE_SECONDS))),
    )
    status = ("draining" if reason == "draining" else "unavailable") if reason else "ready" if cache and waiting else "degraded"
    body = {
        "status": status,
        "postgres": "down" if reason and reason != "draining" else "up",
        "redis": "up" if cache else "down",
        "temporal": "up" if waiting else "down",
    }
    if reason:
        body["reason"] = reason
    return Response(body, status_code=HTTP_503_SERVICE_UNAVAILABLE if reason else HTTP_200_OK)


@get("/metrics", opt={"rule": PUBLIC}, operation_id="metrics")
async def metrics() -> Response[bytes]:
    """Every metric of this process as Prometheus text."""
    return Response(render_metrics(), headers={"content-type": CONTENT_TYPE})


routes = [health, ready, metrics]
