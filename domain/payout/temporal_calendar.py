"""A schedule's instants in the words of a Temporal Schedule: calendars in the schedule's own zone, which read well in Temporal's UI.

Temporal leaves out a local time that the clock skips, and takes the second one of those that come twice. So the first moment after each
gap, and each first occurrence, are named one by one; what else Temporal brings, the claim of the instant turns away.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim

from domain.local_time import clock_changes, first_moment
from domain.payout.recurrence import EPOCH, SECOND, Calendar, Pattern, When, pattern_of

HORIZON = timedelta(days=400)
WALL_START = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall clock's time has no zone
EVERY_DAY, EVERY_MONTH, EVERY_WEEKDAY = tuple(range(1, 32)), tuple(range(1, 13)), tuple(range(7))


class ClockTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Local times: every part has to be one of those listed. `day_of_week` 0 is Sunday; no `years` are all."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days_of_month: tuple[int, ...] = EVERY_DAY
    months: tuple[int, ...] = EVERY_MONTH
    days_of_week: tuple[int, ...] = EVERY_WEEKDAY
    years: tuple[int, ...] = ()


class Ticks(msgspec.Struct, frozen=True, kw_only=True):
    """When Temporal shall look at the schedule. `every` is (seconds, offset from the beginning of 1970); `single` are instants."""

    zone: str
    text: str
    calendars: tuple[ClockTimes, ...] = ()
    every: tuple[int, int] | None = None
    single: tuple[datetime, ...] = ()
    starts_at: datetime | None = None
    ends_at: datetime | None = None


def ticks_of(when: When, now: datetime) -> Ticks:
    """The ticks of a schedule. What is named one by one reaches 400 days from the beginning of this month: renew it in time."""
    starts_at = when.starts_at.astimezone(UTC) if isinstance(when.starts_at, datetime) else None
    ends_at = when.ends_at.astimezone(UTC) - timedelta(microseconds=1) if isinstance(when.ends_at, datetime) else None
    if isinstance(when.every_seconds, int):
        anchor = starts_at or EPOCH
        anchor += SECOND if anchor.microsecond else timedelta()
        every = (when.every_seconds, int((anchor - EPOCH) // SECOND) % when.every_seconds)
        return Ticks(zone="UTC", text=f"every {when.every_seconds} s", every=every, starts_at=starts_at, ends_at=ends_at)
    pattern = pattern_of(when)
    start = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return Ticks(
        zone=str(pattern.zone),
        text=pattern.expression if isinstance(when.calendar, Calendar) else str(when.cron),
        calendars=_calendars(pattern, start),
        single=tuple(_around_changes(pattern, start)),
        starts_at=starts_at,
        ends_at=ends_at,
    )


def _calendars(pattern: Pattern, start: datetime) -> tuple[ClockTimes, ...]:
    parsed: Any = CronSim(pattern.expression, WALL_START)
    minutes, hours = tuple(sorted(parsed.minutes)), tuple(sorted(parsed.hours))
    plain = all(isinstance(each, int) and each >= 0 for each in [*parsed.days, *parsed.weekdays])
    if not plain:  # the last day of a month, the second Tuesday
        return tuple(_dates(pattern, start, minutes, hours))
    times = ClockTimes(minutes=minutes, hours=hours, months=tuple(sorted(parsed.months)))
    days, weekdays = tuple(sorted(parsed.days)), tuple(sorted({each % 7 for each in parsed.weekdays}))
    if pattern.all_days:
        return (msgspec.structs.replace(times, days_of_month=days, days_of_week=weekdays),)
    return (msgspec.structs.replace(times, days_of_month=days), msgspec.structs.replace(times, days_of_week=weekdays))


def _dates(pattern: Pattern, start: datetime, minutes: tuple[int, ...], hours: tuple[int, ...]) -> Iterator[ClockTimes]:
    """One entry for each month to come, with the days of the month that fit."""
    days: dict[tuple[int, int], list[int]] = {}
    midnights = Pattern(expression=" ".join(["0 0", *pattern.expression.split()[2:]]), all_days=pattern.all_days, zone=pattern.zone)
    first = start.replace(tzinfo=None) - timedelta(days=2)
    for day in midnights.local_times(first):
        if day > first + HORIZON:
            break
        days.setdefault((day.year, day.month), []).append(day.day)
    for (year, month), fitting in days.items():
        yield ClockTimes(minutes=minutes, hours=hours, days_of_month=tuple(fitting), months=(month,), years=(year,))


def _around_changes(pattern: Pattern, start: datetime) -> Iterator[datetime]:
    for change in clock_changes(pattern.zone, start, start + HORIZON):
        before, after = _clocks(pattern.zone, change)
        times = pattern.local_times(min(before, after) - SECOND)
        if after > before:  # put forward: what it skips is due when it goes on
            if next(times, after) < after:
                yield change
        else:  # put back: what it shows twice is due at the first
            for local in times:
                if local >= before:
                    break
                yield first_moment(local, pattern.zone)


def _clocks(zone: ZoneInfo, change: datetime) -> tuple[datetime, datetime]:
    """What the clock would show at its change without it, and what it shows."""
    old = (change - SECOND).astimezone(zone).replace(tzinfo=None) + SECOND
    return old, change.astimezone(zone).replace(tzinfo=None)
