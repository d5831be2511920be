"""When a payout schedule is due: cron, calendar or interval, in its own time zone (contract 4, Payout schedules).

An instant is a whole second in UTC. A local time that the clock skips is due at the first moment after it; one that comes twice is due
once, at its first. Every change of `when` keeps the one before it: what is past stays as it was.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError
from msgspec import UNSET, Meta, UnsetType

from domain.errors import ValidationError
from domain.leaderboard.definition import WEEKDAYS, check_zone, zone_of
from domain.local_time import first_moment
from domain.wire import GivenInstant, convert_value

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SHORTEST_INTERVAL_SECONDS = 5
LONGEST_INTERVAL_SECONDS = 366 * 86_400
FIELDS = ("minute", "hour", "day_of_month", "month", "day_of_week")
_RANGES = {
    "minute": range(60),
    "hour": range(24),
    "day_of_month": range(1, 32),
    "month": range(1, 13),
    "day_of_week": range(7),
}

Number = Annotated[int, Meta(ge=0, le=59)]
Field = Number | Annotated[str, Meta(max_length=255)] | Annotated[list[Number | str], Meta(min_length=1, max_length=60)]


class Calendar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parts of a local time that all have to fit. Each is a number, a list, or text as in cron (`MON-FRI`, `1,15`, `L`)."""

    hour: Field = 0
    minute: Field = 0
    day_of_week: Field = "*"
    day_of_month: Field = "*"
    month: Field = "*"
    timezone: str = "UTC"


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of `cron`, `calendar`, `every_seconds`; due only where `starts_at` ≤ instant < `ends_at`."""

    cron: Annotated[str, Meta(max_length=255)] | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    calendar: Calendar | UnsetType = UNSET
    every_seconds: Annotated[int, Meta(ge=SHORTEST_INTERVAL_SECONDS, le=LONGEST_INTERVAL_SECONDS)] | UnsetType = UNSET
    starts_at: GivenInstant | UnsetType | None = UNSET
    ends_at: GivenInstant | UnsetType | None = UNSET


class WhenVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A `when` in force from `valid_from` on, until the next one. While `paused`, instants pass unpaid."""

    valid_from: datetime
    when: When
    paused: bool = False


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """Local times as cron says them. `all_days`: both the day of the month and the day of the week must fit; else one is enough."""

    expression: str
    all_days: bool
    zone: ZoneInfo

    def local_times(self, after: datetime) -> Iterator[datetime]:
        """The naive local times behind this one that fit, in order; none when there is none in 50 years."""
        times = CronSim(self.expression, after)
        times.day_and = self.all_days
        try:
            yield from times
        except (OverflowError, ValueError):  # the calendar ends with the year 9999
            return


def parse_when(value: Any, field: str = "when") -> When:
    """A decoded `when` as a checked one; ValidationError names the faulty field."""
    when = convert_value(value, When, field)
    kinds = [name for name in ("cron", "calendar", "every_seconds") if getattr(when, name) is not UNSET]
    if len(kinds) != 1:
        raise ValidationError.of(field, "must have exactly one of cron, calendar, every_seconds")
    if when.cron is UNSET and when.timezone is not UNSET:
        raise ValidationError.of(f"{field}.timezone", "is only for cron; a calendar has its own")
    if when.cron is not UNSET and when.timezone is UNSET:
        when = msgspec.structs.replace(when, timezone="UTC")
    starts_at, ends_at = when.starts_at or UNSET, when.ends_at or UNSET
    if starts_at is not UNSET and ends_at is not UNSET and starts_at >= ends_at:
        raise ValidationError.of(f"{field}.ends_at", "must be after starts_at")
    when = msgspec.structs.replace(when, starts_at=starts_at, ends_at=ends_at)
    if when.every_seconds is UNSET:
        _check_pattern(when, f"{field}.{kinds[0]}")
    return when


def when_wire(when: When) -> dict[str, Any]:
    """The `when` as JSON values, for the wire and the row; `load_when` gives it back."""
    wire: dict[str, Any] = msgspec.to_builtins(when)
    for name in ("starts_at", "ends_at"):
        instant = getattr(when, name)
        if isinstance(instant, datetime):
            wire[name] = instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    return wire


def load_when(value: Any) -> When:
    """A stored `when` as it is."""
    return msgspec.convert(value, When)


def _check_pattern(when: When, field: str) -> None:
    check_zone(_zone_name(when), f"{field.removesuffix('.cron')}.timezone")
    if isinstance(when.calendar, Calendar):
        for name in FIELDS:
            _check_field(name, getattr(when.calendar, name), f"{field}.{name}")
    elif len(str(when.cron).split()) != 5:
        raise ValidationError.of(field, "must have five fields: minute, hour, day of month, month, day of week")
    try:
        pattern = pattern_of(when)
        found = next(pattern.local_times(datetime(2000, 1, 1)), None)  # noqa: DTZ001 - a wall clock's time has no zone
    except (CronSimError, ValueError) as error:
        raise ValidationError.of(field, f"is not a time: {error}") from None
    if found is None:
        raise ValidationError.of(field, "never occurs")


def _check_field(name: str, value: Field, where: str) -> None:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, int) and each not in _RANGES[name]:
            raise ValidationError.of(where, f"must be from {_RANGES[name].start} to {_RANGES[name].stop - 1}")
        try:
            fields = {"minute": "0", "hour": "0", "day_of_month": "*", "month": "*", "day_of_week": "*"} | {name: _text(each)}
            CronSim(" ".join(fields[part] for part in FIELDS), datetime(2000, 1, 1))  # noqa: DTZ001
        except (CronSimError, ValueError) as error:
            raise ValidationError.of(where, f"{each!r} is not valid: {error}") from None


def _text(value: Field | str) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return value.upper()[:3] if isinstance(value, str) and value.lower() in WEEKDAYS else str(value)


def _zone_name(when: When) -> str:
    return when.calendar.timezone if isinstance(when.calendar, Calendar) else str(when.timezone)


def pattern_of(when: When) -> Pattern:
    """The local times of a `when` that has a cron or a calendar."""
    zone = zone_of(_zone_name(when))
    if isinstance(when.calendar, Calendar):
        expression = " ".join(_text(getattr(when.calendar, name)) for name in FIELDS)
        return Pattern(expression=expression, all_days=True, zone=zone)
    expression = " ".join(str(when.cron).split())
    return Pattern(expression=expression, all_days=bool(CronSim(expression, datetime(2000, 1, 1)).day_and), zone=zone)  # noqa: DTZ001


def instants_after(when: When, after: datetime) -> Iterator[datetime]:
    """The instants of one `when` that are later than this one, in order."""
    starts_at = when.starts_at or None
    if isinstance(starts_at, datetime) and after < starts_at:
        after = starts_at.astimezone(UTC) - timedelta(microseconds=1)
    ends_at = when.ends_at
    for instant in _every(when, after) if isinstance(when.every_seconds, int) else _patterned(pattern_of(when), after):
        if isinstance(ends_at, datetime) and instant >= ends_at:
            return
        yield instant


def _every(when: When, after: datetime) -> Iterator[datetime]:
    """Counted from `starts_at`, or else from the beginning of 1970, so that every hour is on the hour."""
    assert isinstance(when.every_seconds, int)
    step = timedelta(seconds=when.every_seconds)
    anchor = when.starts_at.astimezone(UTC) if isinstance(when.starts_at, datetime) else EPOCH
    if anchor.microsecond:
        anchor = anchor.replace(microsecond=0) + SECOND
    instant = anchor + ((after - anchor) // step + 1) * step
    while True:
        yield instant
        instant += step


def _patterned(pattern: Pattern, after: datetime) -> Iterator[datetime]:
    """Local times only ever mean later instants as they go on, so nothing before the local time of `after` is later than it."""
    last = after
    for local in pattern.local_times(after.astimezone(pattern.zone).replace(tzinfo=None)):
        instant = first_moment(local, pattern.zone)
        if instant > last:
            yield instant
            last = instant


def is_instant(history: Sequence[WhenVersion], instant: datetime) -> bool:
    """Whether the schedule is, or was, due at this very instant."""
    return next(instants_between(history, instant, instant + timedelta(microseconds=1)), None) is not None


def version_at(history: Sequence[WhenVersion], instant: datetime) -> WhenVersion:
    """The version in force at this instant; before the first one, the first."""
    return next((each for each in reversed(history) if each.valid_from <= instant), history[0])


def instants_between(history: Sequence[WhenVersion], start: datetime, end: datetime) -> Iterator[datetime]:
    """The instants with start ≤ instant < end, each by the `when` in force then (before the first one by the first), in order.

    `history` is in the order of `valid_from`. Pauses are not looked at: that is for whoever asks.
    """
    for number, version in enumerate(history):
        begins = start if number == 0 else max(start, version.valid_from)
        ends = end if number + 1 == len(history) else min(end, history[number + 1].valid_from)
        if begins < ends:
            for instant in instants_after(version.when, begins - timedelta(microseconds=1)):
                if instant >= ends:
                    break
                yield instant


def next_instants(history: Sequence[WhenVersion], now: datetime, count: int) -> list[datetime]:
    """The next `count` instants after `now`, by the latest `when`; fewer when it ends."""
    return list(islice(instants_after(history[-1].when, now), count))
