"""Reward items: what boards, schedules and staff give (contract 4, Reward items and configs)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.canonical_json import canonical_json
from domain.errors import ValidationError
from domain.points.ledger import POINTS, Currency, amount_from_wire
from domain.reward.reward import DEFAULT_DEADLINE_SECONDS, MAX_JSON_BYTES, AnswerIsCallback, DeadlineSeconds, FulfilmentEndpoint
from domain.wire import FreeForm, convert_value

WALLET_TYPES = ("points", "currency")
RECORDED_TYPES = ("badge", "item")

RewardType = Annotated[
    str, Meta(min_length=1, max_length=64, description="points, currency, item, badge, or a word of your own", examples=["badge"])
]
RewardValue = Annotated[Any, Meta(description="Of points and currencies the amount", examples=[100])]
ItemPayload = Annotated[
    FreeForm, Meta(description="What the partner is told with it; of a currency, `currency` names it", examples=[{"colour": "gold"}])
]


class ItemFulfilment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the user gets it: the `wallet` is credited or it is just `recorded`; by `webhook`, `codes` or `manual` work it becomes a
    redemption without a price."""

    type: Annotated[Literal["wallet", "recorded", "webhook", "codes", "manual"], Meta(examples=["recorded"])]
    endpoint_id: FulfilmentEndpoint = None
    deadline_seconds: DeadlineSeconds = DEFAULT_DEADLINE_SECONDS
    answer_is_callback: AnswerIsCallback = False


class RewardItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an admin writes of a reward item. Without `fulfilment` the type says it."""

    name: Annotated[str, Meta(min_length=1, max_length=255, examples=["Winner's badge"])]
    reward_type: RewardType
    description: Annotated[str, Meta(max_length=10_000, examples=["For a first place"])] | None = None
    reward_value: RewardValue = None
    payload: ItemPayload = {}
    fulfilment: ItemFulfilment | None = None


class RewardItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item as it is kept. `currency` and `amount` (smallest unit) are what a wallet item credits."""

    item_id: UUID
    name: str
    description: str | None
    reward_type: str
    reward_value: Any
    payload: dict[str, Any]
    fulfilment: ItemFulfilment
    currency: str | None
    amount: int | None
    version: int
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None


class ItemCopy(msgspec.Struct, frozen=True, kw_only=True):
    """An item as a run gives it. `currency` and `amount` (smallest unit) say what a wallet item credits; `fulfilment` is
    {"type": "wallet" | "recorded" | "webhook" | "codes" | "manual", …}."""

    item_id: UUID
    name: str
    reward_type: str
    reward_value: Any = None
    payload: dict[str, Any] = {}
    fulfilment: dict[str, Any]
    currency: str | None = None
    amount: int | None = None


def parse_item(value: Any) -> RewardItemBody:
    """A decoded request body as a checked item with its fulfilment; ValidationError names the faulty field."""
    body = convert_value(value, RewardItemBody)
    if len(canonical_json([body.reward_value, body.payload])) > MAX_JSON_BYTES:
        raise ValidationError.of("payload", f"is larger than {MAX_JSON_BYTES} bytes, including reward_value")
    fulfilment = body.fulfilment or ItemFulfilment(type=default_fulfilment(body.reward_type))
    if fulfilment.type == "wallet" and body.reward_type not in WALLET_TYPES:
        raise ValidationError.of("reward_type", "must be points or currency when the fulfilment is wallet")
    return msgspec.structs.replace(body, fulfilment=fulfilment)


def default_fulfilment(reward_type: str) -> Literal["wallet", "recorded", "webhook"]:
    """How an item of this type reaches its user unless it says so itself."""
    if reward_type in WALLET_TYPES:
        return "wallet"
    return "recorded" if reward_type in RECORDED_TYPES else "webhook"


def credit_of(body: RewardItemBody, currencies: Mapping[str, Currency]) -> tuple[str | None, int | None]:
    """What a wallet item credits: the currency and the amount in its smallest unit; ValidationError when it does not say so."""
    if body.fulfilment is None or body.fulfilment.type != "wallet":
        return None, None
    named = POINTS if body.reward_type == "points" else body.payload.get("currency")
    currency = currencies.get(named) if isinstance(named, str) else None
    if currency is None:
        raise ValidationError.of("payload.currency", "is not a currency of this tenant")
    if type(body.reward_value) not in (int, float) or body.reward_value <= 0:
        raise ValidationError.of("reward_value", "must be the amount that is credited, more than 0")
    return currency.currency_id, amount_from_wire(body.reward_value, currency.decimal_places, "reward_value")


def item_copy(item: RewardItem) -> ItemCopy:
    """The item as runs and grants copy it."""
    return ItemCopy(
        item_id=item.item_id,
        name=item.name,
        reward_type=item.reward_type,
        reward_value=item.reward_value,
        payload=item.payload,
        fulfilment=msgspec.to_builtins(item.fulfilment),
        currency=item.currency,
        amount=item.amount,
    )


def item_body_wire(item: RewardItem) -> dict[str, Any]:
    """What an admin may write of the item: `parse_item` takes it back, so PATCH is this with the changes on top."""
    return {
        "name": item.name,
        "description": item.description,
        "reward_type": item.reward_type,
        "reward_value": item.reward_value,
        "payload": item.payload,
        "fulfilment": msgspec.to_builtins(item.fulfilment),
    }
