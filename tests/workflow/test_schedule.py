"""Payout schedules on the real Temporal server: brought in line, run at their instants, repaired, and paid once whatever happens."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from temporalio.client import (
    Client,
    ScheduleBackfill,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from domain.payout.recurrence import WhenVersion, instants_between, parse_when
from domain.payout.schedule import Overlap, temporal_schedule_id
from loops.relay import Relay
from loops.schedule_sync import is_in_line, reconcile, run_schedule_keeper, schedule_for, settle_schedules
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from runtime.schedules import drop_schedule, find_schedule
from runtime.temporal import SEARCH_ATTRIBUTES, TaskQueues, connect
from stack import processes, temporal
from storage.payout.run import request_cancel
from storage.payout.schedule_run import trigger_run
from storage.platform.lease import take_lease
from tests.builders.schedule import Stage, add_schedule, change, delete, points, runs, until
from tests.builders.store import make_world
from tests.conftest import settings_for
from tests.recording import keep_history

SECONDS = {"every_seconds": 5}


async def make_stage(pool: Pool, client: Client) -> Stage:
    core = f"test-{secrets.token_hex(6)}"
    queues = TaskQueues(core=core, webhooks=f"{core}-webhooks", scoring=f"{core}-scoring")
    return Stage(await make_world(pool), client, queues, Relay(pool, client, queues))


@pytest_asyncio.fixture
async def stage(pool: Pool, temporal_client: Client) -> AsyncIterator[Stage]:
    made = await make_stage(pool, temporal_client)
    yield made
    async for each in await temporal_client.list_schedules():
        await drop_schedule(temporal_client, each.id)  # the list may still show what the test has deleted


async def described(stage: Stage, schedule: Any) -> ScheduleDescription:
    found = await find_schedule(stage.client, stage.temporal_id(schedule))
    assert found is not None
    return found


async def all_over(stage: Stage, schedule: Any, count: int) -> Any:
    async def look() -> Any:
        found = await runs(stage.world, schedule)
        return found if sum(run.status == "completed" for run in found) >= count else None

    return await until(look)


async def all_paid(stage: Stage, schedule: Any, *users: str) -> Any:
    """The runs, once all that there are have ended and each user has got five points of each. The schedule is paused: an instant that
    came before may still be claimed."""

    async def look() -> Any:
        got = {await points(stage.world, user) for user in users}
        found = await runs(stage.world, schedule)
        return found if all(run.status == "completed" for run in found) and got == {5 * len(found)} else None

    return await until(look)


async def test_a_schedule_in_temporal_is_what_the_row_says(stage: Stage) -> None:
    when = {"cron": "30 2 * * MON-FRI", "timezone": "Europe/Berlin", "ends_at": "2999-01-01T00:00:00Z"}
    schedule = await add_schedule(stage.world, when=when, paused=True, note="not yet", catchup_seconds=3600, overlap="buffer_one")
    await stage.tell()
    found = await described(stage, schedule)
    assert (found.schedule.state.paused, found.schedule.state.note) == (True, "not yet")
    assert found.schedule.policy.catchup_window == timedelta(hours=1)
    assert found.schedule.policy.overlap.name == "BUFFER_ONE"
    assert found.schedule.spec.time_zone_name == "Europe/Berlin"
    assert found.schedule.spec.calendars[0].comment == "30 2 * * MON-FRI"
    attributes = {pair.key.name: pair.value for pair in found.typed_search_attributes.search_attributes}
    assert attributes == {"TenantId": str(stage.world.tenant_id), "ScheduleId": str(schedule.schedule_id)}
    assert is_in_line(found, schedule_for(schedule, stage.queues, utc_now()))
    changed = await change(stage.world, schedule, paused=False, note=None, overlap=Overlap.SKIP)
    await stage.tell()
    found = await described(stage, schedule)
    assert (found.schedule.state.paused, found.schedule.state.note, found.schedule.policy.overlap.name) == (False, "A schedule", "SKIP")
    assert is_in_line(found, schedule_for(changed, stage.queues, utc_now()))
    await delete(stage.world, schedule)
    await stage.tell()
    assert await find_schedule(stage.client, stage.temporal_id(schedule)) is None


@pytest.mark.parametrize(
    "when",
    [
        {"cron": "30 2 * * *", "timezone": "Europe/Berlin"},
        {"cron": "*/20 * * * *", "timezone": "Australia/Lord_Howe"},
        {"cron": "0 0,1 * * *", "timezone": "America/Santiago"},
        {"cron": "15 2,3 * * SUN", "timezone": "Africa/Casablanca"},
        {"cron": "0 9 L * *", "timezone": "Asia/Ho_Chi_Minh"},
        {"cron": "0 9 1 * MON", "timezone": "UTC"},
        {"every_seconds": 7 * 3600},
    ],
    ids=lambda when: when.get("cron", "interval"),
)
async def test_temporal_leaves_out_no_instant_around_the_changes_of_the_clock(stage: Stage, when: dict[str, Any]) -> None:
    """What Temporal brings besides are second occurrences, which the claim turns away."""
    schedule = await add_schedule(stage.world, when=when, paused=True)
    now = utc_now()
    spec = schedule_for(schedule, stage.queues, now).spec
    history = [WhenVersion(valid_from=now, when=parse_when(when))]
    # From each change of the clock that is named, and from now: Temporal shows the next ten.
    starts = [datetime.fromtimestamp(0, UTC) + (each.offset or timedelta()) for each in spec.intervals if each.every > timedelta(days=9999)]
    turns = [
        now,
        *(each + timedelta(days=10_000) * ((now - datetime.fromtimestamp(0, UTC)) // timedelta(days=10_000)) for each in starts[:6:3]),
    ]
    for start in turns:
        begin = max(start, now) - timedelta(hours=3) if start > now else now
        made = schedule_for(schedule, stage.queues, now)
        made.spec.start_at = begin
        identity = f"look-{secrets.token_hex(4)}"
        handle = await stage.client.create_schedule(identity, made)

        async def next_times(handle: ScheduleHandle = handle) -> Any:
            return (await handle.describe()).info.next_action_times

        shown = await until(next_times)
        asked = utc_now()  # what was due before is not shown any more
        await handle.delete()
        assert set(instants_between(history, max(begin, asked) + timedelta(seconds=1), shown[-1])) <= set(shown)


async def test_instants_are_paid_as_they_come_and_history_holds_no_list(stage: Stage, request: pytest.FixtureRequest) -> None:
    await stage.world.user("ann")
    schedule = await add_schedule(stage.world, when=SECONDS, overlap="buffer_one")
    async with stage.worker():
        await stage.tell()
        found = await all_over(stage, schedule, 2)
        await change(stage.world, schedule, paused=True)
        await stage.tell()
        first, second = found[0].instant, found[1].instant
        assert second - first == timedelta(seconds=5)
        assert {run.trigger for run in found} == {"schedule"}
        identity = f"{stage.temporal_id(schedule)}-{first:%Y-%m-%dT%H:%M:%SZ}"
        handle = stage.client.get_workflow_handle(identity)
        assert (await handle.result())["run_id"] == str(found[0].payout_run_id)
        await keep_history(request, "schedule_paid", handle)
        await all_paid(stage, schedule, "ann")


async def test_pause_resume_and_trigger(stage: Stage) -> None:
    await stage.world.user("ann")
    schedule = await add_schedule(stage.world, when=SECONDS, paused=True)
    async with stage.worker():
        async with transaction(stage.world.pool) as connection:
            await trigger_run(connection, schedule, utc_now())
        await stage.tell()
        (run,) = await all_over(stage, schedule, 1)
        assert run.trigger == "manual", "a paused schedule runs nothing else"
        await change(stage.world, schedule, paused=False)
        await stage.tell()
        await all_over(stage, schedule, 2)


async def test_what_somebody_did_in_temporal_is_put_right(stage: Stage) -> None:
    kept = await add_schedule(stage.world, when={"cron": "0 9 * * *", "timezone": "Asia/Ho_Chi_Minh"})
    gone = await add_schedule(stage.world, when={"every_seconds": 86_400})
    await stage.tell()
    pool, client, queues = stage.world.pool, stage.client, stage.queues

    async def at_rest() -> bool:
        return await reconcile(pool, client, queues, full=False) == 0

    await until(at_rest)
    assert await reconcile(pool, client, queues, full=True) == 0, "nothing to do for what is in line"

    orphan = temporal_schedule_id(stage.world.tenant_id, new_id())
    await client.create_schedule(orphan, schedule_for(kept, queues, utc_now()))
    await client.get_schedule_handle(stage.temporal_id(gone)).delete()
    await client.get_schedule_handle(stage.temporal_id(kept)).pause(note="by hand")

    async def repaired() -> bool:
        await reconcile(pool, client, queues, full=False)
        found = [await find_schedule(client, each) for each in (stage.temporal_id(kept), stage.temporal_id(gone), orphan)]
        return found[0] is not None and not found[0].schedule.state.paused and found[1] is not None and found[2] is None

    await until(repaired)

    def widen(given: ScheduleUpdateInput) -> ScheduleUpdate:
        changed = given.description.schedule
        changed.policy.catchup_window = timedelta(days=300)
        return ScheduleUpdate(schedule=changed)

    await client.get_schedule_handle(stage.temporal_id(kept)).update(widen)
    assert await reconcile(pool, client, queues, full=True) >= 1
    assert is_in_line(await described(stage, kept), schedule_for(kept, queues, utc_now()))


async def test_the_runs_of_an_instant_meet_without_paying_twice(stage: Stage, request: pytest.FixtureRequest) -> None:
    """Temporal brings the instant late, after the sweep has made its run: the workflow follows that one."""
    await stage.world.user("ann")
    schedule = await add_schedule(stage.world, when=SECONDS, at=utc_now() - timedelta(seconds=30))
    assert await settle_schedules(stage.world.pool, grace=timedelta(seconds=1)) >= 5
    await change(stage.world, schedule, paused=True)
    made = await runs(stage.world, schedule)
    async with stage.worker():
        await stage.tell()
        handle = stage.client.get_schedule_handle(stage.temporal_id(schedule))
        span = ScheduleBackfill(
            start_at=made[0].instant - timedelta(seconds=1), end_at=made[-1].instant, overlap=ScheduleOverlapPolicy.ALLOW_ALL
        )
        await handle.backfill(span)
        await all_over(stage, schedule, len(made))

        async def brought() -> bool:
            return (await handle.describe()).info.num_actions >= len(made)

        await until(brought)
        identity = f"{stage.temporal_id(schedule)}-{made[0].instant:%Y-%m-%dT%H:%M:%SZ}"
        followed = stage.client.get_workflow_handle(identity)
        assert (await followed.result())["run_id"] == str(made[0].payout_run_id)
        await keep_history(request, "schedule_followed", followed)
        assert len(await runs(stage.world, schedule)) == len(made)
        assert await points(stage.world, "ann") == 5 * len(made)


async def test_a_cancelled_run_stops_between_pages(stage: Stage) -> None:
    for number in range(40):
        await stage.world.user(f"u{number:02}")
    schedule = await add_schedule(stage.world, paused=True)
    async with transaction(stage.world.pool) as connection:
        run_id = await trigger_run(connection, schedule, utc_now())
        await request_cancel(connection, stage.world.tenant_id, run_id, utc_now())
    async with stage.worker(page=1):
        await stage.tell()

        async def cancelled() -> bool:
            return (await runs(stage.world, schedule))[0].status == "cancelled"

        await until(cancelled)
    assert await stage.world.rows("SELECT FROM reward_grant WHERE tenant_id = %s", (stage.world.tenant_id,)) == []


async def test_instants_that_passed_while_temporal_was_away_are_caught_up(
    pool: Pool, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    port = processes.free_port()
    command = temporal.command(tmp_path / "t.db", port, processes.free_port(), SEARCH_ATTRIBUTES, log=tmp_path / "t.log")
    settings = settings_for(postgres_url, redis_url, f"127.0.0.1:{port}")
    client = await connect(settings, lazy=True)
    stage = await make_stage(pool, client)
    await stage.world.user("ann")

    async def told() -> bool:
        try:
            await stage.tell()
        except Exception:
            return False
        return True

    process = processes.start(command)
    try:
        processes.wait_ready(process, command, lambda: temporal.ready(port))
        begun = utc_now() - timedelta(seconds=21)
        schedule = await add_schedule(stage.world, when=SECONDS, paused=True, at=begun - timedelta(seconds=1))
        await until(told)
        processes.stop(process, command)
        await change(stage.world, schedule, paused=False, at=begun)
        assert not await told(), "the change was made while Temporal was away"
        missed = list(instants_between([WhenVersion(valid_from=begun, when=parse_when(SECONDS))], begun, utc_now()))
        assert len(missed) >= 4
        process = processes.start(command)
        processes.wait_ready(process, command, lambda: temporal.ready(port))
        await until(told)
        stage = msgspec.structs.replace(stage, client=await connect(settings))
        async with stage.worker():

            async def caught_up() -> Any:
                await settle_schedules(pool, grace=timedelta(seconds=3))
                await told()
                found = await runs(stage.world, schedule)
                return {run.instant for run in found if run.status == "completed"} >= set(missed)

            await until(caught_up)
            await change(stage.world, schedule, paused=True)
            await all_paid(stage, schedule, "ann")
            assert [run.instant for run in await runs(stage.world, schedule)][: len(missed)] == missed
    finally:
        processes.stop(process, command)


async def test_a_worker_that_dies_loses_no_instant(stage: Stage) -> None:
    for number in range(6):
        await stage.world.user(f"u{number}")
    schedule = await add_schedule(stage.world, when=SECONDS)
    await stage.tell()

    async def begun() -> bool:
        return bool(await runs(stage.world, schedule))

    async with stage.worker(page=1):
        await until(begun)
    await change(stage.world, schedule, paused=True)
    await stage.tell()
    async with stage.worker():
        await all_paid(stage, schedule, *(f"u{number}" for number in range(6)))


async def test_a_schedule_that_is_gone_in_temporal_does_not_stop_the_relay(stage: Stage) -> None:
    schedule = await add_schedule(stage.world)
    await delete(stage.world, schedule)
    await stage.tell()
    with pytest.raises(RPCError):
        await stage.client.get_schedule_handle(stage.temporal_id(schedule)).describe()


async def test_of_several_workers_one_keeps_the_schedules_at_a_time(stage: Stage) -> None:
    await stage.world.user("u1")
    schedule = await add_schedule(stage.world, when={"every_seconds": 60}, at=utc_now() - timedelta(minutes=5))
    stop = asyncio.Event()

    async def settled() -> bool:
        return bool(await runs(stage.world, schedule))

    async with transaction(stage.world.pool) as connection:
        await connection.execute("DELETE FROM lease WHERE name = 'schedules'")
        assert await take_lease(connection, "schedules", 3600.0), "another worker has it"
    keeper = asyncio.create_task(
        run_schedule_keeper(stage.world.pool, stage.client, stage.queues, stop, interval_seconds=0.05), name="keeper"
    )
    for _ in range(20):
        await asyncio.sleep(0.05)
        assert not await settled()
    await stage.world.rows("UPDATE lease SET held_until = now() WHERE name = 'schedules' RETURNING name")
    await until(settled)
    stop.set()
    await keeper
