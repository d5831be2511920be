from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from domain.errors import NotEligible, ValidationError
from domain.points.ledger import Currency
from domain.reward.catalog import catalog_entry
from domain.reward.reward import Reward, check_fields, choose_price, parse_reward, prices_of, variants_of
from domain.reward.reward_wire import reward_body_wire
from runtime.ids import utc_now

NOW = datetime(2026, 11, 20, tzinfo=UTC)
ID = UUID(int=1)


def currency(identity: str, places: int, *, is_spendable: bool = True) -> Currency:
    return Currency(
        currency_id=identity,
        name=identity,
        symbol=None,
        decimal_places=places,
        is_spendable=is_spendable,
        expires_after_days=None,
        pending_seconds=0,
        issue_account_id=ID,
        redemption_account_id=ID,
        created_at=NOW,
    )


CURRENCIES = {"points": currency("points", 0), "coins": currency("coins", 2), "xp": currency("xp", 0, is_spendable=False)}


STORE_RULES = (
    "max_per_user", "per_user_period", "visible_from", "visible_until", "available_from", "available_until", "eligibility",
    "requires_claim", "requires_approval",
)  # fmt: skip


def reward(**given: Any) -> Reward:
    body = parse_reward({"slug": "mug", "name": "Mug", **given})
    return Reward(
        reward_id=ID,
        slug=body.slug,
        name=body.name,
        description=body.description,
        image_url=body.image_url,
        active=body.active,
        type=body.type,
        value=body.value,
        prices=prices_of(body, CURRENCIES),
        fields=body.fields,
        fulfilment=body.fulfilment,
        config=body.config,
        stock=body.stock,
        version=1,
        created_at=NOW,
        updated_at=NOW,
        variants=variants_of(body, CURRENCIES),
        variant_stock={variant.id: variant.stock for variant in body.variants if variant.stock is not None},
        **{name: getattr(body, name) for name in STORE_RULES},
    )


TWO_PRICES = [{"currency": "points", "amount": 100}, {"currency": "coins", "amount": 2.5}]


def test_prices_are_kept_in_smallest_units_and_shown_as_they_were_written():
    both = reward(prices=TWO_PRICES)
    assert [price.amount for price in both.prices] == [100, 250]
    assert reward_body_wire(both, CURRENCIES)["prices"] == TWO_PRICES


def test_what_an_admin_reads_can_be_written_back():
    full = reward(prices=TWO_PRICES, fields=[{"name": "email", "required": True, "type": "email"}], value=10, config={"a": [1]}, stock=3,
        variants=[{"id": "s", "name": "S", "prices": TWO_PRICES[:1], "stock": 2, "value": None},
                  {"id": "m", "name": "M", "prices": None, "stock": None, "value": 3}],
        max_per_user=2, per_user_period="week", visible_from="2026-01-02T00:00:00Z", available_until="2027-01-02T00:00:00Z",
        eligibility={"attributes": {"country": {"eq": "VN"}}}, requires_claim=True, requires_approval=True,
    )  # fmt: skip
    wire = reward_body_wire(full, CURRENCIES)
    assert reward_body_wire(reward(**{name: value for name, value in wire.items() if name not in ("slug", "name")}), CURRENCIES) == wire


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"slug": "no spaces"}, "slug"),
        ({"slug": "__proto__"}, "slug"),
        ({"colour": "red"}, "colour"),
        ({"stock": -1}, "stock"),
        ({"stock": True}, "stock"),
        ({"prices": [{"currency": "points", "amount": "5"}]}, "prices[0].amount"),
        ({"prices": [{"currency": "points", "amount": 0.5}]}, "prices[0].amount"),
        ({"prices": [{"currency": "gold", "amount": 5}]}, "prices[0].currency"),
        ({"prices": [{"currency": "xp", "amount": 5}]}, "prices[0].currency"),
        ({"prices": [{"currency": "points", "amount": 5}] * 2}, "prices[1].currency"),
        ({"fields": [{"name": "a"}, {"name": "a"}]}, "fields"),
        ({"fields": [{"name": "a", "pattern": "("}]}, "fields[0].pattern"),
        ({"fulfilment": {"type": "pigeon"}}, "fulfilment.type"),
        ({"fulfilment": {"type": "codes"}, "stock": 5}, "stock"),
        ({"fulfilment": {"type": "codes"}, "variants": [{"id": "s", "name": "S", "stock": 3}]}, "variants[0].stock"),
        ({"config": {"low_stock": -1}}, "config.low_stock"),
        ({"config": {"low_stock": True}}, "config.low_stock"),
        ({"fulfilment": {"deadline_seconds": 9}}, "fulfilment.deadline_seconds"),
        ({"max_per_user": 0}, "max_per_user"),
        ({"per_user_period": "year"}, "per_user_period"),
        ({"variants": [{"id": "s", "name": "S"}, {"id": "s", "name": "T"}]}, "variants"),
        ({"variants": [{"id": "a b", "name": "S"}]}, "variants[0].id"),
        ({"variants": [{"id": "s", "name": "S", "prices": [{"currency": "xp", "amount": 1}]}]}, "variants[0].prices[0].currency"),
        ({"visible_from": "2026-01-02T00:00:00Z", "visible_until": "2026-01-01T00:00:00Z"}, "visible_until"),
        ({"available_from": "2026-01-02T00:00:00"}, "available_from"),
        ({"eligibility": {"tiers": "gold"}}, "eligibility.tiers"),
        ({"eligibility": {"attributes": {"country": {"like": "V"}}}}, "eligibility.attributes.country.like"),
    ],
)
def test_an_error_names_its_field(given: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as refused:
        reward(**given)
    assert refused.value.details[0]["field"] == field


def test_the_only_price_need_not_be_chosen():
    assert choose_price(reward(prices=TWO_PRICES[:1]), None).currency == "points"


def test_of_several_prices_one_has_to_be_chosen():
    both = reward(prices=TWO_PRICES)
    assert choose_price(both, "coins").amount == 250
    for wrong in (None, "gold"):
        with pytest.raises(ValidationError):
            choose_price(both, wrong)


def test_what_is_switched_off_or_has_no_price_cannot_be_bought():
    for closed in (reward(prices=TWO_PRICES, active=False), reward()):
        with pytest.raises(NotEligible):
            choose_price(closed, "points")


FIELDS = [
    {"name": "email", "required": True, "type": "email"},
    {"name": "size", "pattern": "S|M|L"},
    {"name": "count", "type": "integer"},
    {"name": "gift", "type": "boolean"},
    {"name": "day", "type": "date"},
    {"name": "page", "type": "url"},
]


@pytest.mark.parametrize(
    "given",
    [{"email": "a@b.vn"}, {"email": "a@b.vn", "size": "M", "count": 2, "gift": False, "day": "2028-02-29", "page": "https://ö.vn/?a#b"}],
)
def test_fields_that_fit_pass(given: dict[str, Any]):
    check_fields(reward(fields=FIELDS).fields, given)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "email"),
        ({"email": ""}, "email"),
        ({"email": "nobody"}, "email"),
        ({"email": "a@b.vn", "size": "XL"}, "size"),
        ({"email": "a@b.vn", "size": "M\n"}, "size"),
        ({"email": "a@b.vn", "size": 5}, "size"),
        ({"email": "a@b.vn", "count": 1.5}, "count"),
        ({"email": "a@b.vn", "count": True}, "count"),
        ({"email": "a@b.vn", "gift": "yes"}, "gift"),
        ({"email": "a@b.vn", "colour": "red"}, "colour"),
        ({"email": "a@b.vn", "day": "2027-02-29"}, "day"),
        ({"email": "a@b.vn", "day": "2026-W01-1"}, "day"),
        ({"email": "a@b.vn", "page": "javascript:alert(1)"}, "page"),
    ],
)
def test_fields_that_do_not_fit_are_named(given: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as refused:
        check_fields(reward(fields=FIELDS).fields, given)
    assert refused.value.details[0]["field"] == f"fields.{field}"


def test_the_catalog_says_how_many_points_are_missing_for_the_nearest_price():
    both = reward(prices=TWO_PRICES)
    assert catalog_entry(both, CURRENCIES, None, now=utc_now()).affordable is None
    assert catalog_entry(both, CURRENCIES, {"points": 100}, now=utc_now()).affordable is True
    near = catalog_entry(both, CURRENCIES, {"points": 60}, now=utc_now())
    assert (near.affordable, near.points_needed) == (False, 40)


def test_what_is_missing_is_told_in_points_or_in_the_currency_that_was_asked_for():
    both = reward(prices=[{"currency": "points", "amount": 100}, {"currency": "coins", "amount": 0.5}])
    poor = {"points": 10, "coins": 20}
    assert catalog_entry(both, CURRENCIES, poor, now=utc_now()).points_needed == 90, (
        "30 of the other currency's smallest unit are not fewer points"
    )
    assert catalog_entry(both, CURRENCIES, poor, currency="coins", now=utc_now()).points_needed == 0.3
    assert catalog_entry(both, CURRENCIES, {"coins": 50}, now=utc_now()).affordable is True
    coins_only = reward(prices=[{"currency": "coins", "amount": 0.5}])
    assert catalog_entry(coins_only, CURRENCIES, poor, now=utc_now()).points_needed == 0.3
