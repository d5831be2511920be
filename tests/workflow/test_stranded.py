"""Whoever changes LAUREL_TASK_QUEUE gets pumps, maintenance, orders and payouts in the new queues; what others serve is left alone."""

import asyncio
import re
import secrets
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy

from domain.redemption.redemption import workflow_id
from loops import stranded
from loops.relay import Relay
from loops.stranded import TYPES, stop_stranded, was_stranded
from loops.sweep import restart_lost
from runtime.postgres import Pool
from runtime.temporal import TaskQueues
from tests.builders.redemption import a_stage, new_queues, workers
from workflows.scoring import ScoringWorkflow, ensure_scoring_workflows

AT_ONCE = timedelta(seconds=-5)


async def queue_of(client: Client, identity: str) -> str:
    return (await client.get_workflow_handle(identity).describe()).task_queue


async def start_pump(client: Client, queue: str) -> None:
    """The only scoring workflow, in this queue."""
    policy = WorkflowIDConflictPolicy.TERMINATE_EXISTING
    await client.start_workflow(ScoringWorkflow.run, args=[0, 0], id="scoring:0", task_queue=queue, id_conflict_policy=policy)


async def test_a_pump_that_nobody_takes_moves_to_the_present_queue(temporal_client: Client) -> None:
    before, now = secrets.token_hex(6), secrets.token_hex(6)
    await start_pump(temporal_client, before)
    await ensure_scoring_workflows(temporal_client, task_queue=now, partitions=1)
    assert await queue_of(temporal_client, "scoring:0") == now
    described = await temporal_client.get_workflow_handle("scoring:0").describe()
    await ensure_scoring_workflows(temporal_client, task_queue=now, partitions=1)
    again = await temporal_client.get_workflow_handle("scoring:0").describe()
    assert again.run_id == described.run_id, "one in its queue stays as it is"
    await temporal_client.get_workflow_handle("scoring:0").terminate()


async def lost(client: Client, identity: str, queues: TaskQueues) -> None:
    """Sweep until the workflow is stopped: the list lags behind."""
    async with asyncio.timeout(60):
        while (await client.get_workflow_handle(identity).describe()).status is WorkflowExecutionStatus.RUNNING:
            await stop_stranded(client, queues)
            await asyncio.sleep(0.1)


async def test_an_order_in_a_queue_that_nobody_serves_goes_on_in_the_present_one(
    pool: Pool, temporal_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = new_queues()
    async with a_stage(pool, temporal_client) as stage:
        redemption = await stage.redeem(type="manual")
        identity = workflow_id(redemption.tenant_id, redemption.redemption_id)
        await stage.start(redemption)
        async with asyncio.timeout(60):
            query = f"ExecutionStatus = 'Running' AND WorkflowId = '{identity}'"
            while not [each async for each in temporal_client.list_workflows(query)]:
                await asyncio.sleep(0.1)
        await stop_stranded(temporal_client, present)
        assert (await stage.handle(redemption).describe()).status is WorkflowExecutionStatus.RUNNING, "a worker serves it"
    monkeypatch.setattr(stranded, "UNSERVED", timedelta(0))  # its last poll is long past
    await lost(temporal_client, identity, present)
    assert await was_stranded(temporal_client, identity)
    assert await restart_lost(pool, temporal_client, idle=AT_ONCE) == 1
    async with workers(temporal_client, pool, present):
        await Relay(pool, temporal_client, present).deliver_batch()
        assert await queue_of(temporal_client, identity) == present.core
        handle = temporal_client.get_workflow_handle(identity)
        async with asyncio.timeout(60):
            while "activityTaskCompleted" not in (await handle.fetch_history()).to_json():
                await asyncio.sleep(0.1)
        assert not await was_stranded(temporal_client, identity)
        await handle.terminate()


def test_no_kind_of_workflow_is_forgotten() -> None:
    folder = Path(__file__).parent.parent.parent / "workflows"
    kinds = re.findall(r"^@workflow\.defn.*\nclass (\w+)", "\n".join(each.read_text() for each in folder.glob("*.py")), re.MULTILINE)
    assert sorted(kinds) == sorted([*TYPES, "ScoringWorkflow"])
