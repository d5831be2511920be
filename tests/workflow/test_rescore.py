"""The rescore's workflow, with real PostgreSQL, real pumps and Temporal's time-skipping server."""

import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowHistory
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from activities.rescore import RescoreActivities
from domain.leaderboard.rescore import RescoreProgress, rescore_workflow_id
from loops.relay import Relay
from loops.sweep import restart_lost_rescores
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from runtime.temporal import DATA_CONVERTER, TaskQueues
from storage.leaderboard.rankings import Rankings
from storage.leaderboard.rescore import Rescore
from storage.leaderboard.rescore_request import request_rescore
from tests.builders.redemption import new_queues
from tests.builders.scoring import Event, World, definition, reference
from tests.recording import keep_history
from tests.temporal_server import result_of
from workflows.rescore import RescoreWorkflow

HISTORIES = Path(__file__).parent.parent / "histories"
EVENTS = [Event(f"u{n % 7}", n * 7 % 5 - 1.5, n * 13 % 9, f"e{n:03}") for n in range(40)]
DOUBLED = [Event(event.user, 2 * event.points, event.minute, event.event_id) for event in EVENTS]


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


async def begin(world: World) -> Rescore:
    """A board whose rule has changed since it counted, and the rescore of its window."""
    board = await world.make_board("b", definition())
    await world.send(EVENTS)
    await world.pump()
    await world.change_board(board, definition(expression="attrs.points * 2"))
    async with transaction(world.pool) as connection:
        return await request_rescore(connection, world.tenant_id, "b", "all")


def activities_of(world: World, client: Client, queues: TaskQueues) -> Worker:
    rescore = RescoreActivities(world.pool, world.rankings)
    return Worker(client, task_queue=queues.windows, activities=[rescore.read, rescore.switch, rescore.give_up, rescore.clear])


@pytest_asyncio.fixture
async def queues() -> AsyncIterator[TaskQueues]:
    yield new_queues()


async def outcome(environment: WorkflowEnvironment, rescore: Rescore) -> RescoreProgress:
    handle = environment.client.get_workflow_handle(rescore_workflow_id(rescore.tenant_id, rescore.rescore_id), result_type=RescoreProgress)
    progress: RescoreProgress = await result_of(environment, handle)
    return progress


async def test_a_rescore_switches_and_clears_away(world: World, temporal_env: WorkflowEnvironment, queues: TaskQueues) -> None:
    rescore, client = await begin(world), temporal_env.client
    async with Worker(client, task_queue=queues.windows, workflows=[RescoreWorkflow]), activities_of(world, client, queues):
        while await Relay(world.pool, client, queues).deliver_batch():
            pass
        done = await outcome(temporal_env, rescore)
        handle = client.get_workflow_handle(rescore_workflow_id(rescore.tenant_id, rescore.rescore_id))
        asked = await handle.query("progress", result_type=RescoreProgress)
    assert (done.status, done.events_read, done.fraction) == ("completed", len(EVENTS), 1.0)
    assert asked == done
    rows = await world.rows("SELECT DISTINCT window_id FROM standing")
    assert [row["window_id"] for row in rows] == [rescore.rescore_id]
    rows = await world.rows("SELECT external_user_id, score FROM standing ORDER BY score DESC, reached_at, external_user_id")
    assert [(row["external_user_id"], row["score"]) for row in rows] == reference(definition(), DOUBLED)
    history = await handle.fetch_history()
    await Replayer(workflows=[RescoreWorkflow], data_converter=DATA_CONVERTER, debug_mode=True).replay_workflow(history)


async def test_a_rescore_of_a_long_log_goes_on_in_a_new_run(
    world: World, temporal_env: WorkflowEnvironment, queues: TaskQueues, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("workflows.rescore.STINTS", 2)
    monkeypatch.setattr("activities.rescore.BATCH_LIMIT", 5)
    ends = itertools.cycle([False, True])
    monkeypatch.setattr("activities.rescore._stopping", lambda: next(ends))  # one batch in each stint
    rescore, client = await begin(world), temporal_env.client
    identity = rescore_workflow_id(rescore.tenant_id, rescore.rescore_id)
    core = Worker(client, task_queue=queues.windows, workflows=[RescoreWorkflow], workflow_runner=UnsandboxedWorkflowRunner())
    async with core:
        while await Relay(world.pool, client, queues).deliver_batch():
            pass
        first = (await client.get_workflow_handle(identity).describe()).run_id
        async with activities_of(world, client, queues):
            done = await outcome(temporal_env, rescore)
    assert (done.status, done.events_read, done.fraction) == ("completed", len(EVENTS), 1.0)
    last = (await client.get_workflow_handle(identity).describe()).run_id
    assert last != first
    for name, run_id in (("rescore_continued", first), ("rescore_continuation", last)):
        await keep_history(request, name, client.get_workflow_handle(identity, run_id=run_id))
    rows = await world.rows("SELECT external_user_id, score FROM standing ORDER BY score DESC, reached_at, external_user_id")
    assert [(row["external_user_id"], row["score"]) for row in rows] == reference(definition(), DOUBLED)


async def test_a_cancelled_rescore_leaves_the_board(world: World, temporal_env: WorkflowEnvironment, queues: TaskQueues) -> None:
    rescore, client = await begin(world), temporal_env.client
    async with Worker(client, task_queue=queues.windows, workflows=[RescoreWorkflow]):
        while await Relay(world.pool, client, queues).deliver_batch():
            pass
        await client.get_workflow_handle(rescore_workflow_id(rescore.tenant_id, rescore.rescore_id)).cancel()
        async with activities_of(world, client, queues):
            done = await outcome(temporal_env, rescore)
    assert (done.status, done.reason) == ("failed", "cancelled")
    rows = await world.rows("SELECT external_user_id, score FROM standing ORDER BY score DESC, reached_at, external_user_id")
    assert [(row["external_user_id"], row["score"]) for row in rows] == reference(definition(), EVENTS)


async def test_the_sweep_restarts_lost_rescores_and_gives_up_terminated_ones(
    world: World, temporal_client: Client, queues: TaskQueues
) -> None:
    rescore = await begin(world)
    relay, now = Relay(world.pool, temporal_client, queues), timedelta(seconds=-5)
    assert await restart_lost_rescores(world.pool, temporal_client, idle=now) == 1
    while await relay.deliver_batch():
        pass
    assert await restart_lost_rescores(world.pool, temporal_client, idle=now) == 0
    await temporal_client.get_workflow_handle(rescore_workflow_id(rescore.tenant_id, rescore.rescore_id)).terminate()
    assert await restart_lost_rescores(world.pool, temporal_client, idle=now) == 1
    (row,) = await world.rows("SELECT status, reason FROM rescore")
    assert (row["status"], row["reason"]) == ("failed", "its workflow was ended by hand")


@pytest.mark.parametrize("path", sorted(HISTORIES.glob("rescore_*.json")), ids=lambda path: path.stem)
async def test_a_recorded_history_replays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem.startswith("rescore_contin"):
        monkeypatch.setattr("workflows.rescore.STINTS", 2)  # as it was when they were recorded
    history = WorkflowHistory.from_json(path.stem, path.read_text())
    runner = UnsandboxedWorkflowRunner()  # the sandbox would load the module anew
    replayer = Replayer(workflows=[RescoreWorkflow], data_converter=DATA_CONVERTER, workflow_runner=runner, debug_mode=True)
    await replayer.replay_workflow(history)
