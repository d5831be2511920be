"""The window's workflow, with real PostgreSQL, real pumps and Temporal's time-skipping server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributeKey
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from activities.payout import PayoutActivities
from activities.window import WindowActivities
from domain.leaderboard.definition import BoardStatus, LeaderboardDefinition
from domain.leaderboard.window import next_window, window_at
from domain.leaderboard.window_messages import window_workflow_id
from domain.reward.config import ConfigTier
from domain.reward.item import parse_item
from loops.relay import Relay
from loops.sweep import restart_lost_windows
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, acting, transaction
from runtime.redis import Redis
from runtime.temporal import DATA_CONVERTER, TaskQueues
from storage.leaderboard.definition import Leaderboard, archive_board
from storage.leaderboard.rankings import Rankings
from storage.reward.config import WrittenConfig, write_config
from storage.reward.item import write_item
from storage.rules_lock import change_instant
from storage.webhook.endpoint import NewEndpoint, create_endpoint
from tests.builders.redemption import new_queues
from tests.builders.scoring import Event, World, definition, reference
from tests.builders.window import KEY, close_now, end_in, ending, noon_zone, page, scoring, the_window
from tests.recording import keep_history
from tests.temporal_server import result_of
from workflows.payout import PayoutRunWorkflow
from workflows.window import LeaderboardWindowWorkflow

EVENTS = [Event(f"u{n % 7}", n * 7 % 5 - 1.5, n * 13 % 9, f"e{n:03}") for n in range(40)]


class Stage(msgspec.Struct, frozen=True):
    world: World
    environment: WorkflowEnvironment
    queues: TaskQueues
    relay: Relay

    def handle(self, board: Leaderboard, key: str = KEY) -> WorkflowHandle[Any, Any]:
        identity = window_workflow_id(self.world.tenant_id, board.board_id, key)
        return self.environment.client.get_workflow_handle(identity)

    async def outcome(self, handle: WorkflowHandle[Any, Any]) -> dict[str, Any]:
        return dict(await result_of(self.environment, handle))

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        window = WindowActivities(self.world.pool, self.world.rankings)
        steps = [window.plan, window.open_next, window.close_early, window.pass_barrier, window.freeze]
        client = self.environment.client
        payout = PayoutActivities(self.world.pool, page=3)
        pages = [payout.plan, payout.pay, payout.finish, payout.fail]
        payouts = Worker(client, task_queue=self.queues.payouts, workflows=[PayoutRunWorkflow], activities=pages)
        async with payouts, Worker(client, task_queue=self.queues.windows, workflows=[LeaderboardWindowWorkflow], activities=steps):
            yield


@pytest_asyncio.fixture
async def stage(pool: Pool, redis_client: Redis, postgres_url: str, temporal_env: WorkflowEnvironment) -> AsyncIterator[Stage]:
    world = await World(pool, Rankings(redis_client), postgres_url).open()
    queues = new_queues()
    yield Stage(world, temporal_env, queues, Relay(pool, temporal_env.client, queues))


async def status(stage: Stage, board: Leaderboard, key: str = KEY) -> str:
    return (await the_window(stage.world, board, key)).status


async def until(condition: Any, seconds: float = 60.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.05)
    return found


async def test_a_window_closes_at_its_time_and_its_result_is_the_reference(stage: Stage, request: pytest.FixtureRequest) -> None:
    what = ending()
    board = await stage.world.make_board("b", what)
    await stage.world.send(EVENTS)
    await stage.world.pump()
    await end_in(stage.world, 1, grace_seconds=1)
    async with transaction(stage.world.pool) as connection:
        endpoint = NewEndpoint(url="http://127.0.0.1:1/", events=["leaderboard.window_closed"])
        await create_endpoint(connection, stage.world.tenant_id, endpoint, b"sealed", now=utc_now())
    async with stage.worker(), scoring(stage.world):
        assert await stage.relay.deliver_batch() == 1
        outcome = await stage.outcome(stage.handle(board))
        await keep_history(request, "window_closed_at_its_time", stage.handle(board))
    assert (outcome["status"], outcome["total"]) == ("paid", 7)
    (delivery,) = await rows_of(stage, "SELECT event, body FROM webhook_delivery")
    told = msgspec.json.decode(delivery["body"])
    assert [told[name] for name in ("event", "leaderboard_id", "window_key", "total")] == ["leaderboard.window_closed", "b", KEY, 7]
    top = [{"rank": rank, "user_id": user, "score": score / 10_000} for rank, (user, score) in enumerate(reference(what, EVENTS), 1)]
    assert told["top"] == top
    window = await the_window(stage.world, board)
    assert window.closed_at >= window.closes_at == window.ends_at + timedelta(seconds=1)
    assert (await page(stage.world, board))[1] == reference(what, EVENTS)


async def with_rewards(stage: Stage, what: LeaderboardDefinition) -> LeaderboardDefinition:
    """The same board with a badge for its first three."""
    now = utc_now()
    async with transaction(stage.world.pool) as connection:
        badge = parse_item({"name": "Badge", "reward_type": "badge"})
        item = await write_item(connection, stage.world.tenant_id, new_id(), badge, credit=(None, None), now=now)
        written = WrittenConfig(name="rewards", tiers=[ConfigTier(max_rank=3, item_ids=[item.item_id])], budget={})
        config = await write_config(connection, stage.world.tenant_id, new_id(), written, now=now)
    return msgspec.structs.replace(what, reward_config_id=config.reward_config_id)


async def test_a_window_pays_the_items_of_the_config_that_was_in_force_when_it_closed(stage: Stage, request: pytest.FixtureRequest) -> None:
    what = await with_rewards(stage, ending(ends_at=utc_now() + timedelta(days=300)))
    board = await stage.world.make_board("b", what)
    await stage.world.send(EVENTS)
    await stage.world.pump()
    async with scoring(stage.world):
        await close_now(stage.world, board)
        await stage.world.change_board(board, msgspec.structs.replace(what, reward_config_id=None))
        async with stage.worker():
            while await stage.relay.deliver_batch():
                pass
            outcome = await stage.outcome(stage.handle(board))
    assert (outcome["status"], await status(stage, board)) == ("paid", "paid")
    rows = await rows_of(stage, "SELECT external_id FROM reward_grant JOIN app_user USING (tenant_id, user_id)")
    assert {row["external_id"] for row in rows} == {user for user, _ in reference(what, EVENTS)[:3]}
    await keep_history(request, "window_paid", stage.handle(board))
    history = await stage.handle(board).fetch_history()
    await Replayer(workflows=[LeaderboardWindowWorkflow], data_converter=DATA_CONVERTER, debug_mode=True).replay_workflow(history)


async def test_an_early_close_ends_the_wait(stage: Stage, request: pytest.FixtureRequest) -> None:
    board = await stage.world.make_board("b", ending(ends_at=utc_now() + timedelta(days=300)))
    await stage.world.send(EVENTS)
    await stage.world.pump()
    async with stage.worker(), scoring(stage.world):
        assert await stage.relay.deliver_batch() == 1
        await close_now(stage.world, board)
        while await stage.relay.deliver_batch():
            pass
        outcome = await stage.outcome(stage.handle(board))
    assert (outcome["status"], outcome["total"]) == ("paid", 7)
    await keep_history(request, "window_closed_early", stage.handle(board))
    history = await stage.handle(board).fetch_history()
    await Replayer(workflows=[LeaderboardWindowWorkflow], data_converter=DATA_CONVERTER, debug_mode=True).replay_workflow(history)


async def test_an_early_close_that_the_workflow_finds_before_it_is_told_says_who_and_why_too(stage: Stage) -> None:
    board = await stage.world.make_board("b", ending(ends_at=utc_now() + timedelta(days=300)))
    await stage.world.send(EVENTS)
    await stage.world.pump()
    assert await stage.relay.deliver_batch() == 1
    who = acting.set(("console:lan@example.com", "the cup is over"))
    try:
        await close_now(stage.world, board)
    finally:
        acting.reset(who)
    async with stage.worker(), scoring(stage.world):
        await stage.outcome(stage.handle(board))
        shown = str(await stage.handle(board).query("__temporal_workflow_metadata"))
    assert shown.count("by console: the cup is over") == 1


async def test_an_early_close_from_temporals_own_tools(stage: Stage) -> None:
    board = await stage.world.make_board("b", ending(ends_at=utc_now() + timedelta(days=300)))
    await stage.world.send(EVENTS)
    await stage.world.pump()
    async with stage.worker(), scoring(stage.world):
        assert await stage.relay.deliver_batch() == 1
        plan = await stage.handle(board).execute_update("close_now")
        assert plan["status"] in ("open", "closing", "closed", "paid")
        assert (await stage.outcome(stage.handle(board)))["total"] == 7
    assert (await the_window(stage.world, board)).closes_at <= utc_now()


async def test_a_window_that_ended_while_the_worker_was_away_closes_with_what_came_in_time(stage: Stage) -> None:
    what = ending()
    board = await stage.world.make_board("b", what)
    await stage.world.send(EVENTS[:1])
    await stage.world.pump()
    await stage.world.send(EVENTS[1:])
    await end_in(stage.world, 0)
    await stage.world.send([Event("u1", 1000, 5, "late")])
    assert await stage.relay.deliver_batch() == 1
    async with stage.worker():
        running = asyncio.create_task(stage.outcome(stage.handle(board)))

        async def closes() -> bool:
            return await status(stage, board) == "closing"

        await until(closes)
        await asyncio.sleep(0.5)
        assert await closes(), "scoring has not passed the end yet"
        async with scoring(stage.world):
            outcome = await running
    assert (outcome["total"], outcome["late_events"]) == (7, 1)
    assert (await page(stage.world, board))[1] == reference(what, EVENTS)


async def test_the_next_window_is_there_an_hour_before_it_starts_and_no_earlier(stage: Stage) -> None:
    what = definition(timeframe={"type": "daily", "timezone": noon_zone()})
    board = await stage.world.make_board("b", what)
    timeframe, now = board.config.timeframe, utc_now()
    present = window_at(timeframe, now)
    assert present is not None
    following = next_window(timeframe, present)
    assert following is not None
    await send_now(stage)
    async with stage.worker(), scoring(stage.world):
        assert await stage.relay.deliver_batch() == 1

        async def keys() -> list[str]:
            rows = await rows_of(stage, "SELECT window_key FROM leaderboard_window ORDER BY starts_at")
            return [row["window_key"] for row in rows]

        until_then = present.ends_at - timedelta(hours=1) - await stage.environment.get_current_time()
        await stage.environment.sleep(until_then - timedelta(minutes=1))
        assert await keys() == [present.key]
        await stage.environment.sleep(timedelta(minutes=2))

        async def both() -> bool:
            return await keys() == [present.key, following.key]

        await until(both)
        assert await stage.relay.deliver_batch() == 1, "its own workflow is started by its row"
        assert await status(stage, board, present.key) == "open"


async def test_archiving_ends_the_window_and_the_succession(stage: Stage) -> None:
    board = await stage.world.make_board("b", definition(timeframe={"type": "monthly", "timezone": noon_zone()}))
    await send_now(stage)
    async with stage.worker(), scoring(stage.world):
        assert await stage.relay.deliver_batch() == 1
        async with transaction(stage.world.pool) as connection:
            instant = await change_instant(connection, stage.world.tenant_id)
            await archive_board(connection, stage.world.tenant_id, board.board_id, instant=instant)
        while await stage.relay.deliver_batch():
            pass
        rows = await rows_of(stage, "SELECT window_key FROM leaderboard_window")
        outcome = await stage.outcome(stage.handle(board, rows[0]["window_key"]))
    assert (outcome["status"], outcome["total"]) == ("paid", 1)
    assert len(await rows_of(stage, "SELECT 1 FROM leaderboard_window")) == 1


async def test_the_window_of_an_inactive_board_ends_and_has_no_next_one(stage: Stage) -> None:
    what = definition(timeframe={"type": "daily", "timezone": noon_zone()})
    board = await stage.world.make_board("b", what)
    await send_now(stage)
    await stage.world.change_board(board, msgspec.structs.replace(what, status=BoardStatus.INACTIVE))
    (window,) = await rows_of(stage, "SELECT window_key FROM leaderboard_window")
    async with stage.worker(), scoring(stage.world):
        await close_now(stage.world, board, window["window_key"])
        while await stage.relay.deliver_batch():
            pass
        outcome = await stage.outcome(stage.handle(board, window["window_key"]))
    assert (outcome["status"], outcome["total"]) == ("paid", 1)
    assert len(await rows_of(stage, "SELECT 1 FROM leaderboard_window")) == 1


async def test_the_sweep_starts_windows_that_temporal_has_lost(stage: Stage, temporal_client: Client) -> None:
    board = await stage.world.make_board("b", ending())
    await stage.world.send(EVENTS)
    await stage.world.pump()
    relay = Relay(stage.world.pool, temporal_client, stage.queues)
    assert await restart_lost_windows(stage.world.pool, temporal_client, idle=timedelta(seconds=-5)) == 1
    assert await relay.deliver_batch() == 1
    identity = window_workflow_id(stage.world.tenant_id, board.board_id, KEY)
    described = await temporal_client.get_workflow_handle(identity).describe()
    assert described.typed_search_attributes[SearchAttributeKey.for_keyword("LeaderboardId")] == "b"
    assert await restart_lost_windows(stage.world.pool, temporal_client, idle=timedelta(seconds=-5)) == 0


async def rows_of(stage: Stage, query: str) -> list[dict[str, Any]]:
    async with stage.world.pool.connection() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def send_now(stage: Stage) -> None:
    """An event that occurs now, scored."""
    minute = int((utc_now() - Event("u", 1, 0, "x").occurred_at).total_seconds() // 60)
    await stage.world.send([Event("u1", 1, minute, "now")])
    await stage.world.pump()
