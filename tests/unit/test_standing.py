"""Standings: what each aggregation derives, and the order of members."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.leaderboard.definition import Aggregation, Method
from domain.leaderboard.standing import decode_member, half_even_quotient, is_ranked, member, merge, one_event, score_of

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)


def later(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("aggregation", "score", "minutes"),
    [("sum", 25_000, 2), ("count", 40_000, 3), ("avg", 6_250, 3), ("max", 20_000, 1), ("min", 0, 0)],
)
def test_an_aggregation_derives_score_and_reached_at(aggregation: str, score: int, minutes: int) -> None:
    kind = Aggregation(aggregation)
    standing = one_event(kind, 0, later(3))
    for points, minute in ((20_000, 1), (5_000, 2), (0, 0)):
        standing = merge(kind, standing, one_event(kind, points, later(minute)))
    assert score_of(kind, standing) == (score, later(minutes))


def test_a_sum_of_zeros_was_reached_with_its_last_event() -> None:
    standing = merge(Aggregation.SUM, one_event(Aggregation.SUM, 0, later(1)), one_event(Aggregation.SUM, 0, later(4)))
    assert score_of(Aggregation.SUM, standing) == (0, later(4))


def test_an_average_is_rounded_half_even() -> None:
    assert [half_even_quotient(value, 2) for value in (-3, -1, 1, 3, 5)] == [-2, 0, 0, 2, 2]
    assert half_even_quotient(10, 3) == 3
    assert half_even_quotient(-10, 3) == -3


def test_a_score_below_the_minimum_is_not_ranked() -> None:
    assert not is_ranked(-1, 0)
    assert is_ranked(0, 0)
    assert is_ranked(-5, None)


@pytest.mark.parametrize("method", list(Method))
def test_members_sort_by_score_then_time_then_id_and_can_be_read_back(method: Method) -> None:
    sign = -1 if method is Method.SCORE_DESC else 1
    lines = [(score, later(minute), name) for score in (-9, 0, 10**15) for minute in (-(10**9), 0, 1) for name in ("a", "b", "ü", "😀")]
    by_rule = sorted(lines, key=lambda line: (sign * line[0], line[1], line[2].encode()))
    by_bytes = sorted(lines, key=lambda line: member(method, *line))
    assert by_bytes == by_rule
    assert [decode_member(method, member(method, *line)) for line in lines] == lines
