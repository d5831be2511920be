"""Payout schedules as people write and see them (contract 4, Payout schedules)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.leaderboard.definition import zone_of
from domain.payout.recurrence import When, WhenVersion, load_when, next_instants
from domain.payout.schedule import Audience, Overlap, Schedule, temporal_schedule_id
from domain.payout.temporal_calendar import ticks_of
from domain.reward.config import budget_wire
from domain.wire import Id, Instant, NextCursor, Number, rfc3339

SHOWN_INSTANTS = 10


def schedule_body_wire(schedule: Schedule, places: Mapping[str, int]) -> dict[str, Any]:
    """What an admin may write of the schedule: `parse_schedule` takes it back, so PATCH is this with the changes on top."""
    return {
        "name": schedule.name,
        "when": schedule.due,
        "audience": schedule.audience,
        "reward_config_id": None if schedule.reward_config_id is None else str(schedule.reward_config_id),
        "item_ids": None if schedule.item_ids is None else [str(item_id) for item_id in schedule.item_ids],
        "budget": budget_wire(schedule.budget, places) or None,
        "overlap": schedule.overlap.value,
        "catchup_seconds": schedule.catchup_seconds,
        "paused": schedule.paused,
        "note": schedule.note,
    }


class WhenVersionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """When a schedule was due from `valid_from` on."""

    when: When
    paused: bool
    valid_from: Instant


class ScheduleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A payout schedule: who is paid what, and when."""

    schedule_id: Id
    name: Annotated[str, Meta(examples=["Weekly bonus"])]
    when: When
    audience: Audience
    reward_config_id: Annotated[Id | None, Meta(description="What is given, by rank; null where item_ids say it")]
    item_ids: Annotated[list[Id] | None, Meta(description="What everybody gets; null where a config says it")]
    budget: Annotated[dict[str, Number] | None, Meta(description="Most for one run: amounts by currency, counts by item id")]
    overlap: Overlap
    catchup_seconds: Annotated[int, Meta(description="Instants missed by no more than this are paid late", examples=[86_400])]
    paused: bool
    note: str | None
    next_instants: Annotated[list[Instant], Meta(description="The next ten, also while the schedule is paused")]
    when_history: list[WhenVersionAnswer]
    temporal_schedule_id: Annotated[str, Meta(description="For the Temporal UI")]
    version: Annotated[int, Meta(description="For If-Match", examples=[1])]
    created_at: Instant
    updated_at: Instant


class ScheduleListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Payout schedules, newest first."""

    schedules: list[ScheduleAnswer]
    next_cursor: NextCursor


class UpcomingInstant(msgspec.Struct, frozen=True, kw_only=True):
    """An instant, and what the clock of the schedule's zone shows then."""

    instant: Instant
    local_time: Annotated[str, Meta(examples=["2025-11-18T13:00:00+01:00"])]


class ClockChangeAnswer(UpcomingInstant, frozen=True, kw_only=True):
    """An instant that a change of the zone's clock moves."""

    note: Annotated[str, Meta(examples=["this local time comes twice: it runs at the first"])]


class Upcoming(msgspec.Struct, frozen=True, kw_only=True):
    """What is next by the clock of a schedule's zone."""

    next_instants: list[UpcomingInstant]
    clock_changes: Annotated[list[ClockChangeAnswer], Meta(description="Of the next months")]


def schedule_answer(schedule: Schedule, history: Sequence[WhenVersion], places: Mapping[str, int], now: datetime) -> ScheduleAnswer:
    """The schedule as admins see it."""
    return ScheduleAnswer(
        schedule_id=schedule.schedule_id,
        name=schedule.name,
        when=load_when(schedule.due),
        audience=msgspec.convert(schedule.audience, Audience),
        reward_config_id=schedule.reward_config_id,
        item_ids=schedule.item_ids,
        budget=budget_wire(schedule.budget, places) or None,
        overlap=schedule.overlap,
        catchup_seconds=schedule.catchup_seconds,
        paused=schedule.paused,
        note=schedule.note,
        next_instants=[rfc3339(each) for each in next_instants(history, now, SHOWN_INSTANTS)],
        when_history=[WhenVersionAnswer(when=each.when, paused=each.paused, valid_from=rfc3339(each.valid_from)) for each in history],
        temporal_schedule_id=temporal_schedule_id(schedule.tenant_id, schedule.schedule_id),
        version=schedule.version,
        created_at=rfc3339(schedule.created_at),
        updated_at=rfc3339(schedule.updated_at),
    )


def upcoming(schedule: Schedule, now: datetime) -> Upcoming:
    """The next instants by the clock of the schedule's zone; and those of the next months that a change of that clock moves."""
    when = load_when(schedule.due)
    ticks = ticks_of(when, now)
    zone = zone_of(ticks.zone)
    history = [WhenVersion(valid_from=now, when=when)]

    def clock(instant: datetime) -> str:
        return instant.astimezone(zone).isoformat()

    changes = []
    for instant in ticks.single:
        local = instant.astimezone(zone)
        twice = local.replace(fold=1).utcoffset() != local.utcoffset()
        note = "this local time comes twice: it runs at the first" if twice else "the clock skips the local time: it runs right after"
        if instant > now:
            changes.append(ClockChangeAnswer(instant=rfc3339(instant), local_time=clock(instant), note=note))
    following = [UpcomingInstant(instant=rfc3339(each), local_time=clock(each)) for each in next_instants(history, now, SHOWN_INSTANTS)]
    return Upcoming(next_instants=following, clock_changes=changes)
