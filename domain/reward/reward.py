"""The rewards store: what a reward is, who can buy it now, and for how much (contract 4, Store)."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from domain import limits
from domain.canonical_json import canonical_json
from domain.errors import NotEligible, ValidationError
from domain.misfit import shown
from domain.points.ledger import Currency, amount_from_wire
from domain.points.ledger_wire import CurrencyId
from domain.rule.pattern import fits, pattern_problem, program_size
from domain.rule.segment import SegmentForm, parse_segment
from domain.wire import FreeForm, GivenInstant, convert_value, parse_client_id

DEFAULT_DEADLINE_SECONDS = 259_200
MAX_JSON_BYTES = 32_768
NAMED_CURRENCIES = 10
MAX_VALUE_BYTES = 24_576
"""With the 32 KB that a user may fill in, it fits into a webhook of 64 KB."""
MAX_FIELD_CHARACTERS = 1000

LimitPeriod = Literal["day", "week", "month", "ever"]
Until = Annotated[GivenInstant | None, Meta(examples=["2025-12-24T12:00:00Z"])]
DeadlineSeconds = Annotated[int, Meta(ge=10, le=31_536_000, description="How long the fulfilment may take before the points are returned")]
FulfilmentEndpoint = Annotated[
    UUID | None, Meta(description="The webhook endpoint that is told; null: whichever subscribes", examples=[None])
]
AnswerIsCallback = Annotated[bool, Meta(description="The partner's answer to the webhook says at once what became of it")]

TEXT_TYPES = ("text", "string", "textarea", "email", "tel", "phone", "url", "date")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
URL = re.compile(r"https?://[^\s/?#]+\S*")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class RewardPrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the alternatives that a reward can be bought for."""

    currency: CurrencyId
    amount: Annotated[
        Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)], Meta(description="In units of the currency", examples=[500])
    ]


class RewardField(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the user has to fill in when redeeming. `pattern` has to match the whole value."""

    name: Annotated[str, Meta(description="What the value is called in a redemption's `fields`", examples=["size"])]
    label: Annotated[str, Meta(max_length=255, description="For people", examples=["Your size"])] | None = None
    required: bool = False
    type: Literal["text", "string", "textarea", "email", "tel", "phone", "url", "date", "number", "integer", "boolean"] = "text"
    pattern: Annotated[str, Meta(max_length=255, description="A regular expression (RE2)", examples=["[SML]"])] | None = None


class RewardFulfilment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the user gets it: a partner is told by `webhook`, the `wallet` is credited, one of the `codes` is given, or a person
    finishes it (`manual`)."""

    type: Literal["webhook", "wallet", "codes", "manual"] = "webhook"
    endpoint_id: FulfilmentEndpoint = None
    deadline_seconds: DeadlineSeconds = DEFAULT_DEADLINE_SECONDS
    answer_is_callback: AnswerIsCallback = False


class RewardVariant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the forms that a reward comes in. What is null is the reward's own; a `stock` is counted apart."""

    id: Annotated[str, Meta(description="Your id of the variant, of its reward alone", examples=["large"])]
    name: Annotated[str, Meta(min_length=1, max_length=255, examples=["Large"])]
    prices: Annotated[list[RewardPrice], Meta(min_length=1, max_length=20)] | None = None
    stock: Annotated[int, Meta(ge=0, le=2_147_483_647, examples=[100])] | None = None
    value: Any = None


class RewardBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an admin writes of a reward in the store."""

    slug: Annotated[str, Meta(description="Your id of the reward, for paths; unique in the tenant", examples=["coffee"])]
    name: Annotated[str, Meta(min_length=1, max_length=255, examples=["A coffee"])]
    description: Annotated[str, Meta(max_length=10_000, examples=["In any of our shops"])] | None = None
    image_url: Annotated[str, Meta(max_length=2048, examples=["https://example.com/coffee.png"])] | None = None
    active: Annotated[bool, Meta(description="Whether it is on sale")] = True
    type: Annotated[str, Meta(min_length=1, max_length=64, description="points, currency, item, voucher, or a word of your own")] = "item"
    value: Annotated[Any, Meta(description="What it is worth, for the partner; of a `wallet` reward the amount that is credited")] = None
    prices: Annotated[
        list[RewardPrice], Meta(max_length=20, description="Alternatives, of which a user pays one; without any it can only be granted")
    ] = []
    variants: Annotated[list[RewardVariant], Meta(max_length=100, description="A user chooses one, where there are any")] = []
    stock: (
        Annotated[int, Meta(ge=0, le=2_147_483_647, description="How many are left; null: any number. With `codes` it is their number")]
        | None
    ) = None
    max_per_user: Annotated[int, Meta(ge=1, le=1_000_000, description="In each `per_user_period`; null: no limit")] | None = None
    per_user_period: Annotated[LimitPeriod, Meta(description="In the tenant's time")] = "ever"
    visible_from: Annotated[GivenInstant | None, Meta(description="When the catalog begins to show it")] = None
    visible_until: Until = None
    available_from: Annotated[GivenInstant | None, Meta(description="When it can be redeemed for the first time")] = None
    available_until: Until = None
    eligibility: Annotated[SegmentForm | None, Meta(description="Who may have it; null: everybody")] = None
    requires_claim: Annotated[bool, Meta(description="The user claims it within 7 days, and fills in `fields` then")] = False
    requires_approval: Annotated[bool, Meta(description="A person approves each redemption")] = False
    fields: Annotated[list[RewardField], Meta(max_length=50)] = []
    fulfilment: RewardFulfilment = RewardFulfilment()
    config: Annotated[
        FreeForm,
        Meta(description="`currency` of a `wallet` reward, `low_stock` (endpoints are told of a stock that small), and your own"),
    ] = {}


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A price as it is kept: `amount` in the currency's smallest unit."""

    currency: str
    amount: int


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A variant as it is kept; a stock of its own is the reward's `variant_stock`."""

    id: str
    name: str
    prices: list[Price] | None = None
    value: Any = None


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
    fields: list[RewardField]
    fulfilment: RewardFulfilment
    config: dict[str, Any]
    stock: int | None
    version: int
    created_at: datetime
    updated_at: datetime
    variants: list[Variant] = []
    variant_stock: dict[str, int] = {}
    max_per_user: int | None = None
    per_user_period: LimitPeriod = "ever"
    visible_from: datetime | None = None
    visible_until: datetime | None = None
    available_from: datetime | None = None
    available_until: datetime | None = None
    eligibility: dict[str, Any] | None = None
    requires_claim: bool = False
    requires_approval: bool = False


def parse_reward(value: Any) -> RewardBody:
    """A decoded request body as a checked reward; ValidationError names the faulty field."""
    body = convert_value(value, RewardBody)
    parse_client_id(body.slug, "slug")
    if len(canonical_json(body.value)) > MAX_VALUE_BYTES:
        raise ValidationError.of("value", f"is larger than {MAX_VALUE_BYTES} bytes")
    if len(msgspec.json.encode([body.value, body.config])) > MAX_JSON_BYTES:
        raise ValidationError.of("config", f"is larger than {MAX_JSON_BYTES} bytes, including value")
    names = [parse_client_id(field.name, f"fields[{place}].name") for place, field in enumerate(body.fields)]
    if len(set(names)) != len(names):
        raise ValidationError.of("fields", "contains a name twice")
    for place, field in enumerate(body.fields):
        _check_pattern(field, f"fields[{place}].pattern")
    if sum(program_size(field.pattern) for field in body.fields if field.pattern is not None) > limits.REWARD_PROGRAMS.value:
        raise ValidationError.of("fields", f"have patterns with more than {limits.REWARD_PROGRAMS.value} instructions in total")
    _check_variants(body)
    _check_span(body.visible_from, body.visible_until, "visible_until")
    _check_span(body.available_from, body.available_until, "available_until")
    if body.eligibility is not None:
        parse_segment(body.eligibility, "eligibility")
    if body.fulfilment.type == "codes":
        if body.stock is not None:
            raise ValidationError.of("stock", "is the number of codes left; import codes instead")
        for place, variant in enumerate(body.variants):
            if variant.stock is not None:
                raise ValidationError.of(f"variants[{place}].stock", "is the number of codes left; import codes instead")
    _check_low_stock(body.config)
    return body


def _check_variants(body: RewardBody) -> None:
    names = [parse_client_id(variant.id, f"variants[{place}].id") for place, variant in enumerate(body.variants)]
    if len(set(names)) != len(names):
        raise ValidationError.of("variants", "contains an id twice")
    for place, variant in enumerate(body.variants):
        if len(canonical_json(variant.value)) > MAX_VALUE_BYTES:
            raise ValidationError.of(f"variants[{place}].value", f"is larger than {MAX_VALUE_BYTES} bytes")
    if len(msgspec.json.encode([variant.value for variant in body.variants])) > MAX_JSON_BYTES:
        raise ValidationError.of("variants", f"have values of more than {MAX_JSON_BYTES} bytes")


def _check_low_stock(config: Mapping[str, Any]) -> None:
    level = config.get("low_stock")
    if level is not None and (type(level) is not int or not 0 <= level <= 2_147_483_647):
        raise ValidationError.of("config.low_stock", "must be a number of pieces, or null")


def _check_span(start: datetime | None, end: datetime | None, field: str) -> None:
    if start is not None and end is not None and start >= end:
        raise ValidationError.of(field, "must be after the start")


def _check_pattern(field: RewardField, where: str) -> None:
    if field.pattern is None:
        return
    if field.type not in TEXT_TYPES:
        raise ValidationError.of(where, "is only allowed for text fields")
    if problem := pattern_problem(field.pattern):
        raise ValidationError.of(where, problem)


def prices_of(body: RewardBody, currencies: Mapping[str, Currency]) -> list[Price]:
    """The body's prices in smallest units; ValidationError for an unknown, unspendable or repeated currency."""
    return _kept_prices(body.prices, currencies, "prices")


def variants_of(body: RewardBody, currencies: Mapping[str, Currency]) -> list[Variant]:
    """The body's variants as they are kept; refuses prices as `prices_of` does."""
    return [
        Variant(
            id=variant.id,
            name=variant.name,
            prices=None if variant.prices is None else _kept_prices(variant.prices, currencies, f"variants[{place}].prices"),
            value=variant.value,
        )
        for place, variant in enumerate(body.variants)
    ]


def _unspendable(named: str, currencies: Mapping[str, Currency]) -> str:
    """What to say of a price in this currency: which ones there are, as far as they fit into a sentence."""
    choices = sorted(name for name, currency in currencies.items() if currency.is_spendable)[:NAMED_CURRENCIES]
    return f"{shown(named)} is not a currency that can be spent" + (f"; there are {', '.join(choices)}" if choices else "")


def _kept_prices(given: list[RewardPrice], currencies: Mapping[str, Currency], field: str) -> list[Price]:
    prices: list[Price] = []
    for place, price in enumerate(given):
        currency = currencies.get(price.currency)
        if currency is None or not currency.is_spendable:
            raise ValidationError.of(f"{field}[{place}].currency", _unspendable(price.currency, currencies))
        if any(other.currency == price.currency for other in prices):
            raise ValidationError.of(f"{field}[{place}].currency", "already has a price")
        amount = amount_from_wire(price.amount, currency.decimal_places, f"{field}[{place}].amount")
        prices.append(Price(currency=price.currency, amount=amount))
    return prices


def choose_price(reward: Reward, currency: str | None) -> Price:
    """The price to pay: that of `currency`, or the only one.

    NotEligible when the reward is switched off or can only be granted; ValidationError when the choice is missing or not offered.
    """
    if not reward.active:
        raise NotEligible("This reward is not available now")
    if not reward.prices:
        raise NotEligible("This reward can only be granted")
    offered = ", ".join(price.currency for price in reward.prices)
    if currency is None and len(reward.prices) > 1:
        raise ValidationError.of("currency", f"is required: the reward has several prices ({offered})")
    for price in reward.prices:
        if currency is None or price.currency == currency:
            return price
    raise ValidationError.of("currency", f"is not one of this reward's prices ({offered})")


def check_fields(fields: Sequence[RewardField], given: Mapping[str, Any], *, is_complete: bool = True) -> None:
    """ValidationError that names the field that is missing (when it has to be complete), unknown, or not of its type or pattern."""
    known = {field.name: field for field in fields}
    for name in given:
        if name not in known:
            raise ValidationError.of(f"fields.{name}", "is not a field of this reward")
    for field in fields:
        value = given.get(field.name)
        if value is None or value == "":
            if field.required and is_complete:
                raise ValidationError.of(f"fields.{field.name}", "is required")
        elif problem := _field_problem(field, value):
            raise ValidationError.of(f"fields.{field.name}", problem)


def _field_problem(field: RewardField, value: Any) -> str | None:
    if field.type == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if field.type in ("number", "integer"):
        is_right = type(value) is int or (field.type == "number" and type(value) is float)
        return None if is_right else f"must be a JSON number of type {field.type}"
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > MAX_FIELD_CHARACTERS:
        return f"is longer than {MAX_FIELD_CHARACTERS} characters"
    if field.type == "email" and not EMAIL.fullmatch(value):
        return "is not an email address"
    if field.type == "date" and not _is_date(value):
        return "is not a date like 2026-03-01"
    if field.type == "url" and not URL.fullmatch(value):
        return "is not an address like https://example.com"
    if field.pattern is not None and not fits(field.pattern, value):
        return "does not match the pattern"
    return None


def _is_date(value: str) -> bool:
    try:
        return DATE.fullmatch(value) is not None and bool(date.fromisoformat(value))
    except ValueError:
        return False


def reward_snapshot(reward: Reward) -> dict[str, Any]:
    """The reward as redemptions and webhooks show it, as it was when the user redeemed."""
    return {"id": str(reward.reward_id), "slug": reward.slug, "name": reward.name, "type": reward.type, "value": reward.value}
