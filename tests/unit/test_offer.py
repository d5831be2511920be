from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.errors import NotEligible, ValidationError
from domain.redemption.redeem import first_state, fulfilment_copy
from domain.redemption.redemption import RedemptionState
from domain.reward.offer import (
    check_available,
    check_wallet,
    chosen_variant,
    has_own_stock,
    limit_period,
)
from domain.reward.reward import choose_price, parse_reward
from tests.unit.test_reward import CURRENCIES, NOW, reward

SIZES = [
    {"id": "small", "name": "S"},
    {"id": "large", "name": "L", "prices": [{"currency": "points", "amount": 150}], "stock": 0, "value": "L"},
]


def test_a_variant_overrides_the_price_value_and_stock_that_it_has():
    shirt = reward(prices=[{"currency": "points", "amount": 100}], stock=7, value="any", variants=SIZES)
    small, large = chosen_variant(shirt, "small"), chosen_variant(shirt, "large")
    assert (choose_price(small, None).amount, small.value, small.stock) == (100, "any", 7)
    assert (choose_price(large, None).amount, large.value, large.stock) == (150, "L", 0)
    assert [has_own_stock(shirt, name) for name in ("small", "large", None)] == [False, True, False]


@pytest.mark.parametrize(("variants", "wanted"), [(SIZES, None), (SIZES, "huge"), ([], "small")])
def test_a_variant_has_to_be_chosen_among_those_there_are(variants: Any, wanted: Any):
    with pytest.raises(ValidationError) as refused:
        chosen_variant(reward(variants=variants), wanted)
    assert refused.value.details == [{"field": "variant_id", "message": refused.value.details[0]["message"]}]


def test_a_reward_can_be_bought_from_its_first_to_before_its_last_moment():
    day = timedelta(days=1)
    timed = reward(available_from=NOW.isoformat(), available_until=(NOW + day).isoformat())
    check_available(timed, {}, NOW)
    check_available(timed, {}, NOW + day - timedelta(microseconds=1))
    for moment in (NOW - timedelta(microseconds=1), NOW + day):
        with pytest.raises(NotEligible):
            check_available(timed, {}, moment)


@pytest.mark.parametrize(
    ("attributes", "fits"),
    [
        ({"country": "VN", "level": 5}, True),
        ({"country": "VN"}, False),
        ({"country": "TH", "level": 5}, False),
        ({}, False),
    ],
)
def test_a_segment_asks_for_all_of_its_attributes(attributes: dict[str, Any], fits: bool):
    golden = reward(eligibility={"tiers": ["gold"]})
    check_available(golden, {}, NOW, tier="gold")
    with pytest.raises(NotEligible):
        check_available(golden, {}, NOW)
    local = reward(eligibility={"attributes": {"country": {"eq": "VN"}, "level": {"gte": 5}}})
    if fits:
        check_available(local, attributes, NOW)
    else:
        with pytest.raises(NotEligible):
            check_available(local, attributes, NOW)


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("day", datetime(2026, 11, 20, 17, tzinfo=UTC), datetime(2026, 11, 21, 17, tzinfo=UTC)),
        ("week", datetime(2026, 11, 15, 17, tzinfo=UTC), datetime(2026, 11, 22, 17, tzinfo=UTC)),
        ("month", datetime(2026, 10, 31, 17, tzinfo=UTC), datetime(2026, 11, 30, 17, tzinfo=UTC)),
        ("ever", None, None),
    ],
)
def test_limits_count_by_the_tenants_calendar(period: str, start: Any, end: Any):
    now = datetime(2026, 11, 20, 18, tzinfo=UTC)  # one o'clock on the 21st in Hanoi, a Saturday
    span = limit_period(reward(max_per_user=1, per_user_period=period), "Asia/Ho_Chi_Minh", now)
    assert (span.starts_at, span.ends_at) == (start, end)


def test_a_redemption_begins_where_its_reward_says():
    assert first_state(reward()) is RedemptionState.PENDING
    assert first_state(reward(requires_approval=True)) is RedemptionState.PENDING_APPROVAL
    assert first_state(reward(requires_approval=True, requires_claim=True)) is RedemptionState.PENDING_CLAIM


def test_a_wallet_reward_credits_its_value_in_the_smallest_unit():
    wallet = {"fulfilment": {"type": "wallet"}}
    assert fulfilment_copy(reward(type="points", value=50, **wallet), {"points": 0})["credit"] == {"currency": "points", "amount": 50}
    coins = reward(type="currency", value=2.5, config={"currency": "coins"}, **wallet)
    assert fulfilment_copy(coins, {"coins": 2})["credit"] == {"currency": "coins", "amount": 250}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"type": "item", "value": 5}, "type"),
        ({"type": "points"}, "value"),
        ({"type": "points", "value": 0}, "value"),
        ({"type": "points", "value": True}, "value"),
        ({"type": "points", "value": 1.5}, "value"),
        ({"type": "currency", "value": 5}, "config.currency"),
        ({"type": "points", "variants": [{"id": "a", "name": "A", "value": 5}, {"id": "b", "name": "B"}]}, "value"),
        ({"type": "points", "variants": [{"id": "a", "name": "A", "value": -5}]}, "variants[0].value"),
    ],
)
def test_a_wallet_reward_has_to_say_what_it_credits(given: dict[str, Any], field: str):
    body = parse_reward({"slug": "more", "name": "More", "fulfilment": {"type": "wallet"}, **given})
    with pytest.raises(ValidationError) as refused:
        check_wallet(body, CURRENCIES)
    assert refused.value.details[0]["field"] == field
