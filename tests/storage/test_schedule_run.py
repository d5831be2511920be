"""Instants of schedules and their runs: claimed, triggered, backfilled and settled, each once."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from domain.errors import ValidationError
from domain.payout.schedule import InstantClaim, Schedule
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.payout.plan import plan
from storage.payout.run import find_run, request_cancel
from storage.payout.schedule import find_schedule
from storage.payout.schedule_run import backfill_runs, claim_instant, settle_instants, trigger_run
from tests.builders.payout import pay_all, pay_page
from tests.builders.schedule import add_schedule, change, definition, delete, points, runs
from tests.builders.store import World, make_world

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


async def claim(world: World, schedule: Schedule, instant: datetime) -> InstantClaim:
    async with transaction(world.pool) as connection:
        return await claim_instant(connection, world.tenant_id, schedule.schedule_id, instant, now=instant + timedelta(seconds=1))


async def settle(world: World, schedule: Schedule, until: datetime) -> int:
    async with transaction(world.pool) as connection:
        return await settle_instants(connection, world.tenant_id, schedule.schedule_id, until=until, now=until + MINUTE)


async def backfill(world: World, schedule: Schedule, start: datetime, end: datetime) -> tuple[list[datetime], list[datetime]]:
    async with transaction(world.pool) as connection:
        kept = await find_schedule(connection, world.tenant_id, schedule.schedule_id, lock=True)
        found = await backfill_runs(connection, kept, start, end, now=utc_now())
    return found.instants, found.skipped


async def ended(world: World, run_id: UUID | None, at: datetime) -> None:
    async with transaction(world.pool) as connection:
        await connection.execute(
            "UPDATE payout_run SET status = 'completed', finished_at = %s WHERE tenant_id = %s AND payout_run_id = %s",
            (at, world.tenant_id, run_id),
        )


async def test_an_instant_has_one_run_however_often_it_is_claimed(world: World) -> None:
    schedule = await add_schedule(world, at=NOON - MINUTE)
    claims = await asyncio.gather(*(claim(world, schedule, NOON) for _ in range(6)))
    assert len({each.run_id for each in claims}) == 1
    (run,) = await runs(world, schedule)
    assert (run.instant, run.trigger, run.source_type, run.source_id) == (NOON, "schedule", "schedule", str(run.payout_run_id))


async def test_only_instants_of_the_when_in_force_are_claimed(world: World) -> None:
    schedule = await add_schedule(world, at=NOON - MINUTE)
    await change(world, schedule, at=NOON + MINUTE, due=definition(when={"cron": "30 * * * *"}, item_ids=[str(UUID(int=1))]).due)
    first = await claim(world, schedule, NOON)
    await ended(world, first.run_id, NOON + MINUTE)
    assert (await claim(world, schedule, NOON + timedelta(minutes=30))).run_id is not None
    assert "not an instant" in str((await claim(world, schedule, NOON + HOUR)).reason)
    assert "not an instant" in str((await claim(world, schedule, NOON + MINUTE)).reason)


async def test_a_paused_and_a_deleted_schedule_pay_nothing(world: World) -> None:
    schedule = await add_schedule(world, at=NOON - MINUTE)
    await change(world, schedule, at=NOON + MINUTE, paused=True)
    assert "paused" in str((await claim(world, schedule, NOON + HOUR)).reason)
    await change(world, schedule, at=NOON + HOUR + MINUTE, paused=False)
    assert "paused" in str((await claim(world, schedule, NOON + HOUR)).reason), "it was paused then, however late it is asked for"
    assert (await claim(world, schedule, NOON + 2 * HOUR)).run_id is not None
    await delete(world, schedule)
    assert "deleted" in str((await claim(world, schedule, NOON + 3 * HOUR)).reason)


async def test_a_trigger_runs_while_paused_and_beside_another_run(world: World) -> None:
    await world.user("ann")
    schedule = await add_schedule(world, paused=True)
    async with transaction(world.pool) as connection:
        first = await trigger_run(connection, schedule, NOON)
        second = await trigger_run(connection, schedule, NOON)
    assert first != second
    for run_id in (first, second):
        assert (await pay_all(world, run_id)).status == "completed"
    assert await points(world, "ann") == 10
    assert [run.trigger for run in await runs(world, schedule)] == ["manual", "manual"]


async def test_a_backfill_repeated_over_the_same_range_makes_each_run_once(world: World) -> None:
    schedule = await add_schedule(world)
    start = utc_now() - timedelta(days=3)
    made, had = await backfill(world, schedule, start, start + timedelta(days=1))
    assert len(made) == 24
    assert had == []
    again, had = await backfill(world, schedule, start - 2 * HOUR, start + timedelta(days=1))
    assert len(again) == 2
    assert had == made
    assert [run.instant for run in await runs(world, schedule)] == again + made


async def test_a_backfill_goes_by_the_when_of_each_instant_and_not_into_the_future(world: World) -> None:
    now = utc_now().replace(minute=10, second=0, microsecond=0)
    schedule = await add_schedule(world, at=now - 5 * HOUR)
    await change(world, schedule, at=now - 2 * HOUR, due=definition(when={"cron": "5,35 * * * *"}, item_ids=[str(UUID(int=1))]).due)
    made, _ = await backfill(world, schedule, now - 7 * HOUR, now - HOUR)
    assert [each.minute for each in made] == [0] * 5 + [35, 5]
    future, _ = await backfill(world, schedule, utc_now() - MINUTE, utc_now() + timedelta(days=1))
    assert len(future) <= 1


async def test_a_backfill_of_more_than_a_thousand_is_refused(world: World) -> None:
    schedule = await add_schedule(world, when={"every_seconds": 60})
    with pytest.raises(ValidationError, match="1000"):
        await backfill(world, schedule, utc_now() - timedelta(days=1), utc_now())
    assert await runs(world, schedule) == []


async def test_the_sweep_makes_the_runs_that_nobody_brought_and_only_those(world: World) -> None:
    schedule = await add_schedule(world, at=NOON - MINUTE)
    first = await claim(world, schedule, NOON)
    await ended(world, first.run_id, NOON + MINUTE)
    await change(world, schedule, at=NOON + 2 * HOUR - MINUTE, paused=True)
    await change(world, schedule, at=NOON + 2 * HOUR + MINUTE, paused=False)
    assert await settle(world, schedule, NOON + 3 * HOUR + MINUTE) == 2
    assert [run.instant for run in await runs(world, schedule)] == [NOON, NOON + HOUR, NOON + 3 * HOUR]
    assert await settle(world, schedule, NOON + 3 * HOUR + 2 * MINUTE) == 0


async def test_the_sweep_leaves_what_is_older_than_the_catch_up(world: World) -> None:
    schedule = await add_schedule(world, at=NOON - MINUTE, catchup_seconds=7200)
    assert await settle(world, schedule, NOON + 5 * HOUR + MINUTE) == 2
    assert [run.instant for run in await runs(world, schedule)] == [NOON + 4 * HOUR, NOON + 5 * HOUR]


@pytest.mark.parametrize(("overlap", "late"), [("skip", []), ("buffer_one", [1])])
async def test_instants_that_came_during_a_run(world: World, overlap: str, late: list[int]) -> None:
    """`skip` passes them over; `buffer_one` keeps the first until the run is over."""
    schedule = await add_schedule(world, at=NOON - MINUTE, overlap=overlap)
    first = await claim(world, schedule, NOON)
    assert await settle(world, schedule, NOON + 2 * HOUR + MINUTE) == 0
    await ended(world, first.run_id, NOON + 2 * HOUR + MINUTE)
    assert await settle(world, schedule, NOON + 2 * HOUR + 5 * MINUTE) == len(late)
    assert [run.instant for run in await runs(world, schedule)] == [NOON, *(NOON + hours * HOUR for hours in late)]
    if overlap == "skip":
        assert "in progress" in str((await claim(world, schedule, NOON + HOUR)).reason)
    assert (await claim(world, schedule, NOON + 4 * HOUR)).run_id is not None


async def test_the_budget_stops_at_the_last_recipient_that_it_covers(world: World) -> None:
    for name in ("eve", "bob", "ann", "dan"):
        await world.user(name)
    schedule = await add_schedule(world, budget={"points": 14})
    async with transaction(world.pool) as connection:
        run_id = await trigger_run(connection, schedule, utc_now())
    progress = await pay_all(world, run_id)
    assert (progress.status, progress.paid) == ("completed", 2)
    assert [await points(world, name) for name in ("ann", "bob", "dan", "eve")] == [5, 5, 0, 0]
    async with world.pool.connection() as connection:
        assert (await find_run(connection, world.tenant_id, run_id)).not_covered == 2


async def test_a_run_is_cancelled_between_pages_and_what_was_paid_stays(world: World) -> None:
    for name in ("ann", "bob", "cid"):
        await world.user(name)
    schedule = await add_schedule(world)
    async with transaction(world.pool) as connection:
        run_id = await trigger_run(connection, schedule, utc_now())
        await plan(connection, world.tenant_id, run_id, utc_now())
    await pay_page(world, run_id, 2)
    async with transaction(world.pool) as connection:
        await request_cancel(connection, world.tenant_id, run_id, utc_now())
    assert (await pay_page(world, run_id, 2)).status == "cancelled"
    assert [await points(world, name) for name in ("ann", "bob", "cid")] == [5, 5, 0]
