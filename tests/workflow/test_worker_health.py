"""The worker's health proves that it works, and nothing that befalls its loops or its namespace ends it."""

import asyncio
import secrets

import httpx
import msgspec
import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

import worker
from runtime import temporal
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from runtime.pulse import HealthServer, Pulse
from runtime.redis import Redis
from runtime.settings import Settings
from stack.processes import free_port
from storage.leaderboard.rankings import Rankings
from storage.platform import partitions
from tests.storage.test_database_errors import server_setting

PATIENCE_SECONDS = 60.0


async def resources_of(settings: Settings, pool: Pool, redis: Redis) -> worker.Resources:
    client = await temporal.connect(settings, lazy=True)
    queues, rankings = temporal.task_queues(settings), Rankings(redis)
    return worker.Resources(settings=settings, client=client, queues=queues, pool=pool, payouts=pool, redis=redis, rankings=rankings)


async def answer(port: int, status: int) -> dict[str, str]:
    """What the health says once it has this status."""
    async with asyncio.timeout(PATIENCE_SECONDS), httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        while True:
            try:
                found = await client.get(f"http://127.0.0.1:{port}/health")
            except httpx.TransportError:
                continue
            if found.status_code == status:
                return dict(found.json())


@pytest.fixture
def health_port() -> int:
    return free_port()


async def retention(client: Client) -> int:
    """Days that the namespace keeps closed workflows."""
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    return int(described.config.workflow_execution_retention_ttl.ToTimedelta().days)


async def test_it_is_well_while_temporal_and_postgres_serve(
    temporal_settings: Settings, pool: Pool, redis_client: Redis, health_port: int
) -> None:
    async with transaction(pool) as connection:
        await partitions.set_up(connection, temporal_settings.scoring_partitions, utc_now())
    settings = msgspec.structs.replace(temporal_settings, worker_health_port=health_port)
    async with worker.telling_health(await resources_of(settings, pool, redis_client)):
        assert (await answer(health_port, 200))["status"] == "ok"
        with server_setting(settings.database_url, "default_transaction_read_only", "on"):
            assert (await answer(health_port, 503))["postgres"] == "read_only"
        assert (await answer(health_port, 200))["temporal"] == "up"


async def test_it_is_not_well_without_temporal(settings: Settings, pool: Pool, redis_client: Redis, health_port: int) -> None:
    there = msgspec.structs.replace(settings, worker_health_port=health_port)
    async with worker.telling_health(await resources_of(there, pool, redis_client)):
        assert (await answer(health_port, 503))["temporal"] == "away"


async def test_a_loop_that_ended_no_round_is_overdue() -> None:
    heart = Pulse()
    heart.expect("relay", 60.0)
    heart.expect("sweep", 0.0)
    found = await HealthServer({}, heart).examine()
    assert (found["status"], found["overdue"]) == ("unhealthy", "sweep")
    heart.over("sweep")
    assert (await HealthServer({}, heart).examine())["status"] == "ok"


async def test_a_loop_that_fails_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RECONNECT_SECONDS", 0.01)
    stop, rounds = asyncio.Event(), 0

    async def loop() -> None:
        nonlocal rounds
        rounds += 1
        if rounds < 3:
            raise LookupError("a defect")
        await stop.wait()

    running = asyncio.create_task(worker.keep_up("loop", loop, stop))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while rounds < 3:
            await asyncio.sleep(0.01)
        stop.set()
        await running


async def test_a_namespace_that_others_manage_is_left_alone(temporal_settings: Settings, pool: Pool) -> None:
    """Search attributes and retention that nobody set would be set at the start; with `off` they are not."""
    async with transaction(pool) as connection:
        await partitions.set_up(connection, temporal_settings.scoring_partitions, utc_now())
    client = await temporal.connect(temporal_settings)
    other = msgspec.structs.replace(temporal_settings, temporal_manage_namespace="off", temporal_retention_days=secrets.randbelow(300) + 40)
    before = await retention(client)
    assert await worker.connect(other, asyncio.Event()) is not None
    assert await retention(client) == before
    assert await worker.connect(msgspec.structs.replace(other, temporal_manage_namespace="on"), asyncio.Event()) is not None
    assert await retention(client) == other.temporal_retention_days
