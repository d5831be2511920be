"""The worker process: every workflow and activity, and what they need, put together in one place."""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError
from temporalio.worker import Worker

from runtime import temporal
from runtime.settings import Settings

log = logging.getLogger("worker")
GRACEFUL_SHUTDOWN = timedelta(seconds=3)
RECONNECT_SECONDS = 1.0


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
    """A connected client, with the namespace as we need it; None when told to stop before Temporal was there."""
    runtime = telemetry(settings)
    while not stop.is_set():
        try:
            client = await temporal.connect(settings, runtime=runtime)
            await temporal.ensure_search_attributes(client)
            await temporal.ensure_retention(client, settings.temporal_retention_days)
        except (RuntimeError, RPCError) as fault:
            log.warning("Temporal at %s is not there yet: %s", settings.temporal_address, fault)
            try:
                await asyncio.wait_for(stop.wait(), RECONNECT_SECONDS)
            except TimeoutError:
                continue
        else:
            return client
    return None


async def assemble(settings: Settings, client: Client, resources: AsyncExitStack) -> Sequence[Worker]:
    """One Temporal worker for each task queue, with its workflows, activities and slots."""
    return []


def telemetry(settings: Settings) -> Runtime | None:
    """A runtime that serves Prometheus metrics when the settings name a port."""
    if not settings.worker_metrics_port:
        return None
    metrics = PrometheusConfig(bind_address=f"0.0.0.0:{settings.worker_metrics_port}", durations_as_seconds=True)
    return Runtime(telemetry=TelemetryConfig(metrics=metrics))


def main(settings: Settings, ready: Callable[[], None] = lambda: None) -> None:
    """Run the worker process to its end."""
    asyncio.run(run(settings, ready))
