"""Schedules and reward configs in plain words: what a short sentence can say is said, and nothing is said that is not so."""

from datetime import UTC, datetime
from typing import Any

import pytest

from console.payout.schedule_labels import audience_words, coming_runs, expanded_days, tier_words, when_words

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"cron": "0 9 * * MON"}, "Every Monday at 09:00"),
        ({"cron": "30 8 * * 1-5"}, "On weekdays at 08:30"),
        ({"cron": "0 9,18 1 * *"}, "On day 1 of the month at 09:00 and 18:00"),
        ({"cron": "15 * * * *"}, "Every day every hour at minute 15"),
        ({"cron": "0 9 1 * MON"}, "cron 0 9 1 * MON"),
        ({"cron": "*/5 * * * *"}, "cron */5 * * * *"),
        ({"cron": "0 9 * * MON#2"}, "cron 0 9 * * MON#2"),
        ({"calendar": {"hour": 9, "day_of_month": "L"}}, "On the last day of the month at 09:00"),
        ({"calendar": {"hour": 9, "day_of_week": "MON", "day_of_month": 1}}, "Every Monday that is day 1 of the month at 09:00"),
        ({"calendar": {"hour": 9, "day_of_month": [1, 15]}}, "On day 1 and 15 of the month at 09:00"),
        ({"calendar": {"hour": 9, "month": [1, 7]}}, "Every day in January and July at 09:00"),
        ({"every_seconds": 5400}, "Every 1 hr 30 mins"),
    ],
)
def test_a_when_is_said_in_a_short_sentence_or_shown_as_it_is(when: dict[str, Any], said: str) -> None:
    assert when_words(when) == said


def test_days_are_told_from_names_numbers_ranges_and_lists() -> None:
    assert expanded_days("FRI-MON") == ["SUN", "MON", "FRI", "SAT"]
    assert expanded_days("0,7") == ["SUN"]
    assert expanded_days(["monday", 3]) == ["MON", "WED"]
    assert expanded_days("*") == []
    assert expanded_days("MON#2") is None
    assert expanded_days("*/2") is None


def test_ten_runs_come_and_those_that_a_change_of_the_clock_moves_are_told() -> None:
    coming = coming_runs({"cron": "30 2 * * *", "timezone": "Europe/Berlin"}, NOW)
    assert len(coming.runs) == 10
    assert [change.at.isoformat() for change in coming.changes[:2]] == ["2026-03-29T01:00:00+00:00", "2026-10-25T00:30:00+00:00"]
    assert coming_runs({"every_seconds": 60, "ends_at": "2026-03-01T00:02:30Z"}, NOW).runs[-1].minute == 2


def test_rewards_and_audiences_are_said_by_names() -> None:
    items = {"a": "Cup", "b": "100 points"}
    assert tier_words({"min_rank": 1, "max_rank": 3, "item_ids": ["a", "b"]}, items) == "Ranks 1 to 3: Cup + 100 points"
    assert tier_words({"min_rank": 1, "max_rank": 1, "item_ids": ["a"]}, items) == "Rank 1: Cup"
    assert tier_words({"top_percent": 10, "item_ids": ["b"]}, items) == "The best 10%: 100 points"
    assert tier_words({"item_ids": []}, items) == "Everyone: …"
    board = {"type": "leaderboard_top", "leaderboard_id": "x", "n": 10}
    assert audience_words(board, {"x": "Weekly"}) == "Top 10 of Weekly in the latest closed window"
