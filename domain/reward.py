"""The rewards store: what a reward is, who can buy it now, and for how much (contract 4, Store)."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.error import NotEligible, ValidationFault
from domain.ledger import Currency, amount_from_wire
from domain.wire import amount_number, convert_value, parse_client_id, rfc3339

DEFAULT_DEADLINE_SECONDS = 259_200
MAX_JSON_BYTES = 32_768
MAX_FIELD_CHARACTERS = 1000

TEXT_TYPES = ("text", "string", "textarea", "email", "tel", "phone", "url", "date")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class WirePrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the alternatives that a reward can be bought for."""

    currency: str
    amount: Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the user has to fill in when redeeming. `pattern` has to match the whole value."""

    name: str
    label: Annotated[str, Meta(max_length=255)] | None = None
    required: bool = False
    type: Literal["text", "string", "textarea", "email", "tel", "phone", "url", "date", "number", "integer", "boolean"] = "text"
    pattern: Annotated[str, Meta(max_length=255)] | None = None


class Fulfilment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the user gets it: a partner is told by `webhook`, or a person finishes it (`manual`)."""

    type: Literal["webhook", "manual"] = "webhook"
    endpoint_id: UUID | None = None
    deadline_seconds: Annotated[int, Meta(ge=10, le=31_536_000)] = DEFAULT_DEADLINE_SECONDS
    answer_is_callback: bool = False


class RewardBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST and PUT. `stock` None is unlimited; no prices: it can only be granted."""

    slug: str
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    description: Annotated[str, Meta(max_length=10_000)] | None = None
    image_url: Annotated[str, Meta(max_length=2048)] | None = None
    active: bool = True
    type: Annotated[str, Meta(min_length=1, max_length=64)] = "item"
    value: Any = None
    prices: Annotated[list[WirePrice], Meta(max_length=20)] = []
    stock: Annotated[int, Meta(ge=0, le=2_147_483_647)] | None = None
    fields: Annotated[list[Field], Meta(max_length=50)] = []
    fulfilment: Fulfilment = Fulfilment()
    config: dict[str, Any] = {}


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A price as it is kept: `amount` in the currency's smallest unit."""

    currency: str
    amount: int


class Reward(msgspec.Struct, frozen=True, kw_only=True):
    """A reward as it is kept."""

    reward_id: UUID
    slug: str
    name: str
    description: str | None
    image_url: str | None
    active: bool
    type: str
    value: Any
    prices: list[Price]
    fields: list[Field]
    fulfilment: Fulfilment
    config: dict[str, Any]
    stock: int | None
    version: int
    created_at: datetime
    updated_at: datetime


def parse_reward(value: Any) -> RewardBody:
    """A decoded request body as a checked reward; ValidationFault names the faulty field."""
    body = convert_value(value, RewardBody)
    parse_client_id(body.slug, "slug")
    if len(msgspec.json.encode([body.value, body.config])) > MAX_JSON_BYTES:
        raise ValidationFault.of("config", f"is larger than {MAX_JSON_BYTES} bytes together with value")
    names = [parse_client_id(field.name, f"fields[{place}].name") for place, field in enumerate(body.fields)]
    if len(set(names)) != len(names):
        raise ValidationFault.of("fields", "has two of the same name")
    for place, field in enumerate(body.fields):
        _check_pattern(field, f"fields[{place}].pattern")
    return body


def _check_pattern(field: Field, where: str) -> None:
    if field.pattern is None:
        return
    if field.type not in TEXT_TYPES:
        raise ValidationFault.of(where, "is only for fields of text")
    try:
        re.compile(field.pattern)
    except re.error as error:
        raise ValidationFault.of(where, f"is not a regular expression: {error}") from None


def prices_of(body: RewardBody, currencies: Mapping[str, Currency]) -> list[Price]:
    """The body's prices in smallest units; ValidationFault for an unknown, unspendable or repeated currency."""
    prices: list[Price] = []
    for place, price in enumerate(body.prices):
        currency = currencies.get(price.currency)
        if currency is None or not currency.is_spendable:
            raise ValidationFault.of(f"prices[{place}].currency", "is not a currency that can be spent")
        if any(other.currency == price.currency for other in prices):
            raise ValidationFault.of(f"prices[{place}].currency", "has a price already")
        amount = amount_from_wire(price.amount, currency.decimal_places, f"prices[{place}].amount")
        prices.append(Price(currency=price.currency, amount=amount))
    return prices


def choose_price(reward: Reward, currency: str | None) -> Price:
    """The price to pay: that of `currency`, or the only one.

    NotEligible when the reward is switched off or can only be granted; ValidationFault when the choice is missing or not offered.
    """
    if not reward.active:
        raise NotEligible("This reward is not available now")
    if not reward.prices:
        raise NotEligible("This reward can only be granted")
    offered = ", ".join(price.currency for price in reward.prices)
    if currency is None and len(reward.prices) > 1:
        raise ValidationFault.of("currency", f"is required: the reward has several prices ({offered})")
    for price in reward.prices:
        if currency is None or price.currency == currency:
            return price
    raise ValidationFault.of("currency", f"is not one of this reward's prices ({offered})")


def check_fields(reward: Reward, given: Mapping[str, Any]) -> None:
    """ValidationFault that names the field that is missing, unknown, or not of its type or pattern."""
    known = {field.name: field for field in reward.fields}
    for name in given:
        if name not in known:
            raise ValidationFault.of(f"fields.{name}", "is not a field of this reward")
    for field in reward.fields:
        value = given.get(field.name)
        if value is None or value == "":
            if field.required:
                raise ValidationFault.of(f"fields.{field.name}", "is required")
        elif problem := _field_problem(field, value):
            raise ValidationFault.of(f"fields.{field.name}", problem)


def _field_problem(field: Field, value: Any) -> str | None:
    if field.type == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if field.type in ("number", "integer"):
        fits = type(value) is int or (field.type == "number" and type(value) is float)
        return None if fits else f"must be a JSON number of type {field.type}"
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > MAX_FIELD_CHARACTERS:
        return f"is longer than {MAX_FIELD_CHARACTERS} characters"
    if field.type == "email" and not EMAIL.fullmatch(value):
        return "is not an e-mail address"
    if field.pattern is not None and not re.fullmatch(field.pattern, value):
        return "does not match the pattern"
    return None


def reward_snapshot(reward: Reward) -> dict[str, Any]:
    """The reward as redemptions and webhooks show it, as it was when the user redeemed."""
    return {"id": str(reward.reward_id), "slug": reward.slug, "name": reward.name, "type": reward.type, "value": reward.value}


def _prices_wire(reward: Reward, currencies: Mapping[str, Currency]) -> list[dict[str, Any]]:
    return [
        {"currency": price.currency, "amount": amount_number(price.amount, currencies[price.currency].decimal_places)}
        for price in reward.prices
    ]


def body_wire(reward: Reward, currencies: Mapping[str, Currency]) -> dict[str, Any]:
    """What an admin may write of the reward, as JSON values: `parse_reward` takes it back, so PATCH is this with the changes on top."""
    return {
        "slug": reward.slug,
        "name": reward.name,
        "description": reward.description,
        "image_url": reward.image_url,
        "active": reward.active,
        "type": reward.type,
        "value": reward.value,
        "prices": _prices_wire(reward, currencies),
        "stock": reward.stock,
        "fields": msgspec.to_builtins(reward.fields),
        "fulfilment": msgspec.to_builtins(reward.fulfilment),
        "config": reward.config,
    }


def reward_wire(reward: Reward, currencies: Mapping[str, Currency]) -> dict[str, Any]:
    """The reward as admins see it."""
    return {
        "reward_id": str(reward.reward_id),
        **body_wire(reward, currencies),
        "version": reward.version,
        "created_at": rfc3339(reward.created_at),
        "updated_at": rfc3339(reward.updated_at),
    }


def points_needed(reward: Reward, balances: Mapping[str, int]) -> Price | None:
    """How much is missing for the price that is nearest to the balances (available, by currency); None when nothing can buy it."""
    missing = [Price(currency=price.currency, amount=max(0, price.amount - balances.get(price.currency, 0))) for price in reward.prices]
    return min(missing, key=lambda price: price.amount, default=None)


def catalog_entry(reward: Reward, currencies: Mapping[str, Currency], balances: Mapping[str, int] | None) -> dict[str, Any]:
    """The reward as the catalog shows it; without balances `affordable` and `points_needed` are null."""
    needed = None if balances is None else points_needed(reward, balances)
    return {
        "id": str(reward.reward_id),
        "slug": reward.slug,
        "name": reward.name,
        "description": reward.description,
        "image_url": reward.image_url,
        "type": reward.type,
        "value": reward.value,
        "fields": msgspec.to_builtins(reward.fields),
        "purchase": {"prices": _prices_wire(reward, currencies)},
        "variants": [],
        "stock": reward.stock,
        "affordable": None if needed is None else needed.amount == 0,
        "points_needed": None if needed is None else amount_number(needed.amount, currencies[needed.currency].decimal_places),
    }
