"""Windows: their keys and edges, in quiet times and where the clock is changed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.leaderboard.definition import Timeframe, parse_config
from domain.leaderboard.window import WindowIndex, next_window, window_at, window_for_key


def timeframe(**parts: Any) -> Timeframe:
    return parse_config({"timeframe": parts, "scoring": {"rules": [{"event_type": "*", "points_expression": "1"}]}}).timeframe


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("parts", "instant", "key", "starts_at", "ends_at"),
    [
        ({"type": "hourly"}, "2025-11-18T12:59:59.999999Z", "2025-11-18T12", "2025-11-18T12:00Z", "2025-11-18T13:00Z"),
        ({"type": "hourly", "timezone": "Asia/Kolkata"}, "2025-11-18T12:00Z", "2025-11-18T17", "2025-11-18T11:30Z", "2025-11-18T12:30Z"),
        ({"type": "daily"}, "2025-11-18T00:00Z", "2025-11-18", "2025-11-18T00:00Z", "2025-11-19T00:00Z"),
        ({"type": "daily", "reset_time": "06:00"}, "2025-11-18T05:59Z", "2025-11-17", "2025-11-17T06:00Z", "2025-11-18T06:00Z"),
        ({"type": "daily", "timezone": "America/New_York"}, "2025-11-02T20:00Z", "2025-11-02", "2025-11-02T04:00Z", "2025-11-03T05:00Z"),
        ({"type": "weekly", "timezone": "Asia/Ho_Chi_Minh"}, "2025-11-18T12:00Z", "2025-W47", "2025-11-16T17:00Z", "2025-11-23T17:00Z"),
        ({"type": "weekly", "reset_day": "sunday"}, "2026-01-01T00:00Z", "2025-W52", "2025-12-28T00:00Z", "2026-01-04T00:00Z"),
        ({"type": "weekly"}, "2026-01-01T00:00Z", "2026-W01", "2025-12-29T00:00Z", "2026-01-05T00:00Z"),
        ({"type": "monthly"}, "2025-11-30T23:59Z", "2025-11", "2025-11-01T00:00Z", "2025-12-01T00:00Z"),
        ({"type": "monthly", "reset_day": 28}, "2025-03-01T00:00Z", "2025-02", "2025-02-28T00:00Z", "2025-03-28T00:00Z"),
        (
            {"type": "daily", "timezone": "Europe/Berlin", "reset_time": "02:30"},
            "2025-03-30T12:00Z",
            "2025-03-30",
            "2025-03-30T01:00Z",
            "2025-03-31T00:30Z",
        ),
        (
            {"type": "daily", "timezone": "Europe/Berlin", "reset_time": "02:30"},
            "2025-10-26T12:00Z",
            "2025-10-26",
            "2025-10-26T00:30Z",
            "2025-10-27T01:30Z",
        ),
        ({"type": "daily", "timezone": "Pacific/Apia"}, "2011-12-30T10:00Z", "2011-12-31", "2011-12-30T10:00Z", "2011-12-31T10:00Z"),
        (
            {"type": "hourly", "timezone": "America/New_York"},
            "2025-11-02T06:30Z",
            "2025-11-02T01-05:00",
            "2025-11-02T06:00Z",
            "2025-11-02T07:00Z",
        ),
        (
            {"type": "hourly", "timezone": "America/New_York"},
            "2025-11-02T05:30Z",
            "2025-11-02T01",
            "2025-11-02T05:00Z",
            "2025-11-02T06:00Z",
        ),
        (
            {"type": "hourly", "timezone": "Australia/Lord_Howe"},
            "2025-04-05T15:10Z",
            "2025-04-06T01+10:30",
            "2025-04-05T15:00Z",
            "2025-04-05T15:30Z",
        ),
    ],
)
def test_a_window_has_its_key_and_edges(parts: dict[str, Any], instant: str, key: str, starts_at: str, ends_at: str) -> None:
    frame = timeframe(**parts)
    window = window_at(frame, at(instant))
    assert window is not None
    assert (window.key, window.starts_at, window.ends_at) == (key, at(starts_at), at(ends_at))
    assert window_for_key(frame, key) == window


def test_a_custom_board_has_one_window_and_all_time_never_ends() -> None:
    custom = timeframe(type="custom", starts_at="2025-11-01T07:00:00+07:00", ends_at="2025-11-02T00:00:00Z")
    window = window_at(custom, at("2025-11-01T00:00Z"))
    assert window is not None
    assert window.key == "2025-11-01T00:00:00Z"
    assert window_for_key(custom, window.key) == window
    assert window_at(custom, at("2025-11-02T00:00Z")) is None
    assert next_window(custom, window) is None
    everything = window_at(timeframe(type="all_time"), at("1900-01-01T00:00Z"))
    assert everything is not None
    assert (everything.key, everything.starts_at, everything.closes_at(60)) == ("all", None, None)


def test_a_window_closes_after_its_grace() -> None:
    window = window_at(timeframe(type="daily"), at("2025-11-18T10:00Z"))
    assert window is not None
    assert window.closes_at(90) == at("2025-11-19T00:01:30Z")


@pytest.mark.parametrize("key", ["", "all", "2025-W54", "2025-W00", "nonsense", "2025-11-18", "2025-W47 ", "99999-W01", "2025-W1"])
def test_a_key_that_names_no_week_gives_none(key: str) -> None:
    assert window_for_key(timeframe(type="weekly"), key) is None


def test_the_index_finds_what_window_at_computes() -> None:
    frame = timeframe(type="hourly", timezone="Europe/Berlin")
    index = WindowIndex(frame)
    start = datetime(2025, 10, 25, 20, tzinfo=UTC)
    for minutes in (600, 0, 61, 59, 300, 301, 0, 240, 180, 181, 600):
        instant = start + timedelta(minutes=minutes)
        assert index.find(instant) == window_at(frame, instant)
