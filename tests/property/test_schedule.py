"""Instants of schedules, compared with a clock on the wall that somebody watches."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from domain.local_time import clock_changes
from domain.payout.recurrence import When, WhenVersion, instants_after, instants_between, is_instant, parse_when
from domain.payout.temporal_calendar import ticks_of

ZONES = [
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Casablanca",
    "America/New_York",
    "Asia/Ho_Chi_Minh",
    "Asia/Beirut",
    "Antarctica/Troll",
]
HALF_HOUR = timedelta(minutes=30)
TEN_YEARS = (datetime(2021, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC))
NAIVE = tuple(each.replace(tzinfo=None) for each in TEN_YEARS)


class Wanted(msgspec.Struct, frozen=True):
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    months: frozenset[int] | None
    weekdays: frozenset[int] | None

    def fits(self, local: datetime) -> bool:
        named = [
            local.day in self.days if self.days is not None else None,
            local.isoweekday() % 7 in self.weekdays if self.weekdays is not None else None,
        ]
        asked = [each for each in named if each is not None]
        return (
            local.minute in self.minutes
            and local.hour in self.hours
            and (self.months is None or local.month in self.months)
            and (not asked or any(asked))
        )

    @property
    def cron(self) -> str:
        def text(values: frozenset[int] | None) -> str:
            return "*" if values is None else ",".join(map(str, sorted(values)))

        return " ".join(map(text, (self.minutes, self.hours, self.days, self.months, self.weekdays)))


def watched(wanted: Wanted, zone: str, start: datetime, end: datetime) -> Iterator[datetime]:
    """Somebody looks at the clock each half hour and pays what has become due since the latest time that it ever showed."""
    here = ZoneInfo(zone)
    latest = (start - timedelta(days=3)).astimezone(here).replace(tzinfo=None)
    moment = start - timedelta(days=3)
    while moment < end:
        shown = moment.astimezone(here).replace(tzinfo=None)
        due = False
        while latest < shown:
            latest += HALF_HOUR
            due = due or wanted.fits(latest)
        if due and moment >= start:
            yield moment
        moment += HALF_HOUR


def some(values: range, most: int) -> st.SearchStrategy[frozenset[int]]:
    return st.frozensets(st.sampled_from(values), min_size=1, max_size=most)


PATTERNS = st.builds(
    Wanted,
    minutes=some(range(0, 60, 30), 2),
    hours=some(range(24), 6),
    days=st.none() | some(range(1, 32), 5),
    months=st.none() | some(range(1, 13), 8),
    weekdays=st.none() | some(range(7), 4),
)


@settings(max_examples=150, deadline=None)
@given(st.data(), PATTERNS, st.sampled_from(ZONES))
def test_instants_are_those_of_somebody_who_watches_the_clock(data: st.DataObject, wanted: Wanted, zone: str) -> None:
    changes = clock_changes(ZoneInfo(zone), *TEN_YEARS) or [TEN_YEARS[0]]
    start = data.draw(st.sampled_from(changes)) - timedelta(days=data.draw(st.integers(0, 35)))
    end = start + timedelta(days=40)
    assume(wanted.days is None or min(wanted.days) <= 28)
    when = parse_when({"cron": wanted.cron, "timezone": zone})
    history = [WhenVersion(valid_from=start, when=when)]
    found = list(instants_between(history, start, end))
    assert found == list(watched(wanted, zone, start, end))
    assert all(is_instant(history, each) and not is_instant(history, each + timedelta(seconds=1)) for each in found)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("clock", ["02:30", "00:00", "02:00", "01:30"])
def test_a_daily_time_comes_exactly_once_on_each_day_of_ten_years(zone: str, clock: str) -> None:
    hour, minute = clock.split(":")
    when = parse_when({"calendar": {"hour": int(hour), "minute": int(minute), "timezone": zone}})
    start, end = (each.replace(tzinfo=ZoneInfo(zone)) for each in TEN_YEARS)
    found = instants_between([WhenVersion(valid_from=start, when=when)], start, end)
    dates = [each.astimezone(ZoneInfo(zone)).date() for each in found]
    assert dates == [date(2021, 1, 1) + timedelta(days=number) for number in range(3652)]


@pytest.mark.parametrize(
    ("cron", "instants"),
    [
        ("30 2 28-31 3 *", ["2027-03-28T01:00", "2027-03-29T00:30", "2027-03-30T00:30", "2027-03-31T00:30"]),
        ("30 2 30,31 10 *", ["2027-10-30T00:30", "2027-10-31T00:30"]),
        ("*/30 2 31 10 *", ["2027-10-31T00:00", "2027-10-31T00:30"]),
        ("0,15,30 2-3 28 3 *", ["2027-03-28T01:00", "2027-03-28T01:15", "2027-03-28T01:30"]),
        ("0 12 29 2 *", ["2028-02-29T11:00"]),
        (
            "0 12 31 * *",
            [f"2027-{month:02}-31T{hour}:00" for month, hour in ((1, 11), (3, 10), (5, 10), (7, 10), (8, 10), (10, 11), (12, 11))],
        ),
        ("0 12 L 1-3 *", ["2027-01-31T11:00", "2027-02-28T11:00", "2027-03-31T10:00"]),
        ("0 12 * 1 MON#1", ["2027-01-04T11:00"]),
    ],
)
def test_berlin(cron: str, instants: list[str]) -> None:
    when = parse_when({"cron": cron, "timezone": "Europe/Berlin"})
    found = instants_after(when, datetime(2027, 1, 1, tzinfo=UTC))
    assert [f"{next(found):%Y-%m-%dT%H:%M}" for _ in instants] == instants


@given(st.integers(5, 400_000), st.datetimes(*NAIVE, timezones=st.just(UTC)), st.booleans())
def test_an_interval_counts_from_its_start_or_from_1970(every: int, start: datetime, anchored: bool) -> None:
    value: dict[str, Any] = {"every_seconds": every, **({"starts_at": start.isoformat()} if anchored else {})}
    found = instants_after(parse_when(value), start - timedelta(microseconds=1))
    first, second = next(found), next(found)
    assert second - first == timedelta(seconds=every)
    assert first.microsecond == 0
    assert timedelta(0) <= first - start < timedelta(seconds=1 if anchored else every)
    assert anchored or int(first.timestamp()) % every == 0


def test_the_past_keeps_its_when() -> None:
    def daily(hour: int) -> When:
        return parse_when({"calendar": {"hour": hour}})

    noon = datetime(2026, 5, 10, 12, tzinfo=UTC)
    history = [WhenVersion(valid_from=noon, when=daily(9)), WhenVersion(valid_from=noon + timedelta(days=2), when=daily(18))]
    found = instants_between(history, noon - timedelta(days=2), noon + timedelta(days=4))
    assert [f"{each:%d %H}" for each in found] == ["09 09", "10 09", "11 09", "12 09", "12 18", "13 18"]


def test_starts_and_ends_bound_the_instants() -> None:
    when = parse_when({"cron": "0 * * * *", "starts_at": "2026-05-01T03:00:00Z", "ends_at": "2026-05-01T06:00:00+00:00"})
    found = list(instants_after(when, datetime(2020, 1, 1, tzinfo=UTC)))
    assert [each.hour for each in found] == [3, 4, 5]


@settings(max_examples=60, deadline=None)
@given(PATTERNS, st.sampled_from(ZONES), st.datetimes(*NAIVE, timezones=st.just(UTC)))
def test_the_ticks_for_temporal_leave_out_no_instant(wanted: Wanted, zone: str, now: datetime) -> None:
    """Each instant is one of those named, or a local time of the calendars that is no matter of the clock's change."""
    assume(wanted.days is None or min(wanted.days) <= 28)
    when = parse_when({"cron": wanted.cron, "timezone": zone})
    ticks = ticks_of(when, now)
    here = ZoneInfo(zone)
    for instant in instants_between([WhenVersion(valid_from=now, when=when)], now, now + timedelta(days=300)):
        local = instant.astimezone(here)
        twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
        by_calendar = not twice and any(
            local.minute in each.minutes
            and local.hour in each.hours
            and local.day in each.days_of_month
            and local.month in each.months
            and local.isoweekday() % 7 in each.days_of_week
            for each in ticks.calendars
        )
        assert by_calendar or instant in ticks.single
    assert all(is_instant([WhenVersion(valid_from=now, when=when)], each) for each in ticks.single)
