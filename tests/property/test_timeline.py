"""Boards that change what their windows are: still no gap and no overlap, as an independent account of the calendar says."""

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.leaderboard.definition import WEEKDAYS, Aggregation, Method, Timeframe, TimeframeType, TimelineSegment
from domain.leaderboard.window import WindowSpan
from domain.leaderboard.window_sequence import (
    NOTICE,
    SegmentIndex,
    changed,
    find_window,
    find_window_by_key,
    following_window,
    segment_at,
)
from tests.property.test_window import HARD

ZONES = [*HARD[:8], "UTC", "Asia/Ho_Chi_Minh", "Pacific/Kiritimati", "Pacific/Midway"]
MICROSECOND = timedelta(microseconds=1)


@st.composite
def wanted(draw: st.DrawFn) -> TimelineSegment:
    kind = draw(st.sampled_from(["hourly", "daily", "weekly", "monthly"]))
    parts: dict[str, str | int] = {}
    if kind == "weekly":
        parts["reset_day"] = draw(st.sampled_from(WEEKDAYS))
    if kind == "monthly":
        parts["reset_day"] = draw(st.integers(1, 28))
    reset = f"{draw(st.integers(0, 23)):02}:{draw(st.sampled_from([0, 30])):02}"
    zone = draw(st.sampled_from(ZONES))
    timeframe = Timeframe(type=TimeframeType(kind), timezone=zone, reset_time=reset, grace_seconds=0, **parts)  # type: ignore[arg-type]
    return TimelineSegment(
        timeframe=timeframe, aggregation=draw(st.sampled_from(list(Aggregation))), method=draw(st.sampled_from(list(Method)))
    )


def calendar_boundaries(timeframe: Timeframe, since: datetime, until: datetime) -> list[datetime]:
    """The instants at which windows of the timeframe begin: by walking over local dates, or over every quarter of an hour."""
    zone = zoneinfo.ZoneInfo(timeframe.timezone)
    if timeframe.type is TimeframeType.HOURLY:
        return _hours(zone, since, until)
    found, day, reset = [], since.date() - timedelta(days=40), time.fromisoformat(timeframe.reset_time)
    while day < until.date() + timedelta(days=40):
        if _begins(timeframe, day):
            found.append(_first_moment(zone, datetime.combine(day, reset)))
        day += timedelta(days=1)
    return sorted(set(found))


def _begins(timeframe: Timeframe, day: date) -> bool:
    if timeframe.type is TimeframeType.WEEKLY:
        return WEEKDAYS[day.weekday()] == timeframe.reset_day
    return timeframe.type is TimeframeType.DAILY or day.day == timeframe.reset_day


def _first_moment(zone: zoneinfo.ZoneInfo, local: datetime) -> datetime:
    """The first instant at which the clock on the wall shows this or more: by halving two days."""
    low, high = local.replace(tzinfo=UTC) - timedelta(hours=30), local.replace(tzinfo=UTC) + timedelta(hours=30)
    # The clock may be put back over `local`; go from the early side in steps shorter than any such hour.
    step = timedelta(minutes=15)
    while low < high and (low + step).astimezone(zone).replace(tzinfo=None) < local:
        low += step
    high = low + step
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        middle = middle if middle > low else low + timedelta(seconds=1)
        low, high = (low, middle) if middle.astimezone(zone).replace(tzinfo=None) >= local else (middle, high)
    return high


def _hours(zone: zoneinfo.ZoneInfo, since: datetime, until: datetime) -> list[datetime]:
    """Where the label of the hour, or which of two equal hours it is, changes from one quarter (of zones of our days) to the next."""
    found, instant = [], since.replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    while instant < until + timedelta(hours=3):
        before, here = (instant - MICROSECOND).astimezone(zone), instant.astimezone(zone)
        if (before.hour, before.date(), before.fold) != (here.hour, here.date(), here.fold):
            found.append(instant)
        instant += timedelta(minutes=15)
    return found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_changes_leave_neither_gap_nor_overlap(data: st.DataObject) -> None:
    first = data.draw(wanted())
    line: tuple[TimelineSegment, ...] = (first,)
    start = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=data.draw(st.integers(0, 700 * 24 * 60)))
    now = start
    for _ in range(data.draw(st.integers(1, 4))):
        now += timedelta(minutes=data.draw(st.sampled_from([0, 7, 59, 61, 600, 3000, 15_000])))
        before = line
        window = find_window(before, now + NOTICE)
        target = data.draw(wanted())
        line = tuple(changed(before, target, after=now + NOTICE))
        assert window is not None
        assert window.ends_at is not None
        _check_change(before, line, target, now=now, switch=window.ends_at)
    _check_walk(line, start - timedelta(days=2), now + timedelta(days=3))


def _check_change(
    before: tuple[TimelineSegment, ...], after: tuple[TimelineSegment, ...], target: TimelineSegment, *, now: datetime, switch: datetime
) -> None:
    """Everything that begins within the hour stays; from the first window that begins later on it is what was wanted."""
    assert switch > now + NOTICE
    instant = now - timedelta(days=1)
    while instant < switch:
        assert find_window(after, instant) == find_window(before, instant)
        instant = min(switch, instant + timedelta(hours=5, minutes=7)) if instant < switch - MICROSECOND else switch
    held = segment_at(after, switch)
    same = msgspec.structs.replace(held, starts_at=None, taken=None)
    assert same == msgspec.structs.replace(target, starts_at=None, taken=None)
    begun = find_window(after, switch)
    assert begun is not None
    assert begun.starts_at == switch, "it begins where the last one ended"


def _check_walk(line: tuple[TimelineSegment, ...], since: datetime, until: datetime) -> None:
    """Walk through all windows: each begins where the one before ended, has a key of its own, and ends where the calendar says."""
    span = find_window(line, since)
    keys: set[str] = set()
    boundaries: dict[TimelineSegment, list[datetime]] = {}
    for _ in range(150):
        assert span is not None
        assert span.starts_at is not None
        assert span.ends_at is not None
        assert span.starts_at < span.ends_at
        assert span.key not in keys
        keys.add(span.key)
        assert find_window_by_key(line, span.key) == span
        for moment in (span.starts_at, span.starts_at + (span.ends_at - span.starts_at) / 2, span.ends_at - MICROSECOND):
            assert find_window(line, moment) == span
        segment = segment_at(line, span.starts_at)
        assert segment_at(line, span.ends_at - MICROSECOND) == segment, "no window reaches into another segment"
        if segment not in boundaries:
            reach = timedelta(days=12) if segment.timeframe.type is TimeframeType.HOURLY else timedelta(days=90)
            boundaries[segment] = calendar_boundaries(
                segment.timeframe, span.starts_at, min(until, span.starts_at + reach) + timedelta(days=9)
            )
        _check_end(boundaries[segment], segment, span)
        if segment.starts_at is not None:
            assert SegmentIndex(segment).find(span.starts_at) == span
        if span.ends_at > until:
            return
        span = following_window(line, span)


def _check_end(known: list[datetime], segment: TimelineSegment, span: WindowSpan) -> None:
    assert span.ends_at is not None
    later = [instant for instant in known if span.starts_at is not None and instant > span.starts_at]
    if not later or span.ends_at > known[-1]:
        return
    assert span.ends_at in later, "windows end at the calendar's own boundaries"
    if span.starts_at != segment.starts_at or segment.taken is None:
        assert span.ends_at == later[0]


def daily(zone: str = "UTC", reset: str = "00:00") -> TimelineSegment:
    return TimelineSegment(
        timeframe=Timeframe(type=TimeframeType.DAILY, timezone=zone, reset_time=reset, grace_seconds=0),
        aggregation=Aggregation.SUM,
        method=Method.SCORE_DESC,
    )


def weekly() -> TimelineSegment:
    timeframe = Timeframe(type=TimeframeType.WEEKLY, reset_day="monday", grace_seconds=0)
    return TimelineSegment(timeframe=timeframe, aggregation=Aggregation.SUM, method=Method.SCORE_DESC)


def test_a_daily_board_becomes_weekly_amid_a_week() -> None:
    wednesday = datetime(2025, 11, 19, 22, 30, tzinfo=UTC)
    line = changed((daily(),), weekly(), after=wednesday + NOTICE)
    window = find_window(line, datetime(2025, 11, 21, tzinfo=UTC))
    assert window == WindowSpan("2025-W47", datetime(2025, 11, 20, tzinfo=UTC), datetime(2025, 11, 24, tzinfo=UTC))
    assert changed((daily(),), weekly(), after=datetime(2025, 11, 20, tzinfo=UTC))[-1].starts_at == datetime(2025, 11, 21, tzinfo=UTC)


def test_a_key_that_was_used_is_not_used_again() -> None:
    line = changed((daily(),), daily(reset="06:00"), after=datetime(2025, 11, 18, 12, tzinfo=UTC))
    window = find_window(line, datetime(2025, 11, 19, 3, tzinfo=UTC))
    assert window == WindowSpan("2025-11-19", datetime(2025, 11, 19, tzinfo=UTC), datetime(2025, 11, 20, 6, tzinfo=UTC))


def test_a_change_that_has_not_begun_is_taken_back_or_replaced() -> None:
    noon = datetime(2025, 11, 19, 12, tzinfo=UTC)
    line = changed((daily(),), weekly(), after=noon)
    assert changed(line, daily(), after=noon) == (daily(),)
    assert [segment.starts_at for segment in changed(line, daily(reset="06:00"), after=noon)] == [None, datetime(2025, 11, 20, tzinfo=UTC)]
    begun = changed(line, daily(), after=datetime(2025, 11, 20, 1, tzinfo=UTC))
    assert [segment.starts_at for segment in begun[1:]] == [datetime(2025, 11, day, tzinfo=UTC) for day in (20, 24)]
