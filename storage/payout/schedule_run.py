"""The runs of payout schedules: one for each instant, whoever asks for it and however often (contract 4)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

import msgspec

from domain.errors import ValidationError
from domain.payout.recurrence import WhenVersion, instants_after, instants_between, is_instant, version_at
from domain.payout.run import NewRun
from domain.payout.schedule import InstantClaim, InstantVerdict, Overlap, Schedule, ScheduledRun, overlap_verdict
from domain.reward.config import ConfigTier, RunConfig
from runtime.postgres import Connection
from storage.payout.run import create_run
from storage.payout.schedule import find_any_schedule, history_of, settle_until
from storage.reward.config import run_config_at, run_config_of
from storage.tenant.tenant import is_suspended

MAX_BACKFILL = 1000
SETTLED_AT_ONCE = 500
LOOK_AGAIN = timedelta(days=1)
"""When a schedule that has come to its end is looked at again."""
_MICROSECOND = timedelta(microseconds=1)


def new_run(schedule: Schedule, instant: datetime, trigger: str, config: RunConfig) -> NewRun:
    """The run of this instant, with copies of what is given to whom."""
    return NewRun(
        source_type="schedule",
        schedule_id=schedule.schedule_id,
        instant=instant,
        trigger=trigger,
        audience=schedule.audience,
        config=config,
    )


async def schedule_config(connection: Connection, schedule: Schedule, now: datetime) -> RunConfig:
    """What a run that is made now gives: the items, or the config in force; of two budgets for the same thing the lower one."""
    if schedule.reward_config_id is None:
        tiers = [ConfigTier(item_ids=schedule.item_ids or [])]
        return await run_config_of(connection, schedule.tenant_id, tiers, schedule.budget)
    config = await run_config_at(connection, schedule.tenant_id, schedule.reward_config_id, now)
    budget = config.budget | {key: min(limit, config.budget.get(key, limit)) for key, limit in schedule.budget.items()}
    return await run_config_of(connection, schedule.tenant_id, config.tiers, budget)


async def claim_instant(connection: Connection, tenant_id: UUID, schedule_id: UUID, instant: datetime, *, now: datetime) -> InstantClaim:
    """The run of an instant that has come: made now, or the one that it has. Who asks starts its workflow.

    None for what is no instant of the schedule by the `when` in force then, for a pause, and for a run under way with `skip`.
    """
    schedule = await find_any_schedule(connection, tenant_id, schedule_id, lock=True)
    run_id = await _run_at(connection, tenant_id, schedule_id, instant)
    if run_id is not None:
        return InstantClaim(run_id=run_id, leaderboard_id=None if schedule is None else schedule.audience.get("leaderboard_id"))
    if schedule is None or schedule.archived_at is not None:
        return InstantClaim(reason="the schedule was deleted")
    if await is_suspended(connection, tenant_id):
        return InstantClaim(reason="the tenant is suspended; when it is active again, instants within catchup_seconds are paid")
    history = await history_of(connection, tenant_id, schedule_id)
    if not is_instant(history, instant):
        return InstantClaim(reason="not an instant of the schedule: a local time that occurs twice is paid the first time")
    if version_at(history, instant).paused:
        return InstantClaim(reason="the schedule was paused")
    if schedule.overlap is Overlap.SKIP:
        runs = await _scheduled_runs(connection, schedule, instant, instant)
        if overlap_verdict(schedule.overlap, history, runs, instant) is InstantVerdict.SKIPPED:
            return InstantClaim(reason="the previous run is still in progress")
    run = new_run(schedule, instant, "schedule", await schedule_config(connection, schedule, now))
    run_id = await create_run(connection, tenant_id, run, now, start=False)
    return InstantClaim(run_id=run_id, leaderboard_id=schedule.audience.get("leaderboard_id"))


async def _run_at(connection: Connection, tenant_id: UUID, schedule_id: UUID, instant: datetime) -> UUID | None:
    cursor = await connection.execute(
        "SELECT payout_run_id FROM payout_run WHERE tenant_id = %s AND schedule_id = %s AND instant = %s", (tenant_id, schedule_id, instant)
    )
    row = await cursor.fetchone()
    return None if row is None else row["payout_run_id"]


async def trigger_run(connection: Connection, schedule: Schedule, now: datetime) -> UUID:
    """A run of this very moment, whatever else is under way, and also while the schedule is paused. Its workflow starts at commit."""
    config = await schedule_config(connection, schedule, now)
    while True:
        run_id = await create_run(connection, schedule.tenant_id, new_run(schedule, now, "manual", config), now)
        if run_id is not None:
            return run_id
        now += _MICROSECOND  # somebody else's trigger came in the same microsecond


class Backfill(msgspec.Struct, frozen=True):
    """The instants that got a run now, and those that had one."""

    instants: list[datetime]
    skipped: list[datetime]


async def backfill_runs(connection: Connection, schedule: Schedule, start: datetime, end: datetime, *, now: datetime) -> Backfill:
    """A run for each past instant with start ≤ instant < end that has none; ValidationError for more than 1000. Lock the schedule."""
    history = await history_of(connection, schedule.tenant_id, schedule.schedule_id)
    instants = list(islice(instants_between(history, start, min(end, now)), MAX_BACKFILL + 1))
    if len(instants) > MAX_BACKFILL:
        raise ValidationError.of("to", f"spans more than {MAX_BACKFILL} instants; the first thousand end before {instants[-1]:%FT%TZ}")
    known = await _instants_with_run(connection, schedule, instants)
    config = await schedule_config(connection, schedule, now)
    made: list[datetime] = []
    had: list[datetime] = []
    for instant in instants:
        run = new_run(schedule, instant, "backfill", config)
        is_new = instant not in known and await create_run(connection, schedule.tenant_id, run, now) is not None
        (made if is_new else had).append(instant)
    return Backfill(made, had)


async def _instants_with_run(connection: Connection, schedule: Schedule, instants: Sequence[datetime]) -> set[datetime]:
    cursor = await connection.execute(
        "SELECT instant FROM payout_run WHERE tenant_id = %s AND schedule_id = %s AND instant = ANY(%s)",
        (schedule.tenant_id, schedule.schedule_id, list(instants)),
    )
    return {row["instant"] for row in await cursor.fetchall()}


async def _scheduled_runs(connection: Connection, schedule: Schedule, start: datetime, end: datetime) -> list[ScheduledRun]:
    """The runs by schedule that were under way at some time from `start` to `end`."""
    cursor = await connection.execute(
        """
        SELECT instant, created_at, finished_at FROM payout_run
        WHERE tenant_id = %s AND schedule_id = %s AND trigger = 'schedule' AND created_at <= %s AND coalesce(finished_at >= %s, true)
        """,
        (schedule.tenant_id, schedule.schedule_id, end, start),
    )
    return [ScheduledRun(row["instant"], row["created_at"], row["finished_at"]) for row in await cursor.fetchall()]


async def settle_instants(connection: Connection, tenant_id: UUID, schedule_id: UUID, *, until: datetime, now: datetime) -> int:
    """Make the runs that are owed for instants before `until` and that nobody made; answers how many.

    Nothing is owed for what is longer ago than the schedule's catch-up, came during a pause, or overlapped with a run.
    """
    schedule = await find_any_schedule(connection, tenant_id, schedule_id, lock=True)
    if schedule is None or schedule.archived_at is not None:
        return 0
    start = max(schedule.settled_until, now - timedelta(seconds=schedule.catchup_seconds))
    if start >= until:  # whatever there was is longer ago than the catch-up: nothing is owed, and nobody need look again
        await settle_until(connection, schedule, until)
        return 0
    history = await history_of(connection, tenant_id, schedule_id)
    instants = list(islice(instants_between(history, start, until), SETTLED_AT_ONCE))
    if len(instants) == SETTLED_AT_ONCE:
        until = instants[-1] + _MICROSECOND
    following = next(instants_after(history[-1].when, until - _MICROSECOND), now + LOOK_AGAIN)
    owed, settled = await _owed(connection, schedule, history, instants)
    config = await schedule_config(connection, schedule, now) if owed else None
    made = 0
    for instant in owed:
        assert config is not None
        made += await create_run(connection, tenant_id, new_run(schedule, instant, "schedule", config), now) is not None
    await settle_until(connection, schedule, following if settled is None else settled)
    return made


async def _owed(
    connection: Connection, schedule: Schedule, history: Sequence[WhenVersion], instants: Sequence[datetime]
) -> tuple[list[datetime], datetime | None]:
    """Those of these instants that are owed a run; and the first that waits for the end of a run, behind which nothing is settled yet."""
    known = await _instants_with_run(connection, schedule, instants)
    missing = [each for each in instants if each not in known and not version_at(history, each).paused]
    if not missing:
        return [], None
    runs = await _scheduled_runs(connection, schedule, missing[0], missing[-1])
    owed: list[datetime] = []
    for instant in missing:
        verdict = overlap_verdict(schedule.overlap, history, runs, instant)
        if verdict is InstantVerdict.BUFFERED:
            return owed, instant
        if verdict is InstantVerdict.OWED:
            owed.append(instant)
    return owed, None
