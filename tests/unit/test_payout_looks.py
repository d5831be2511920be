"""A run whose window is not frozen yet: it asks soon enough, and seldom enough for its history."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.payout.run import seconds_until_next_look

CLOSES_AT = datetime(2026, 2, 3, tzinfo=UTC)
EVENTS_OF_A_LOOK = 11
"""A timer, an activity, and the workflow tasks between them."""


@pytest.mark.parametrize(
    ("late", "seconds"),
    [(-86_400, 120), (-121, 120), (-60, 60), (-1, 5), (0, 5), (10, 5), (50, 5), (100, 10), (1_000, 100), (3_600, 300), (86_400, 300)],
)
def test_the_next_look(late: float, seconds: float) -> None:
    assert seconds_until_next_look(CLOSES_AT, CLOSES_AT + timedelta(seconds=late)) == seconds


def test_a_window_without_a_known_end_is_looked_at_every_two_minutes() -> None:
    assert seconds_until_next_look(None, CLOSES_AT) == 120


@pytest.mark.parametrize(("grace", "late"), [(86_400, 0), (60, 7 * 86_400), (86_400, 12 * 86_400)])
def test_the_longest_grace_and_scoring_that_is_away_for_a_fortnight_make_no_history_that_ends(grace: float, late: float) -> None:
    now, looks = CLOSES_AT - timedelta(seconds=grace), 0
    while now < CLOSES_AT + timedelta(seconds=late):
        now, looks = now + timedelta(seconds=seconds_until_next_look(CLOSES_AT, now)), looks + 1
    assert looks * EVENTS_OF_A_LOOK < 48_000, "Temporal ends a workflow at 51 200 events"
