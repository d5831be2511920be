"""Windows of a board: half-open spans of time, gap-free and overlap-free across DST, each with its key (contract 3)."""

import re
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from domain.leaderboard.definition import WEEKDAYS, Timeframe, TimeframeType, zone_of
from domain.local_time import first_moment, transition
from domain.wire import rfc3339

_MICROSECOND = timedelta(microseconds=1)
_HOUR_KEY = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2})([+-]\d{2}:\d{2}(?::\d{2})?)?")


class WindowSpan(msgspec.Struct, frozen=True):
    """`starts_at ≤ instant < ends_at` in UTC; both None for `all_time`."""

    key: str
    starts_at: datetime | None
    ends_at: datetime | None

    def closes_at(self, grace_seconds: int) -> datetime | None:
        """The planned end of counting: `ends_at` + grace; None if the window never ends."""
        return None if self.ends_at is None else self.ends_at + timedelta(seconds=grace_seconds)


ALL_TIME = WindowSpan("all", None, None)


def window_at(timeframe: Timeframe, instant: datetime) -> WindowSpan | None:
    """The window that holds the instant; None only outside a custom timeframe."""
    if timeframe.type is TimeframeType.ALL_TIME:
        return ALL_TIME
    if timeframe.type is TimeframeType.CUSTOM:
        span = _custom(timeframe)
        return span if span.starts_at <= instant < span.ends_at else None  # type: ignore[operator]
    if timeframe.type is TimeframeType.HOURLY:
        return _hour_at(timeframe, instant.astimezone(UTC))
    return _dated_at(timeframe, instant.astimezone(UTC))


def window_for_key(timeframe: Timeframe, key: str) -> WindowSpan | None:
    """The window of this key; None if the timeframe has no such window."""
    if timeframe.type is TimeframeType.ALL_TIME:
        return ALL_TIME if key == ALL_TIME.key else None
    if timeframe.type is TimeframeType.CUSTOM:
        span = _custom(timeframe)
        return span if key == span.key else None
    try:
        candidates = _hour_candidates(timeframe, key) if timeframe.type is TimeframeType.HOURLY else [_dated_start(timeframe, key)]
        for candidate in candidates:
            found = window_at(timeframe, candidate)
            if found is not None and found.key == key:
                return found
    except (ValueError, OverflowError):
        pass
    return None


def next_window(timeframe: Timeframe, span: WindowSpan) -> WindowSpan | None:
    """The window that begins where this one ends; None for `custom` and `all_time`."""
    if span.ends_at is None or timeframe.type is TimeframeType.CUSTOM:
        return None
    return window_at(timeframe, span.ends_at)


def _custom(timeframe: Timeframe) -> WindowSpan:
    starts_at, ends_at = timeframe.starts_at, timeframe.ends_at
    assert isinstance(starts_at, datetime)
    assert isinstance(ends_at, datetime)
    return WindowSpan(rfc3339(starts_at), starts_at.astimezone(UTC), ends_at.astimezone(UTC))


# Days, weeks, months: a window begins at the first moment at which the local clock shows its date and the reset time, or later.


def _dated_at(timeframe: Timeframe, instant: datetime) -> WindowSpan:
    local_date = instant.astimezone(zone_of(timeframe.timezone)).date()
    # The local date can run ahead of or behind the windows' dates by the reset time and by a change of the date line.
    day = _first_date(timeframe, local_date + timedelta(days=2))
    starts_at = _boundary(timeframe, day)
    while starts_at > instant:
        day = _first_date(timeframe, day - timedelta(days=1))
        starts_at = _boundary(timeframe, day)
    ends_at = _boundary(timeframe, _date_after(timeframe, day))
    return WindowSpan(_date_key(timeframe, day), starts_at, ends_at)


def _first_date(timeframe: Timeframe, day: date) -> date:
    """The latest date at or before `day` on which a window can begin."""
    if timeframe.type is TimeframeType.WEEKLY:
        return day - timedelta(days=(day.weekday() - WEEKDAYS.index(str(timeframe.reset_day or WEEKDAYS[0]))) % 7)
    if timeframe.type is TimeframeType.MONTHLY:
        reset_day = int(timeframe.reset_day or 1)
        return (day if day.day >= reset_day else day.replace(day=1) - timedelta(days=1)).replace(day=reset_day)
    return day


def _date_after(timeframe: Timeframe, day: date) -> date:
    if timeframe.type is TimeframeType.MONTHLY:
        return (day.replace(day=1) + timedelta(days=31)).replace(day=day.day)
    return day + timedelta(days=7 if timeframe.type is TimeframeType.WEEKLY else 1)


def _date_key(timeframe: Timeframe, day: date) -> str:
    if timeframe.type is TimeframeType.MONTHLY:
        return f"{day.year:04}-{day.month:02}"
    if timeframe.type is TimeframeType.WEEKLY:
        year, week, _ = day.isocalendar()
        return f"{year:04}-W{week:02}"
    return day.isoformat()


def _dated_start(timeframe: Timeframe, key: str) -> datetime:
    if timeframe.type is TimeframeType.MONTHLY:
        day = _first_date(timeframe, date.fromisoformat(f"{key}-28"))
    elif timeframe.type is TimeframeType.WEEKLY:
        year, _, week = key.partition("-W")
        day = _first_date(timeframe, date.fromisocalendar(int(year), int(week), 7))
    else:
        day = date.fromisoformat(key)
    return _boundary(timeframe, day)


def _boundary(timeframe: Timeframe, day: date) -> datetime:
    """The first moment of the window of this date; a reset time inside a DST gap is the first moment after the gap."""
    return first_moment(datetime.combine(day, time.fromisoformat(timeframe.reset_time)), zone_of(timeframe.timezone))


# Hours: a window is a run of instants that show the same local hour, cut where the clock is put back.


def _hour_at(timeframe: Timeframe, instant: datetime) -> WindowSpan:
    zone = zone_of(timeframe.timezone)

    def local(moment: datetime) -> datetime:
        return moment.astimezone(zone)

    def label(moment: datetime) -> datetime:
        return local(moment).replace(minute=0, second=0, microsecond=0, tzinfo=None, fold=0)

    here = local(instant)
    hour, offset = label(instant), here.utcoffset()
    into = timedelta(minutes=here.minute, seconds=here.second, microseconds=here.microsecond)
    starts_at, ends_at = instant - into, instant - into + timedelta(hours=1)
    if local(starts_at).utcoffset() != offset or label(starts_at) != hour:
        starts_at = _run_start(starts_at, instant, local)
    if local(ends_at - _MICROSECOND).utcoffset() != offset:
        ends_at = _run_end(instant, ends_at, local)
    first = local(starts_at)
    key = f"{hour:%Y-%m-%dT%H}" if hour.year >= 1000 else f"{hour.year:04}-{hour:%m-%dT%H}"
    return WindowSpan(key + (_offset_key(first) if first.fold else ""), starts_at, ends_at)


Local = Callable[[datetime], datetime]


def _run_start(earliest: datetime, instant: datetime, local: Local) -> datetime:
    """Where this hour began, when the zone's offset changed within it: at the change, or, put forward within the hour, before it."""
    changed = transition(earliest - timedelta(seconds=1), instant, lambda moment: local(moment).utcoffset() == local(instant).utcoffset())
    before, after = local(changed - _MICROSECOND).replace(tzinfo=None), local(changed).replace(tzinfo=None)
    hour = local(instant).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    if hour <= before < after:
        return changed - _MICROSECOND - (before - hour)
    return changed


def _run_end(instant: datetime, latest: datetime, local: Local) -> datetime:
    """Where this hour ends, when the zone's offset changes within it: at the change, or, put forward within the hour, after it."""
    changed = transition(instant, latest, lambda moment: local(moment).utcoffset() != local(instant).utcoffset())
    after = local(changed).replace(tzinfo=None)
    end = local(instant).replace(minute=0, second=0, microsecond=0, tzinfo=None) + timedelta(hours=1)
    if local(changed - _MICROSECOND).replace(tzinfo=None) < after < end:
        return changed + (end - after)
    return changed


def _offset_key(local: datetime) -> str:
    offset = local.utcoffset() or timedelta()
    return local.isoformat()[-6 if offset.seconds % 60 == 0 else -9 :]


def _hour_candidates(timeframe: Timeframe, key: str) -> list[datetime]:
    found = _HOUR_KEY.fullmatch(key)
    if found is None:
        return []
    hour = datetime.fromisoformat(f"{found[1]}T{found[2]}:00").replace(tzinfo=zone_of(timeframe.timezone))
    minutes = (0, 15, 30, 45, 59)
    return [hour.replace(minute=minute, fold=fold).astimezone(UTC) for fold in (0, 1) for minute in minutes]


class WindowIndex:
    """Windows already computed, for scoring: `find` is a bisection, not a computation in the zone for each event."""

    CAPACITY = 50_000

    def __init__(self, timeframe: Timeframe) -> None:
        self.timeframe = timeframe
        self._starts: list[datetime] = []
        self._spans: list[WindowSpan] = []
        self._last: WindowSpan | None = None

    def find(self, instant: datetime) -> WindowSpan | None:
        """The same as `window_at`."""
        last = self._last
        if last is not None and (last.ends_at is None or last.starts_at <= instant < last.ends_at):  # type: ignore[operator]
            return last
        place = bisect_right(self._starts, instant)
        if place:
            span = self._spans[place - 1]
            if span.ends_at is None or instant < span.ends_at:
                self._last = span
                return span
        found = window_at(self.timeframe, instant)
        if found is not None:
            self._last = found
            if found.starts_at is not None:
                self._remember(place, found)
        return found

    def _remember(self, place: int, span: WindowSpan) -> None:
        if len(self._spans) >= self.CAPACITY:
            self._starts.clear()
            self._spans.clear()
            place = 0
        assert span.starts_at is not None
        self._starts.insert(place, span.starts_at)
        self._spans.insert(place, span)
