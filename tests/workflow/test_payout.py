"""The payout's workflow, with real PostgreSQL and Temporal: paid to the end, cancelled, lost, stopped by hand."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from activities.payout import PayoutActivities
from domain.payout.run import PayoutProgress, RunStatus, payout_workflow_id
from loops.relay import Relay
from loops.sweep import restart_lost_payouts
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from runtime.temporal import DATA_CONVERTER, TaskQueues
from storage.payout.run import request_cancel, retry_run
from tests.builders.payout import closed_window, config, grants, item, make_run, the_run, tier
from tests.builders.redemption import new_queues
from tests.builders.schedule import until
from tests.builders.store import World, make_world
from tests.recording import keep_history
from tests.temporal_server import result_of
from workflows.payout import PayoutRunWorkflow

AT_ONCE = timedelta(seconds=-5)


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


@pytest.fixture
def queues() -> TaskQueues:
    return new_queues()


@contextlib.asynccontextmanager
async def worker(world: World, client: Client, queues: TaskQueues) -> AsyncIterator[None]:
    payout = PayoutActivities(world.pool, page=2)
    steps = [payout.plan, payout.pay, payout.finish, payout.fail]
    # Nobody takes tasks from the core queue: however many redemptions wait there, payouts are paid.
    async with Worker(client, task_queue=queues.payouts, workflows=[PayoutRunWorkflow], activities=steps):
        yield


async def begin(world: World, count: int = 5) -> Any:
    users = [await world.user(f"u{number}") for number in range(count)]
    window = await closed_window(world, users)
    return await make_run(world, window, config((tier(max_rank=2), [item(), item(amount=10)]), (tier(), [item(amount=1)])))


async def deliver(world: World, client: Client, queues: TaskQueues) -> None:
    while await Relay(world.pool, client, queues).deliver_batch():
        pass


async def outcome(world: World, client: Client, run_id: Any, attempt: int = 1) -> PayoutProgress:
    handle = client.get_workflow_handle(payout_workflow_id(world.tenant_id, run_id, attempt), result_type=PayoutProgress)
    return await asyncio.wait_for(handle.result(), 60)


async def test_a_run_is_paid_to_its_end_and_its_history_names_nobody(
    world: World, temporal_client: Client, queues: TaskQueues, request: pytest.FixtureRequest
) -> None:
    run_id = await begin(world)
    await deliver(world, temporal_client, queues)
    async with worker(world, temporal_client, queues):
        done = await outcome(world, temporal_client, run_id)
    assert (done.status, done.recipients, done.paid) == ("completed", 5, 5)
    assert len(await grants(world)) == 7
    handle = temporal_client.get_workflow_handle(payout_workflow_id(world.tenant_id, run_id))
    await keep_history(request, "payout_completed", handle)
    history = await handle.fetch_history()
    assert '"u1"' not in history.to_json()
    await Replayer(workflows=[PayoutRunWorkflow], data_converter=DATA_CONVERTER, debug_mode=True).replay_workflow(history)


async def test_a_cancelled_run_ends_and_a_retry_pays_the_rest(
    world: World, temporal_client: Client, queues: TaskQueues, request: pytest.FixtureRequest
) -> None:
    run_id = await begin(world)
    async with transaction(world.pool) as connection:
        await request_cancel(connection, world.tenant_id, run_id, utc_now())
    await deliver(world, temporal_client, queues)
    async with worker(world, temporal_client, queues):
        assert (await outcome(world, temporal_client, run_id)).status is RunStatus.CANCELLED
        assert await grants(world) == []
        await keep_history(request, "payout_cancelled", temporal_client.get_workflow_handle(payout_workflow_id(world.tenant_id, run_id)))
        async with transaction(world.pool) as connection:
            await retry_run(connection, world.tenant_id, run_id, utc_now())
        await deliver(world, temporal_client, queues)
        assert (await outcome(world, temporal_client, run_id, 2)).status is RunStatus.COMPLETED
    assert len(await grants(world)) == 7


async def test_a_run_of_a_window_that_is_still_closing_waits_for_it(
    world: World, temporal_env: WorkflowEnvironment, queues: TaskQueues, request: pytest.FixtureRequest
) -> None:
    client, run_id = temporal_env.client, await begin(world)
    await world.rows("UPDATE leaderboard_window SET status = 'open', closes_at = %s RETURNING 1", (utc_now() + timedelta(hours=20),))
    await deliver(world, client, queues)
    handle = client.get_workflow_handle(payout_workflow_id(world.tenant_id, run_id))

    async def waits() -> bool:
        return "timerStartedEventAttributes" in (await handle.fetch_history()).to_json()

    async with worker(world, client, queues):
        await until(waits)
        await temporal_env.sleep(timedelta(minutes=5))
        await world.rows("UPDATE leaderboard_window SET status = 'closed' RETURNING 1")
        done = await result_of(temporal_env, client.get_workflow_handle(handle.id, result_type=PayoutProgress))
        await keep_history(request, "payout_waited", handle)
    assert (done.status, done.recipients, done.paid) == ("completed", 5, 5)
    history = json.loads((await handle.fetch_history()).to_json())["events"]
    timers = [event["timerStartedEventAttributes"] for event in history if "timerStartedEventAttributes" in event]
    assert {each["startToFireTimeout"] for each in timers} == {"120s"}, "the clock of the windows is PostgreSQL's, which skips nothing"
    assert len(timers) in (3, 4)


async def test_the_sweep_starts_what_temporal_lost_and_what_was_stopped_there(
    world: World, temporal_client: Client, queues: TaskQueues
) -> None:
    run_id = await begin(world)
    assert await restart_lost_payouts(world.pool, temporal_client, idle=AT_ONCE) == 1
    await deliver(world, temporal_client, queues)
    assert await restart_lost_payouts(world.pool, temporal_client, idle=AT_ONCE) == 0
    await temporal_client.get_workflow_handle(payout_workflow_id(world.tenant_id, run_id)).terminate()
    assert await restart_lost_payouts(world.pool, temporal_client, idle=AT_ONCE) == 1
    await deliver(world, temporal_client, queues)
    async with worker(world, temporal_client, queues):
        assert (await outcome(world, temporal_client, run_id, 2)).status is RunStatus.COMPLETED
    assert (await the_run(world, run_id)).attempt == 2
