"""Scoring workflows on the real Temporal server: one owner for each partition, through the death of a worker and without Temporal."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError
from temporalio.worker import FixedSizeSlotSupplier, UnsandboxedWorkflowRunner, Worker, WorkerTuner

from activities.scoring import ScoringActivities
from loops.scoring.pump_share import PumpShare, PumpSlots
from runtime.postgres import Pool
from runtime.redis import Redis
from runtime.settings import Settings
from runtime.temporal import connect
from storage.leaderboard.rankings import Rankings
from tests.builders.scoring import PARTITIONS, Event, World, definition, reference
from tests.conftest import settings_for
from tests.recording import keep_history
from tests.temporal_server import TemporalServer
from workflows.scoring import ScoringWorkflow, ensure_scoring_workflows

EVENTS = [Event(f"u{n % 5}", n % 7, n % 60, f"e{n:03}") for n in range(40)]


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


@pytest_asyncio.fixture
async def pumps(world: World, temporal_client: Client, temporal_settings: Settings) -> AsyncIterator[Callable[[], Awaitable[Worker]]]:
    """Makes workers that own the pumps; the workflows are ended afterwards, for their ids are the platform's."""
    queue = f"{temporal_settings.task_queue}-scoring"
    for partition in range(PARTITIONS):
        with suppress(RPCError):  # those of a worker that an earlier test killed serve its task queue, not ours
            await temporal_client.get_workflow_handle(f"scoring:{partition}").terminate()
    await ensure_scoring_workflows(temporal_client, task_queue=queue, partitions=PARTITIONS)
    await ensure_scoring_workflows(temporal_client, task_queue=queue, partitions=PARTITIONS)

    async def worker() -> Worker:
        client = await connect(temporal_settings)  # one client cannot serve two workers of a queue
        activities = ScoringActivities(world.pool, world.rankings, world.wakeup._database_url)
        return Worker(
            client,
            task_queue=queue,
            workflows=[ScoringWorkflow],
            activities=[activities.score_partition],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )

    try:
        yield worker
    finally:
        for partition in range(PARTITIONS):
            await temporal_client.get_workflow_handle(f"scoring:{partition}").terminate()


async def test_workers_share_the_pumps_fairly_whoever_comes_goes_or_freezes(
    world: World, temporal_client: Client, temporal_settings: Settings, pumps: object
) -> None:
    queue = f"{temporal_settings.task_queue}-scoring"
    held: dict[str, PumpShare] = {}

    async def join(name: str, stack: AsyncExitStack) -> asyncio.Event:
        share, gone = PumpShare(world.wakeup._database_url, PARTITIONS), asyncio.Event()
        looking = asyncio.create_task(share.run(gone))
        activities = ScoringActivities(world.pool, world.rankings, world.wakeup._database_url, share)
        few = FixedSizeSlotSupplier(4)
        tuner = WorkerTuner.create_composite(
            workflow_supplier=few, activity_supplier=PumpSlots(share), local_activity_supplier=few, nexus_supplier=few
        )
        await stack.enter_async_context(
            Worker(
                await connect(temporal_settings),
                task_queue=queue,
                workflows=[ScoringWorkflow],
                activities=[activities.score_partition],
                workflow_runner=UnsandboxedWorkflowRunner(),
                tuner=tuner,
            )
        )
        held[name] = share

        async def leave() -> None:
            gone.set()
            await looking
            held.pop(name, None)

        stack.push_async_callback(leave)
        return gone

    def most() -> int:
        return max(share.running for share in held.values())

    async def fair() -> bool:
        running = [share.running for share in held.values()]
        return sum(running) == PARTITIONS and most() <= -(-PARTITIONS // len(running))

    async with AsyncExitStack() as first:
        await join("first", first)
        await until(fair, True)
        async with AsyncExitStack() as second:
            await join("second", second)
            await until(fair, True)
            async with AsyncExitStack() as third:
                asks_no_more = await join("third", third)
                await until(lambda: _limits(held), [2, 2, 2])
                await until(fair, True)
                asks_no_more.set()  # as one that is frozen or cut off: it is counted no longer
                del held["third"]
                await until(lambda: _limits(held), [2, 2])
            await until(fair, True)
        await until(fair, True)


async def _limits(held: dict[str, PumpShare]) -> list[int]:
    return [share.limit for share in held.values()]


async def until(question: Callable[[], Awaitable[object]], wanted: object, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while (answer := await question()) != wanted:
        assert time.monotonic() < deadline, f"still {answer!r}, not {wanted!r}"
        await asyncio.sleep(0.05)


async def test_a_worker_owns_the_pumps_and_the_next_one_takes_over(
    world: World, pumps: Callable[[], Awaitable[Worker]], temporal_client: Client, request: pytest.FixtureRequest
) -> None:
    board = await world.make_board("b", definition())
    async with AsyncExitStack() as first:
        await first.enter_async_context(await pumps())
        await world.send(EVENTS[:20])
        await until(lambda: world.live_rows(board), reference(definition(), EVENTS[:20]))
        described = await temporal_client.get_workflow_handle("scoring:0").describe()
        assert described.status is WorkflowExecutionStatus.RUNNING
        assert [pending.activity_type.name for pending in described.raw_description.pending_activities] == ["score_partition"]
    await world.send(EVENTS[20:])
    async with await pumps():
        await until(lambda: world.live_rows(board), reference(definition(), EVENTS))
        await keep_history(request, "scoring_taken_over", temporal_client.get_workflow_handle("scoring:0"))
    assert await world.stored_rows(board) == reference(definition(), EVENTS)


async def test_two_workers_share_the_partitions_and_count_nothing_twice(world: World, pumps: Callable[[], Awaitable[Worker]]) -> None:
    board = await world.make_board("b", definition())
    async with await pumps(), await pumps():
        for start in range(0, 40, 8):
            await world.send(EVENTS[start : start + 8])
        await until(lambda: world.live_rows(board), reference(definition(), EVENTS))
    assert await world.stored_rows(board) == reference(definition(), EVENTS)


async def test_the_ui_shows_cursor_and_lag(
    world: World, pumps: Callable[[], Awaitable[Worker]], temporal_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.scoring.REPORT_SECONDS", 0.2)
    await world.make_board("b", definition())

    async def shown() -> bool:
        told = []
        for partition in range(PARTITIONS):
            metadata = await temporal_client.get_workflow_handle(f"scoring:{partition}").query("__temporal_workflow_metadata")
            told.append(str(metadata))
        return all("lag **0** positions" in each and "cursor **" in each for each in told) and any(": 40 events" in each for each in told)

    async with await pumps():
        await world.send([Event("u1", 1, n % 60, f"x{n:03}") for n in range(40)])
        await until(shown, True)


@pytest.fixture
def own_temporal(tmp_path: Path) -> Iterator[TemporalServer]:
    """A Temporal server of the test's own, which it may stop and start again with all that it knew."""
    server = TemporalServer(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def test_pumps_go_on_while_temporal_is_away_and_have_one_owner_when_it_is_back(
    world: World, own_temporal: TemporalServer, postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.scoring.HEARTBEAT_TIMEOUT", timedelta(seconds=2))
    settings = settings_for(postgres_url, redis_url, own_temporal.address)
    client, share = await connect(settings), PumpShare(postgres_url, PARTITIONS)
    await ensure_scoring_workflows(client, task_queue=settings.task_queue, partitions=PARTITIONS)
    scoring = ScoringActivities(world.pool, world.rankings, postgres_url, share)
    board = await world.make_board("b", definition())
    async with AsyncExitStack() as running:
        running.push_async_callback(scoring.close)
        await running.enter_async_context(
            Worker(
                client,
                task_queue=settings.task_queue,
                workflows=[ScoringWorkflow],
                activities=[scoring.score_partition],
                workflow_runner=UnsandboxedWorkflowRunner(),
            )
        )
        await until(lambda: _watched(share), PARTITIONS)
        before = await _epochs(world)
        own_temporal.stop()
        await until(lambda: _watched(share), 0)
        await world.send(EVENTS[:20])
        await until(lambda: world.live_rows(board), reference(definition(), EVENTS[:20]))
        assert await _epochs(world) == before
        own_temporal.start()
        await until(lambda: _watched(share), PARTITIONS)
        await until(lambda: _all_above(world, before), True)
        assert _pump_tasks() == [f"pump-{partition}" for partition in range(PARTITIONS)]
        await world.send(EVENTS[20:])
        await until(lambda: world.live_rows(board), reference(definition(), EVENTS))
        own_temporal.stop()
        await until(lambda: _watched(share), 0)
        assert _pump_tasks()
    assert not _pump_tasks()
    assert await world.stored_rows(board) == reference(definition(), EVENTS)


async def test_a_pump_without_an_activity_gives_way_to_another_owner(world: World, postgres_url: str) -> None:
    scoring = ScoringActivities(world.pool, world.rankings, postgres_url)
    board = await world.make_board("b", definition())
    owner = await scoring._begin(0)
    await until(lambda: _epoch_of(world, 0), 1)
    assert await scoring._begin(0) is not owner
    assert owner.task.done()
    await until(lambda: _epoch_of(world, 0), 2)
    await world.send(EVENTS)
    await world.pump()  # others own every partition now
    await until(lambda: _tasks_of(world), [])
    assert await world.stored_rows(board) == reference(definition(), EVENTS)
    await scoring.close()


async def _watched(share: PumpShare) -> int:
    return share.running


def _pump_tasks() -> list[str]:
    return sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("pump-"))


async def _tasks_of(_: World) -> list[str]:
    return _pump_tasks()


async def _epochs(world: World) -> list[int]:
    rows = await world.rows("SELECT owner_epoch FROM scoring_cursor ORDER BY scoring_partition")
    return [row["owner_epoch"] for row in rows]


async def _epoch_of(world: World, partition: int) -> int:
    return (await _epochs(world))[partition]


async def _all_above(world: World, before: list[int]) -> bool:
    return all(now > then for now, then in zip(await _epochs(world), before, strict=True))
