"""Payout schedules as people write and see them (contract 4, Payout schedules)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from domain.leaderboard.definition import zone_of
from domain.payout.recurrence import WhenVersion, load_when, next_instants, when_wire
from domain.payout.schedule import Schedule, temporal_schedule_id
from domain.payout.temporal_calendar import ticks_of
from domain.reward.config import budget_wire
from domain.wire import rfc3339

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


def schedule_wire(schedule: Schedule, history: Sequence[WhenVersion], places: Mapping[str, int], now: datetime) -> dict[str, Any]:
    """The schedule with its next 10 instants (also while it is paused) and every `when` that it had."""
    return {
        "schedule_id": str(schedule.schedule_id),
        **schedule_body_wire(schedule, places),
        "next_instants": [rfc3339(each) for each in next_instants(history, now, SHOWN_INSTANTS)],
        "when_history": [_version_wire(each) for each in history],
        "temporal_schedule_id": temporal_schedule_id(schedule.tenant_id, schedule.schedule_id),
        "version": schedule.version,
        "created_at": rfc3339(schedule.created_at),
        "updated_at": rfc3339(schedule.updated_at),
    }


def _version_wire(version: WhenVersion) -> dict[str, Any]:
    return {"when": when_wire(version.when), "paused": version.paused, "valid_from": rfc3339(version.valid_from)}


def upcoming_wire(schedule: Schedule, now: datetime) -> dict[str, Any]:
    """The next instants by the clock of the schedule's zone; and those of the next months that a change of that clock moves."""
    when = load_when(schedule.due)
    ticks = ticks_of(when, now)
    zone = zone_of(ticks.zone)
    history = [WhenVersion(valid_from=now, when=when)]

    def shown(instant: datetime) -> dict[str, str]:
        return {"instant": rfc3339(instant), "local_time": instant.astimezone(zone).isoformat()}

    notes = []
    for instant in ticks.single:
        local = instant.astimezone(zone)
        twice = local.replace(fold=1).utcoffset() != local.utcoffset()
        note = "this local time comes twice: it runs at the first" if twice else "the clock skips the local time: it runs right after"
        if instant > now:
            notes.append({**shown(instant), "note": note})
    return {"next_instants": [shown(each) for each in next_instants(history, now, SHOWN_INSTANTS)], "clock_changes": notes}
