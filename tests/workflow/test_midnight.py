"""Hundreds of windows that end at the same instant, on the real Temporal server: one timer each, one look for all, no polls."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import Worker

import loops.scoring.barrier
from activities.window import WindowActivities
from domain.leaderboard.window_messages import window_workflow_id
from loops.relay import run_relay
from loops.scoring.barrier import LOOK_SECONDS
from runtime.ids import new_id
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from storage.leaderboard import definition
from storage.leaderboard.definition import Leaderboard
from storage.leaderboard.rankings import Rankings
from storage.leaderboard.window import Sight, look_at_barrier
from storage.rules_lock import change_instant
from tests.builders.redemption import new_queues
from tests.builders.scoring import Event, World, reference
from tests.builders.window import KEY, end_in, ending, page, scoring
from workflows.window import LeaderboardWindowWorkflow

EVENTS = [Event(f"u{n % 3}", n % 5, n % 3, f"e{n}") for n in range(9)]
PATIENCE_SECONDS = 400
"""Each window costs a workflow in a sandbox and three activities; a thousand took 97 s on two busy cores."""


@pytest_asyncio.fixture
async def world(pool: Pool, redis_client: Redis, postgres_url: str) -> World:
    return await World(pool, Rankings(redis_client), postgres_url).open()


@contextlib.asynccontextmanager
async def worker(world: World, client: Client) -> AsyncIterator[None]:
    """What a worker process runs for windows: workflows, activities, relay."""
    queues, stop, window = new_queues(), asyncio.Event(), WindowActivities(world.pool, world.rankings)
    steps = [window.plan, window.open_next, window.close_early, window.pass_barrier, window.freeze]
    # Nobody takes tasks from the core queue: however many redemptions wait there, windows end.
    ends = [LeaderboardWindowWorkflow]
    async with Worker(client, task_queue=queues.windows, workflows=ends, activities=steps, max_concurrent_activities=1000):
        relay = asyncio.create_task(run_relay(world.pool, client, queues, stop))
        try:
            yield
        finally:
            stop.set()
            await relay


async def make_boards(world: World, count: int) -> list[Leaderboard]:
    what = ending()
    async with transaction(world.pool) as connection:
        instant = await change_instant(connection, world.tenant_id)
        return [
            await definition.insert_board(connection, world.tenant_id, new_id(), f"b{number}", definition=what, instant=instant)
            for number in range(count)
        ]


async def wait_for_closed(world: World, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            (found,) = await world.rows("SELECT count(*) AS closed FROM leaderboard_window WHERE status = 'paid' AND total = 3")
            if found["closed"] == count:
                return
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(("count", "away"), [(200, False), (60, True)], ids=["hundreds together", "while the worker was away"])
async def test_windows_that_end_together(
    world: World, temporal_client: Client, monkeypatch: pytest.MonkeyPatch, count: int, away: bool
) -> None:
    looks: list[float] = []

    async def counted(connection: Any) -> Sight:
        looks.append(time.monotonic())
        return await look_at_barrier(connection)

    monkeypatch.setattr(loops.scoring.barrier, "look_at_barrier", counted)
    boards = await make_boards(world, count)
    await world.send(EVENTS)
    await world.pump()
    await end_in(world, 0 if away else 6)
    async with scoring(world):
        if away:
            await world.send([Event("u1", 1000, 1, "too late")])
        async with worker(world, temporal_client):
            await wait_for_closed(world, count)
            ended = time.monotonic()
            for board in boards[:: count // 10]:
                timers, steps = await history_of(world, temporal_client, board)
                assert timers <= (0 if away else 1), "one timer, unless the window had ended before its workflow began"
                assert steps == 3, "plan, barrier, freeze: nothing is asked again"
    assert looks, "all of them went through the barrier"
    assert len(looks) <= (ended - looks[0]) / LOOK_SECONDS + 2, "as many looks as one window would cost"
    expected = reference(ending(), EVENTS)
    for board in boards[:: count // 10]:
        assert (await page(world, board))[1] == expected


async def history_of(world: World, client: Client, board: Leaderboard) -> tuple[int, int]:
    """How many timers and activities the window's workflow took."""
    handle = client.get_workflow_handle(window_workflow_id(world.tenant_id, board.board_id, KEY))
    kinds = [event.event_type for event in (await handle.fetch_history()).events]
    return kinds.count(EventType.EVENT_TYPE_TIMER_STARTED), kinds.count(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
