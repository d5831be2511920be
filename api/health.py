"""Whether the process serves, whether an event could be persisted now, and its metrics (contract 1, health)."""

import asyncio
import logging
from collections.abc import Awaitable
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE
from msgspec import UNSET, Meta, UnsetType
from temporalio.client import Client

from api.rule import PUBLIC
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


class HealthAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The process serves."""

    status: Literal["ok"] = "ok"


class PartState(StrEnum):
    """Whether a part that the process needs answers."""

    UP = "up"
    DOWN = "down"


class ReadyState(StrEnum):
    """Whether the process can take traffic: `ready`, or `degraded` without Redis or Temporal; else it cannot."""

    READY = "ready"
    DEGRADED = "degraded"
    DRAINING = "draining"
    UNAVAILABLE = "unavailable"


class ReadinessAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an event could be stored now. `reason` says why it could not."""

    status: ReadyState
    postgres: PartState
    redis: PartState
    temporal: PartState
    reason: Annotated[str, Meta(examples=["read_only"])] | UnsetType = UNSET


@get("/health", rule=PUBLIC)
async def get_health() -> HealthAnswer:
    """Return 200 while the process is serving."""
    return HealthAnswer()


@get("/ready", rule=PUBLIC, answers={503: ReadinessAnswer})
async def get_readiness(readiness: Readiness, redis: Redis, temporal: Client, namespace: NamespaceClaim) -> Response[ReadinessAnswer]:
    """Return 200 if an event could be stored now, otherwise 503 with the `reason`. Without Redis or Temporal it is `degraded`, but ready.

    A process whose Temporal namespace is another installation's takes no traffic: its database or its namespace is the wrong one.
    """
    reason, cache, waiting, is_foreign = await asyncio.gather(
        readiness.reason(),
        works(redis.ping()),
        works(temporal.service_client.check_health(timeout=timedelta(seconds=PROBE_SECONDS))),
        namespace.is_foreign(),
    )
    postgres = PartState.DOWN if reason and reason != "draining" else PartState.UP
    reason = reason or ("namespace" if is_foreign else "")
    body = ReadinessAnswer(
        status=_state(reason, is_whole=cache and waiting),
        postgres=postgres,
        redis=PartState.UP if cache else PartState.DOWN,
        temporal=PartState.UP if waiting else PartState.DOWN,
        reason=reason or UNSET,
    )
    return Response(body, status_code=HTTP_503_SERVICE_UNAVAILABLE if reason else HTTP_200_OK)


def _state(reason: str, *, is_whole: bool) -> ReadyState:
    if reason:
        return ReadyState.DRAINING if reason == "draining" else ReadyState.UNAVAILABLE
    return ReadyState.READY if is_whole else ReadyState.DEGRADED


@get("/metrics", rule=PUBLIC, media_type="text/plain", answers={200: str})
async def get_metrics() -> Response[bytes]:
    """Get the metrics of this process in Prometheus format."""
    return Response(render_metrics(), headers={"content-type": CONTENT_TYPE})


routes = [get_health, get_readiness, get_metrics]
