from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InsufficientPoints, ValidationError
from domain.points.ledger import Account, amount_from_wire, place_hold
from domain.wire import amount_number

NOW = datetime(2026, 11, 20, tzinfo=UTC)
ID = UUID(int=1)


def account(posted: int, held: int) -> Account:
    return Account(account_id=ID, user_id=ID, currency_id="points", posted=posted, held=held, lifetime_earned=posted, lifetime_spent=0)


def hold(present: Account | None, amount: int, places: int = 0):
    return place_hold(present, amount, hold_id=ID, redemption_id=ID, decimal_places=places, now=NOW)


def test_a_hold_may_take_all_that_is_available():
    assert hold(account(100, 40), 60).amount == 60


def test_a_hold_of_more_than_is_available_says_how_many_points_are_missing():
    with pytest.raises(InsufficientPoints) as refused:
        hold(account(100, 40), 61)
    assert refused.value.facts == {"available": 60, "required": 61}


def test_a_user_without_an_account_has_no_points():
    with pytest.raises(InsufficientPoints) as refused:
        hold(None, 125, 2)
    assert refused.value.facts == {"available": 0, "required": 1.25}


@pytest.mark.parametrize(("number", "places", "units"), [(10, 0, 10), (10.0, 0, 10), (1.25, 2, 125), (-0.1, 1, -1), (0.0001, 4, 1)])
def test_amounts_come_from_the_wire_by_their_places(number: float, places: int, units: int):
    assert amount_from_wire(number, places, "amount") == units


@pytest.mark.parametrize(("number", "places"), [(0.5, 0), (1.234, 2), (float("nan"), 2), (float("inf"), 0), (2**53, 0), (2**52, 2)])
def test_amounts_that_the_currency_cannot_hold_are_refused(number: float, places: int):
    with pytest.raises(ValidationError) as refused:
        amount_from_wire(number, places, "amount")
    assert refused.value.details[0]["field"] == "amount"


@given(st.integers(-(2**45), 2**45), st.integers(0, 4))
def test_an_amount_survives_the_wire_and_has_no_needless_fraction(units: int, places: int):
    number = amount_number(units, places)
    assert amount_from_wire(number, places, "amount") == units
    assert isinstance(number, int) == (units % 10**places == 0)
