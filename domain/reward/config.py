"""Reward configs: who gets which items, and how much a run may give (contract 4, Reward items and configs)."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.errors import ValidationError
from domain.points.ledger import Currency, amount_from_wire
from domain.reward.item import ItemCopy
from domain.wire import amount_number, convert_value, number_problem, points_units

MAX_TIERS = 100
MAX_ITEMS = 50
MAX_BUDGETS = 20
Number = int | float


ItemIds = Annotated[list[UUID], Meta(min_length=1, max_length=MAX_ITEMS, description="What whoever fits gets")]
Budget = Annotated[
    dict[str, Number], Meta(description="The most that a run gives: amounts by currency, counts by item id", examples=[{"points": 100000}])
]


class RewardTierBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who gets what: by rank, by score or by percent; without any of these everybody fits."""

    item_ids: ItemIds
    name: Annotated[str, Meta(min_length=1, max_length=255, examples=["Top 10"])] | None = None
    min_rank: Annotated[int, Meta(ge=1, le=1_000_000, examples=[1])] | None = None
    max_rank: Annotated[int, Meta(ge=1, le=1_000_000, examples=[10])] | None = None
    min_score: Annotated[Annotated[float, Meta(ge=-9e11, le=9e11)] | int | None, Meta(examples=[None])] = None
    top_percent: Annotated[
        Annotated[float, Meta(gt=0, le=100)] | int | None, Meta(description="Of those who are ranked, rounded up", examples=[None])
    ] = None


class RewardConfigBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an admin writes of a reward config. A user gets the items of the first tier that fits."""

    name: Annotated[str, Meta(min_length=1, max_length=255, examples=["Weekly winners"])]
    tiers: Annotated[list[RewardTierBody], Meta(min_length=1, max_length=MAX_TIERS)]
    budget: Budget = {}


class ConfigTier(msgspec.Struct, frozen=True, kw_only=True):
    """Who fits: a rank from `min_rank` to `max_rank` (None: no bound), a score (1/10 000) of at least `min_score`, or the best
    `top_percent` of the ranked. Without any bound everybody does."""

    item_ids: list[UUID]
    name: str | None = None
    min_rank: int | None = None
    max_rank: int | None = None
    min_score: int | None = None
    top_percent: float | None = None


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a run gives, copied: the first tier that fits counts. `budget` and totals are {currency: smallest units, item id: count};
    `places` are the decimal places of the currencies among them."""

    tiers: list[ConfigTier]
    items: dict[UUID, ItemCopy]
    budget: dict[str, int] = {}
    places: dict[str, int] = {}


class RewardConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A config as it is kept. `budget` is {currency: smallest units, item id: count}."""

    reward_config_id: UUID
    name: str
    tiers: list[ConfigTier]
    budget: dict[str, int]
    version: int
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None


def parse_config(value: Any) -> RewardConfigBody:
    """A decoded request body as a checked config; ValidationError names the faulty field."""
    body = convert_value(value, RewardConfigBody)
    for place, tier in enumerate(body.tiers):
        _check_tier(tier, f"tiers[{place}]")
    return body


def _check_tier(tier: RewardTierBody, where: str) -> None:
    if len(set(tier.item_ids)) != len(tier.item_ids):
        raise ValidationError.of(f"{where}.item_ids", "contains an item twice")
    by_rank = tier.min_rank is not None or tier.max_rank is not None
    if by_rank + (tier.min_score is not None) + (tier.top_percent is not None) > 1:
        raise ValidationError.of(where, "must use only one of rank, min_score and top_percent")
    if tier.min_rank is not None and tier.max_rank is not None and tier.min_rank > tier.max_rank:
        raise ValidationError.of(f"{where}.max_rank", "must not be less than min_rank")
    problem = number_problem([tier.min_score, tier.top_percent])
    if problem:
        raise ValidationError.of(where, problem.message)
    if tier.top_percent is not None and not 0 < tier.top_percent <= 100:
        raise ValidationError.of(f"{where}.top_percent", "must be more than 0 and at most 100")


def kept_tiers(body: RewardConfigBody, items: Collection[UUID]) -> list[ConfigTier]:
    """The tiers as they are kept; ValidationError for an item that is not among these."""
    for place, tier in enumerate(body.tiers):
        for number, item_id in enumerate(tier.item_ids):
            if item_id not in items:
                raise ValidationError.of(f"tiers[{place}].item_ids[{number}]", "is not a reward item of this tenant")
    return [
        ConfigTier(
            name=tier.name,
            min_rank=tier.min_rank,
            max_rank=tier.max_rank,
            min_score=None if tier.min_score is None else points_units(tier.min_score),
            top_percent=tier.top_percent,
            item_ids=tier.item_ids,
        )
        for tier in body.tiers
    ]


def kept_budget(budget: Mapping[str, Number], items: Collection[UUID], currencies: Mapping[str, Currency]) -> dict[str, int]:
    """A run's budget in smallest units and counts; ValidationError for what is neither a currency nor one of the items given."""
    if len(budget) > MAX_BUDGETS:
        raise ValidationError.of("budget", f"can limit at most {MAX_BUDGETS} currencies and items")
    names = {str(item_id) for item_id in items}
    kept = {}
    for key, limit in budget.items():
        field = f"budget.{key}"
        if limit < 0:
            raise ValidationError.of(field, "must not be negative")
        if key in currencies:
            kept[key] = amount_from_wire(limit, currencies[key].decimal_places, field)
        elif key in names:
            kept[key] = amount_from_wire(limit, 0, field)
        else:
            raise ValidationError.of(field, "is neither a currency nor an item of this config")
    return kept


def budget_wire(budget: Mapping[str, int], places: Mapping[str, int]) -> dict[str, Any]:
    """A budget as admins write it."""
    return {key: amount_number(limit, places.get(key, 0)) for key, limit in budget.items()}
