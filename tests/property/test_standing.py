"""Standings do not depend on the order of arrival, and the order of members is the order of the board."""

from datetime import UTC, datetime, timedelta
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from domain.leaderboard.definition import Aggregation, Method
from domain.leaderboard.standing import Contribution, decode_member, member, merge, one_event

INSTANTS = st.integers(-(10**15), 10**15).map(lambda microseconds: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds))
FEW_INSTANTS = st.integers(0, 5).map(lambda hours: datetime(2025, 1, 1, hours, tzinfo=UTC))
POINTS = st.integers(-3, 3)
AGGREGATIONS = st.sampled_from(Aggregation)


@given(AGGREGATIONS, st.lists(st.tuples(POINTS, FEW_INSTANTS), min_size=1, max_size=8), st.data())
def test_any_order_and_any_grouping_gives_the_same_standing(
    aggregation: Aggregation, events: list[tuple[int, datetime]], data: st.DataObject
) -> None:
    def join(left: Contribution, right: Contribution) -> Contribution:
        return merge(aggregation, left, right)

    singles = [one_event(aggregation, points, at, position) for position, (points, at) in enumerate(events)]
    shuffled = data.draw(st.permutations(singles))
    cut = data.draw(st.integers(0, len(shuffled)))
    groups = [reduce(join, group) for group in (shuffled[:cut], shuffled[cut:]) if group]
    assert reduce(join, groups) == reduce(join, singles)


LINES = st.tuples(st.integers(-(2**62), 2**62), INSTANTS, st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=4))


@given(st.sampled_from(Method), LINES, LINES)
def test_bytes_of_members_order_as_the_board_does(
    method: Method, left: tuple[int, datetime, str], right: tuple[int, datetime, str]
) -> None:
    sign = -1 if method is Method.SCORE_DESC else 1
    keys = [(sign * score, at, name.encode()) for score, at, name in (left, right)]
    assert (member(method, *left) < member(method, *right)) == (keys[0] < keys[1])
    assert decode_member(method, member(method, *left)) == left
