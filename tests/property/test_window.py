"""Windows cover time without gap or overlap, in every zone and over every change of a clock."""

import zoneinfo
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.leaderboard.definition import WEEKDAYS, Timeframe, TimeframeType
from domain.leaderboard.window import WindowIndex, next_window, window_at, window_for_key

ZONES = sorted(zoneinfo.available_timezones() - {"Factory", "localtime"})
HARD = [
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Kwajalein",
    "America/Caracas",
    "Asia/Pyongyang",
    "Antarctica/Troll",
    "Europe/Dublin",
    "Africa/Monrovia",
    "Asia/Manila",
]


@st.composite
def timeframes(draw: st.DrawFn) -> Timeframe:
    kind = draw(st.sampled_from(["hourly", "daily", "weekly", "monthly"]))
    parts: dict[str, str | int] = {}
    if kind == "weekly":
        parts["reset_day"] = draw(st.sampled_from(WEEKDAYS))
    if kind == "monthly":
        parts["reset_day"] = draw(st.integers(1, 28))
    minute = draw(st.sampled_from([0, 30, 59]))
    zone = draw(st.one_of(st.sampled_from(HARD), st.sampled_from(ZONES)))
    return Timeframe(type=TimeframeType(kind), timezone=zone, reset_time=f"{draw(st.integers(0, 23)):02}:{minute:02}", **parts)  # type: ignore[arg-type]


@st.composite
def instants(draw: st.DrawFn, zone: str) -> datetime:
    """Any instant since 1850, often within hours of a change of the zone's clock."""
    instant = datetime(1850, 1, 1, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 190 * 365 * 86_400)))
    if draw(st.booleans()):
        local, step = zoneinfo.ZoneInfo(zone), timedelta(days=8)
        for _ in range(60):
            if instant.astimezone(local).utcoffset() != (instant + step).astimezone(local).utcoffset():
                while step > timedelta(minutes=20):
                    step /= 2
                    if instant.astimezone(local).utcoffset() == (instant + step).astimezone(local).utcoffset():
                        instant += step
                return instant + timedelta(seconds=draw(st.integers(-8_000, 8_000)))
            instant += step
    return instant


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_windows_follow_each_other_without_gap_or_overlap(data: st.DataObject) -> None:
    timeframe = data.draw(timeframes())
    instant = data.draw(instants(timeframe.timezone))
    window = window_at(timeframe, instant)
    index = WindowIndex(timeframe)
    assert window is not None
    keys = set()
    for _ in range(4):
        assert window.starts_at is not None
        assert window.ends_at is not None
        assert window.starts_at <= instant < window.ends_at
        inside = window.starts_at + (window.ends_at - window.starts_at) / 2
        for moment in (window.starts_at, inside, window.ends_at - timedelta(microseconds=1)):
            assert window_at(timeframe, moment) == window == index.find(moment)
        assert window_for_key(timeframe, window.key) == window
        assert window.key not in keys
        keys.add(window.key)
        following = next_window(timeframe, window)
        assert following is not None
        assert following.starts_at == window.ends_at
        window, instant = following, window.ends_at
