"""Every integer of an answer is one that JavaScript reads exactly."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from domain.points.ledger import amount_from_wire
from domain.rule.expression import evaluate, parse_expression
from domain.scoring.rules import MAX_UNITS
from domain.wire import MAX_INTEGER, amount_number, score_number

AMOUNTS = st.integers() | st.integers(-(2**80), 2**80) | st.integers(MAX_INTEGER - 50, MAX_INTEGER + 50)


def reads_exactly(number: int | float) -> bool:
    """Whether JavaScript, which knows doubles only, has the same number."""
    return abs(number) <= MAX_INTEGER and (isinstance(number, float) or int(float(number)) == number)


@given(AMOUNTS, st.integers(0, 4))
def test_an_amount_is_exact_or_at_the_edge(amount: int, places: int) -> None:
    shown = amount_number(amount, places)
    assert reads_exactly(shown)
    if abs(amount) <= MAX_INTEGER:
        assert abs(Fraction(shown) - Fraction(amount, 10**places)) <= abs(Fraction(amount, 10**places)) * Fraction(1, 2**53)
        assert isinstance(shown, float) or shown * 10**places == amount


@given(st.integers(-MAX_UNITS, MAX_UNITS))
def test_a_score_is_exact_where_it_is_whole(units: int) -> None:
    shown = score_number(units)
    assert reads_exactly(shown)
    assert isinstance(shown, float) or shown * 10_000 == units


@given(st.integers(0, 2**53 - 1), st.integers(0, 4))
def test_what_was_shown_is_taken_back_as_the_same(amount: int, places: int) -> None:
    shown = amount_number(amount, places)
    if isinstance(shown, int):
        assert amount_from_wire(shown, places, "amount") == amount


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_rule_gives_no_more_than_its_bound_whatever_the_event_says(number: float) -> None:
    points, reason = evaluate(parse_expression("attrs.n * 2"), {"attrs": {"n": number}})
    assert (points is None) == (reason is not None)
    assert points is None or (abs(points) <= 10**13 and reads_exactly(amount_number(points, 4)))
