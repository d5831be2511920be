"""Whoever changes LAUREL_TASK_QUEUE gets pumps, maintenance, orders and payouts in the new queues; what others serve is left alone."""

import asyncio
import re
import secrets
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy

from domain.redemption.messages import ReversalInput
from domain.redemption.redemption import reversal_workflow_id, workflow_id
from loops import schedule_sync, stranded, sweep
from loops.relay import Relay
from loops.stranded import TYPES, stop_stranded, was_stranded
from loops.sweep import restart_lost, restart_lost_rescores
from runtime.ids import new_id
from runtime.postgres import Pool, transaction
from runtime.temporal import TaskQueues
from tests.builders.redemption import a_stage, new_queues, workers
from tests.builders.store import make_world
from workflows.reversal import RedemptionReversalWorkflow
from workflows.scoring import ScoringWorkflow, ensure_scoring_workflows

AT_ONCE = timedelta(seconds=-5)
STATUS = SearchAttributeKey.for_keyword("RedemptionStatus")


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


async def test_a_reversal_in_a_queue_that_nobody_serves_is_shown_in_the_present_one(
    pool: Pool, temporal_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stranded, "UNSERVED", timedelta(0))
    present, given = new_queues(), ReversalInput(tenant_id=new_id(), redemption_id=new_id(), number=3, by="console", note="it came back")
    identity = reversal_workflow_id(given.tenant_id, given.redemption_id)
    found_by = TypedSearchAttributes([SearchAttributePair(STATUS, "reversed")])
    await temporal_client.start_workflow(
        RedemptionReversalWorkflow.run,
        given,
        id=identity,
        task_queue=secrets.token_hex(6),
        search_attributes=found_by,
        memo={"tenant": "Fun"},
    )
    async with asyncio.timeout(60):
        while await queue_of(temporal_client, identity) != present.core:
            await stop_stranded(temporal_client, present)
            await asyncio.sleep(0.1)
    async with workers(temporal_client, pool, present):
        handle = temporal_client.get_workflow_handle(identity)
        assert (await handle.result())["status"] == "reversed"
        assert "by console: it came back" in str(await handle.query("__temporal_workflow_metadata"))
        described = await handle.describe()
    assert described.typed_search_attributes[STATUS] == "reversed"
    assert await described.memo() == {"tenant": "Fun"}


async def test_what_a_rescore_has_replaced_is_cleared_whatever_ended_its_workflow(pool: Pool, temporal_client: Client) -> None:
    world = await make_world(pool)
    ids = {"tenant": world.tenant_id, "board": new_id(), "rescore": new_id(), "old": new_id()}
    async with transaction(pool) as connection:
        await connection.execute(
            "INSERT INTO leaderboard (tenant_id, board_id, leaderboard_id, name, status, version, config, created_at, updated_at)"
            " VALUES (%(tenant)s, %(board)s, 'b', 'B', 'active', 1, '{}', now(), now())",
            ids,
        )
        await connection.execute(
            "INSERT INTO rescore (tenant_id, rescore_id, board_id, window_id, window_key, status, valid_from, version, reads_from,"
            " replaced_id, created_at, completed_at) VALUES (%(tenant)s, %(rescore)s, %(board)s, %(old)s, 'all', 'completed', now(), 1,"
            " now(), %(old)s, now(), now() - interval '10 minutes')",
            ids,
        )
        await connection.execute(
            "INSERT INTO standing (tenant_id, window_id, user_id, external_user_id, score, reached_at, total, counted, counted_at,"
            " scoring_partition, position) VALUES (%(tenant)s, %(old)s, %(board)s, 'u', 1, now(), 1, 1, now(), 0, 1)",
            ids,
        )
    assert await restart_lost_rescores(pool, temporal_client) == 1
    await world.rows("DELETE FROM standing RETURNING 1")
    assert await restart_lost_rescores(pool, temporal_client) == 0


def test_whoever_takes_up_a_kind_of_workflow_is_there() -> None:
    for kind, reason in stranded.GO_ON.items():
        named = re.findall(r"`(\w+)`", reason)
        assert all(hasattr(sweep, name) or hasattr(schedule_sync, name) for name in named), kind


def test_no_kind_of_workflow_is_forgotten() -> None:
    folder = Path(__file__).parent.parent.parent / "workflows"
    kinds = re.findall(r"^@workflow\.defn.*\nclass (\w+)", "\n".join(each.read_text() for each in folder.glob("*.py")), re.MULTILINE)
    assert sorted(kinds) == sorted([*TYPES, "ScoringWorkflow"])
