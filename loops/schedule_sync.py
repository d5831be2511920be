"""Keeps Temporal's Schedules equal to the payout schedules in PostgreSQL, which are the truth: at each change, and by a sweep.

The sweep brings back what somebody deleted in Temporal, takes away what no row has, and puts right what was changed there, a pause too.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.common import Priority, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from domain.errors import DomainError
from domain.payout import schedule as payout_schedule
from domain.payout.recurrence import EPOCH, SECOND, load_when
from domain.payout.schedule import Overlap, ScheduleInput, temporal_schedule_id
from domain.payout.temporal_calendar import ClockTimes, Ticks, ticks_of
from loops.one_by_one import AWAY, one_by_one
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from runtime.pulse import pulse
from runtime.schedules import drop_schedule, find_schedule, put_schedule
from runtime.tasks import pause
from runtime.temporal import TaskQueues
from runtime.temporal_limits import RPC_TIMEOUT
from storage.payout.schedule import find_any_schedule, live_schedules, unsettled_schedules
from storage.payout.schedule_run import settle_instants
from storage.platform.lease import is_our_round
from storage.walk import UNREADABLE, pages

log = logging.getLogger(__name__)

WORKFLOW = "PayoutScheduleWorkflow"
PREFIX = "payout:"
LEASE = "schedules"
PRIORITY = 3
ONCE = timedelta(days=10_000)
"""An interval that long comes once: how a Temporal Schedule with a zone names an instant that its clock cannot."""
SHORTEST_CATCHUP = timedelta(seconds=10)
INTERVAL_SECONDS = 15.0
ROUNDS_TO_FULL = 20
GRACE = timedelta(seconds=60)
"""So long Temporal has to bring an instant before the sweep looks after it."""
PAGE = 200
SIDE_BY_SIDE = 8
TENANT = SearchAttributeKey.for_keyword("TenantId")
SCHEDULE = SearchAttributeKey.for_keyword("ScheduleId")


def schedule_for(kept: payout_schedule.Schedule, queues: TaskQueues, now: datetime) -> Schedule:
    """The Temporal Schedule as it should be."""
    argument = ScheduleInput(tenant_id=kept.tenant_id, schedule_id=kept.schedule_id)
    skip = kept.overlap is Overlap.SKIP
    return Schedule(
        action=ScheduleActionStartWorkflow(
            WORKFLOW,
            argument,
            id=temporal_schedule_id(kept.tenant_id, kept.schedule_id),
            task_queue=queues.schedules,
            typed_search_attributes=_attributes(kept.tenant_id, kept.schedule_id),
            static_summary=f"Payout schedule {kept.name}"[:180],
            priority=Priority(priority_key=PRIORITY, fairness_key=str(kept.tenant_id)),
        ),
        spec=_spec(ticks_of(load_when(kept.due), now)),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.SKIP if skip else ScheduleOverlapPolicy.BUFFER_ONE,
            catchup_window=max(timedelta(seconds=kept.catchup_seconds), SHORTEST_CATCHUP),
        ),
        state=ScheduleState(note=kept.note or kept.name, paused=kept.paused),
    )


def _attributes(tenant_id: UUID, schedule_id: UUID) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(TENANT, str(tenant_id)), SearchAttributePair(SCHEDULE, str(schedule_id))])


def _spec(ticks: Ticks) -> ScheduleSpec:
    """In tuples, as Temporal's answer has them, so that both can be compared."""
    once = [ScheduleIntervalSpec(every=ONCE, offset=timedelta(seconds=(each - EPOCH) // SECOND) % ONCE) for each in ticks.single]
    every = [ScheduleIntervalSpec(every=timedelta(seconds=each[0]), offset=timedelta(seconds=each[1])) for each in (ticks.every,) if each]
    return ScheduleSpec(
        calendars=[_calendar(each, ticks.text) for each in ticks.calendars],
        intervals=[*every, *once],
        start_at=ticks.starts_at,
        end_at=ticks.ends_at,
        time_zone_name=None if ticks.zone == "UTC" else ticks.zone,
    )


def _calendar(times: ClockTimes, text: str) -> ScheduleCalendarSpec:
    return ScheduleCalendarSpec(
        minute=_ranges(times.minutes),
        hour=_ranges(times.hours),
        day_of_month=_ranges(times.days_of_month),
        month=_ranges(times.months),
        year=_ranges(times.years),
        day_of_week=_ranges(times.days_of_week),
        comment=text,
    )


def _ranges(numbers: Iterable[int]) -> tuple[ScheduleRange, ...]:
    """Runs of neighbours, as people read them."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ScheduleRange(start, end) for start, end in ranges)


async def bring_in_line(pool: Pool, temporal: Client, queues: TaskQueues, tenant_id: UUID, *, schedule_id: UUID) -> None:
    """Make Temporal's Schedule what the row says now; take it away when the row is deleted or missing."""
    async with pool.connection() as connection:
        kept = await find_any_schedule(connection, tenant_id, schedule_id)
    identity = temporal_schedule_id(tenant_id, schedule_id)
    if kept is None or kept.archived_at is not None:
        await drop_schedule(temporal, identity)
    else:
        await put_schedule(temporal, identity, schedule_for(kept, queues, utc_now()), search_attributes=_attributes(tenant_id, schedule_id))


async def reconcile(pool: Pool, temporal: Client, queues: TaskQueues, *, full: bool) -> int:
    """Repair what differs between Temporal and the rows, in both directions; answers how many schedules were put right.

    Temporal's list shows specs, pauses and notes; `full` looks at each schedule by itself, which also finds other changes.
    """
    listed = {each.id: each async for each in await temporal.list_schedules(rpc_timeout=RPC_TIMEOUT) if each.id.startswith(PREFIX)}
    live, suspects = set[str](), list[payout_schedule.Schedule]()
    async for page in pages(pool, lambda c, after: live_schedules(c, after, PAGE)):
        for kept in page:
            identity = temporal_schedule_id(kept.tenant_id, kept.schedule_id)
            live.add(identity)
            seen = listed.get(identity)
            if full or seen is None or seen.schedule is None or _differs(seen.schedule, kept, queues):
                suspects.append(kept)
    repaired = await _repair(pool, temporal, queues, suspects)
    return repaired + await one_by_one(sorted(listed.keys() - live), lambda orphan: _drop_orphan(pool, temporal, queues, orphan))


def _differs(seen: object, kept: payout_schedule.Schedule, queues: TaskQueues) -> bool:
    """Whether the list shows something else than there should be; one that cannot be told is looked at by itself."""
    try:
        return _shown(seen) != _shown(schedule_for(kept, queues, utc_now()))
    except (*UNREADABLE, DomainError):
        return True


def _shown(schedule: object) -> tuple[object, ...]:
    spec, state = schedule.spec, schedule.state  # type: ignore[attr-defined]
    return (_comparable(spec), state.paused, state.note)


def _comparable(spec: ScheduleSpec) -> tuple[object, ...]:
    intervals = tuple((each.every, each.offset or timedelta()) for each in spec.intervals)
    bounds = (spec.start_at, spec.end_at, spec.time_zone_name or "UTC", spec.jitter or timedelta())
    return (tuple(spec.calendars), intervals, tuple(spec.skip), *bounds)


async def _repair(pool: Pool, temporal: Client, queues: TaskQueues, suspects: Sequence[payout_schedule.Schedule]) -> int:
    turns = asyncio.Semaphore(SIDE_BY_SIDE)

    async def look_after(kept: payout_schedule.Schedule) -> int:
        async with turns:
            identity = temporal_schedule_id(kept.tenant_id, kept.schedule_id)
            found = await find_schedule(temporal, identity)
            if found is not None and is_in_line(found, schedule_for(kept, queues, utc_now())):
                return 0
            log.warning("the schedule %s in Temporal %s: putting it right", identity, "is missing" if found is None else "differs")
            await bring_in_line(pool, temporal, queues, kept.tenant_id, schedule_id=kept.schedule_id)
            return 1

    return sum(await asyncio.gather(*(one_by_one([each], look_after) for each in suspects)))


def is_in_line(found: ScheduleDescription, wanted: Schedule) -> bool:
    """Whether Temporal has the schedule as it should be."""
    return (
        _shown(found.schedule) == _shown(wanted)
        and found.schedule.policy == wanted.policy
        and not found.schedule.state.limited_actions
        and _started(found.schedule) == _started(wanted)
    )


def _started(schedule: Schedule) -> tuple[object, ...]:
    action = schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    arguments = [getattr(each, "data", None) or msgspec.json.encode(each) for each in action.args]
    found_by = sorted((pair.key.name, str(pair.value)) for pair in action.typed_search_attributes.search_attributes)
    return (action.workflow, action.id, action.task_queue, arguments, found_by)


async def _drop_orphan(pool: Pool, temporal: Client, queues: TaskQueues, identity: str) -> int:
    """A row that was written after the list was read is looked at again."""
    try:
        tenant_id, schedule_id = (UUID(part) for part in identity.removeprefix(PREFIX).split(":"))
    except ValueError:
        log.warning("the schedule %s in Temporal is none of ours: taking it away", identity)
        return int(await drop_schedule(temporal, identity))
    await bring_in_line(pool, temporal, queues, tenant_id, schedule_id=schedule_id)
    async with pool.connection() as connection:
        kept = await find_any_schedule(connection, tenant_id, schedule_id)
    return int(kept is None or kept.archived_at is not None)


async def settle_schedules(pool: Pool, *, grace: timedelta = GRACE) -> int:
    """Make the runs of instants that nobody brought: a tick that was lost, a change or a pause that Temporal learnt of too late."""
    now = utc_now()

    async def settle(kept: payout_schedule.Schedule) -> int:
        async with transaction(pool) as connection:
            return await settle_instants(connection, kept.tenant_id, kept.schedule_id, until=now - grace, now=now)

    rows = pages(pool, lambda c, after: unsettled_schedules(c, now - grace, after, PAGE))
    return sum([await one_by_one(page, settle) async for page in rows])


async def run_schedule_keeper(
    pool: Pool, temporal: Client, queues: TaskQueues, stop: asyncio.Event, *, interval_seconds: float = INTERVAL_SECONDS
) -> None:
    """Settle and reconcile now and every quarter of a minute until `stop` is set; of several workers one does it at a time.

    What is away now is left to the next round.
    """
    round_number = 0
    while not stop.is_set():
        try:
            if await is_our_round(pool, LEASE, interval_seconds):
                await _keep(pool, temporal, queues, full=round_number % ROUNDS_TO_FULL == 0)
                round_number += 1
            pulse.beat("schedules")
        except AWAY as error:
            log.info("the schedules are not compared now: %s", error)
        await pause(stop, interval_seconds)


async def _keep(pool: Pool, temporal: Client, queues: TaskQueues, *, full: bool) -> None:
    """One round. What is owed is made also while Temporal is away."""
    with contextlib.suppress(*AWAY):
        if made := await settle_schedules(pool):
            log.warning("made %d payout runs that Temporal had not brought", made)
    await reconcile(pool, temporal, queues, full=full)
