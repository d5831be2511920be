"""The worker process: every workflow and activity, and what they need, put together in one place."""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta

from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.scoring import ScoringActivities
from runtime import temporal
from runtime.postgres import make_pool
from runtime.redis import make_redis
from runtime.settings import Settings
from storage.live import LiveStore
from workflows.scoring import ScoringWorkflow, ensure_scoring_workflows

log = logging.getLogger("worker")
RECONNECT_SECONDS = 1.0
# `laurel up` gives a worker 4.5 s. Pumps and sends that are cut off are safe: cursor and attempt rows know how far they came.
GRACEFUL_SHUTDOWN = timedelta(seconds=3)
POOL_SIZE = 24
# The scoring workflows notice a dead worker after 8 s without a heartbeat, so heartbeats must not be gathered for long.
HEARTBEAT_THROTTLE = timedelta(seconds=1)


async def run(settings: Settings, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT. Waits for Temporal as long as it is away."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = await connect(settings, stop)
    if client is None:
        return
    async with AsyncExitStack() as resources:
        workers = await assemble(settings, client, resources)
        for each in workers:
            await resources.enter_async_context(each)
        ready()
        log.info("the worker takes tasks from %s", ", ".join(each.task_queue for each in workers))
        await stop.wait()
        log.info("the worker stops")


async def connect(settings: Settings, stop: asyncio.Event) -> Client | None:
    """A connected client, once the namespace and the scoring workflows are as we need them; None when told to stop before that."""
    runtime = telemetry(settings)
    while not stop.is_set():
        try:
            client = await temporal.connect(settings, runtime=runtime)
            await temporal.ensure_search_attributes(client)
            await temporal.ensure_retention(client, settings.temporal_retention_days)
            scoring = temporal.task_queues(settings).scoring
            await ensure_scoring_workflows(client, task_queue=scoring, partitions=settings.scoring_partitions)
        except (RuntimeError, RPCError) as fault:
            log.warning("Temporal at %s is not there yet: %s", settings.temporal_address, fault)
            try:
                await asyncio.wait_for(stop.wait(), RECONNECT_SECONDS)
            except TimeoutError:
                continue
        else:
            return client
    return None


async def assemble(settings: Settings, client: Client, resources: AsyncExitStack) -> list[Worker]:
    """One Temporal worker for each task queue, with its workflows, activities and slots."""
    pool = make_pool(settings.database_url, "worker", max_size=POOL_SIZE)
    await pool.open()
    resources.push_async_callback(pool.close)
    redis = make_redis(settings)
    resources.push_async_callback(redis.aclose)
    return [scoring_worker(settings, client, ScoringActivities(pool, LiveStore(redis), settings.database_url))]


def scoring_worker(settings: Settings, client: Client, scoring: ScoringActivities) -> Worker:
    """The pumps: at most one for each partition, and few polls, because they run for hours."""
    return Worker(
        client,
        task_queue=temporal.task_queues(settings).scoring,
        workflows=[ScoringWorkflow],
        activities=[scoring.score_partition],
        max_concurrent_activities=settings.scoring_partitions,
        max_concurrent_workflow_tasks=8,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
    )


def telemetry(settings: Settings) -> Runtime | None:
    """A runtime that serves Prometheus metrics when the settings name a port."""
    if not settings.worker_metrics_port:
        return None
    metrics = PrometheusConfig(bind_address=f"0.0.0.0:{settings.worker_metrics_port}", durations_as_seconds=True)
    return Runtime(telemetry=TelemetryConfig(metrics=metrics))


def main(settings: Settings, ready: Callable[[], None] = lambda: None) -> None:
    """Run the worker process to its end."""
    asyncio.run(run(settings, ready))
