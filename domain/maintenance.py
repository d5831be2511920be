"""The platform's maintenance tasks, each a Temporal Schedule: what they are called, how often they run, what they say of themselves."""

from datetime import timedelta
from enum import StrEnum

import msgspec


class PlatformTask(StrEnum):
    """What runs for all tenants together."""

    PENDING_ACTIVATION = "pending-activation"  # points that waited long enough become available
    POINTS_EXPIRY = "points-expiry"  # old points expire; users are told seven days ahead
    TIER_REVIEW = "tier-review"  # periods of tiers end; changed sets reach every user
    CLEAN_UP = "clean-up"  # what is past its retention goes


class Timetable(msgspec.Struct, frozen=True, kw_only=True):
    """How often a task runs, from which offset into that time, and what it does, in one line."""

    every: timedelta
    offset: timedelta = timedelta(0)
    summary: str


TIMETABLES: dict[PlatformTask, Timetable] = {
    PlatformTask.PENDING_ACTIVATION: Timetable(every=timedelta(minutes=5), summary="points that waited long enough become available"),
    PlatformTask.POINTS_EXPIRY: Timetable(
        every=timedelta(hours=1), offset=timedelta(minutes=2), summary="old points expire, and users are told seven days ahead"
    ),
    PlatformTask.TIER_REVIEW: Timetable(
        every=timedelta(hours=1), offset=timedelta(minutes=12), summary="periods of tiers end, and changed sets reach every user"
    ),
    PlatformTask.CLEAN_UP: Timetable(
        every=timedelta(hours=1), offset=timedelta(minutes=32), summary="what is past its retention is taken away"
    ),
}


class PlatformRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run, or the rest of one: where it goes on, and what was done so far, by name."""

    task: PlatformTask
    cursor: list[str] = []
    done: dict[str, int] = {}
    is_over: bool = False


def platform_schedule_id(task: PlatformTask) -> str:
    """The id of the task's schedule, which its runs' workflow ids begin with."""
    return f"platform:{task.value}"


def added(done: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    """Both counts together, in the order in which their names first came."""
    return {name: done.get(name, 0) + more.get(name, 0) for name in [*done, *(name for name in more if name not in done)]}
