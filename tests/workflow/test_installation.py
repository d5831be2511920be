"""A second installation does not work in the first one's Temporal namespace: it says what to change."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.service import RPCError

import worker
from cli.doctor import one_installation
from loops.installation import NamespaceClaim
from loops.relay import Relay
from runtime.ids import utc_now
from runtime.namespace import MARKER, ForeignNamespaceError, claim_namespace, namespace_owner
from runtime.postgres import Pool, transaction
from runtime.schedules import drop_schedule
from runtime.settings import Settings
from runtime.temporal import task_queues
from storage import outbox
from storage.platform import partitions
from storage.platform.installation import find_installation
from tests.builders.api import add_tenant, serving

PATIENCE_SECONDS = 60.0


@pytest_asyncio.fixture
async def client(temporal_client: Client, pool: Pool, temporal_settings: Settings) -> AsyncIterator[Client]:
    """A client of a namespace that is nobody's, beside a database that is set up."""
    async with transaction(pool) as connection:
        await partitions.set_up(connection, temporal_settings.scoring_partitions, utc_now())
    await drop_schedule(temporal_client, MARKER)
    yield temporal_client
    await drop_schedule(temporal_client, MARKER)


async def installation_of(pool: Pool) -> UUID:
    async with pool.connection() as connection:
        found = await find_installation(connection)
    assert found is not None
    return found


async def test_the_first_worker_claims_it_and_a_restart_finds_it_claimed(client: Client, pool: Pool, temporal_settings: Settings) -> None:
    for _ in range(2):
        assert await worker.connect(temporal_settings, asyncio.Event()) is not None
        assert await namespace_owner(client) == str(await installation_of(pool))
    assert (await one_installation(temporal_settings)).good


async def test_a_worker_of_another_installation_refuses_and_starts_nothing(client: Client, pool: Pool, temporal_settings: Settings) -> None:
    await claim_namespace(client, first := uuid4())
    for partition in range(temporal_settings.scoring_partitions):
        try:
            await client.get_workflow_handle(f"scoring:{partition}").terminate()
        except RPCError:
            pass
    with pytest.raises(ForeignNamespaceError) as refused:
        await worker.connect(temporal_settings, asyncio.Event())
    for word in (str(first), str(await installation_of(pool)), "LAUREL_TEMPORAL_NAMESPACE", MARKER):
        assert word in str(refused.value)
    running = [each async for each in client.list_workflows('ExecutionStatus = "Running" AND WorkflowId = "scoring:0"')]
    assert not running
    seen = await one_installation(temporal_settings)
    assert not seen.good
    assert str(first) in seen.advice


async def test_of_many_that_come_at_once_one_has_it(client: Client) -> None:
    rivals = [uuid4() for _ in range(8)]
    claims = [claim_namespace(client, rival) for rival in rivals for _ in range(2)]
    told = await asyncio.gather(*claims, return_exceptions=True)
    owners = {str(rival) for rival, error in zip([r for r in rivals for _ in range(2)], told, strict=True) if error is None}
    assert owners == {await namespace_owner(client)}
    assert sum(error is None for error in told) == 2
    assert all(isinstance(error, ForeignNamespaceError) for error in told if error is not None)


async def test_a_temporal_that_lost_it_is_marked_again(client: Client, pool: Pool, temporal_settings: Settings) -> None:
    await worker.ensure_started(temporal_settings, client)
    await drop_schedule(client, MARKER)
    await worker.ensure_started(temporal_settings, client)
    assert await namespace_owner(client) == str(await installation_of(pool))


async def test_an_api_process_takes_no_traffic(client: Client, pool: Pool, temporal_settings: Settings) -> None:
    await claim_namespace(client, uuid4())
    with serving(temporal_settings) as url:
        assert (await answer(url, 503))["reason"] == "namespace"
        await drop_schedule(client, MARKER)
        assert (await answer(url, 200))["temporal"] == "up"


async def test_what_an_api_process_commits_waits_for_the_right_namespace(client: Client, pool: Pool, temporal_settings: Settings) -> None:
    await claim_namespace(client, uuid4())
    async with transaction(pool) as connection:
        tenant = await add_tenant(connection)
        entry = outbox.OutboxCommand(kind="start", workflow_id="waits", name="Waits", argument={"argument": None})
        await outbox.enqueue(connection, tenant.tenant_id, entry)
    relay = Relay(pool, client, task_queues(temporal_settings), claim=NamespaceClaim(pool, client))
    relay.try_start(entry.workflow_id)
    (started,) = [task for task in asyncio.all_tasks() if task.get_name() == f"try {entry.workflow_id}"]
    await started
    async with transaction(pool) as connection:
        (row,) = await outbox.lease_due(connection, 10)
    assert row.tries == 1, "nobody had tried it before"


async def answer(url: str, status: int) -> dict[str, str]:
    """What `/ready` says once it has this status."""
    async with asyncio.timeout(PATIENCE_SECONDS), httpx.AsyncClient(timeout=PATIENCE_SECONDS) as caller:
        while True:
            found = await caller.get(f"{url}/ready")
            if found.status_code == status:
                return dict(found.json())
            await asyncio.sleep(0.1)
