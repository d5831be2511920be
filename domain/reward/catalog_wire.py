"""What the catalog answers (contract 4, Store)."""

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.errors import InsufficientPoints, NotEligible, OutOfStock, UserLimitReached
from domain.reward.reward import RewardField, RewardPrice, RewardVariant
from domain.wire import Id, Instant, NextCursor, Number

SHORT_OF_POINTS = {
    "code": "INSUFFICIENT_POINTS",
    "message": "Not enough points: 40 available, 100 required",
    "available": 40,
    "required": 100,
}


class ObstacleCode(StrEnum):
    """What a purchase would be refused with."""

    NOT_ELIGIBLE = NotEligible.code
    USER_LIMIT_REACHED = UserLimitReached.code
    INSUFFICIENT_POINTS = InsufficientPoints.code
    OUT_OF_STOCK = OutOfStock.code


class ObstacleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Something that keeps the user from buying a reward now. Which further members there are depends on the code."""

    code: ObstacleCode
    message: Annotated[str, Meta(examples=["This reward is not available before 2025-11-18T12:00:00Z"])]
    condition: Annotated[str, Meta(description="What fails", examples=["available_from"])] | UnsetType = UNSET
    available_from: Instant | UnsetType = UNSET
    available_until: Instant | UnsetType = UNSET
    tiers: Annotated[list[str], Meta(description="The user needs one of these", examples=[["gold"]])] | UnsetType = UNSET
    limit: Annotated[int, Meta(description="How many a user may have", examples=[1])] | UnsetType = UNSET
    available: Annotated[Number, Meta(description="The user's balance")] | UnsetType = UNSET
    required: Annotated[Number, Meta(description="The price")] | UnsetType = UNSET


WhyNot = Annotated[
    list[ObstacleAnswer] | None,
    Meta(description="What keeps the user from buying it now; null for whoever is no user", examples=[[SHORT_OF_POINTS]]),
]
Eligible = Annotated[bool | None, Meta(description="Whether the user may have it, points and stock apart; null for whoever is no user")]


class BuyerView(msgspec.Struct, frozen=True, kw_only=True):
    """What a reward, or one of its variants, is to whoever asks."""

    eligible: Eligible
    why_not: WhyNot


class CatalogVariantAnswer(RewardVariant, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """One of the forms that a reward comes in. What is null is the reward's own."""

    eligible: Eligible
    why_not: WhyNot


class PurchaseTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a reward is bought for."""

    prices: Annotated[list[RewardPrice], Meta(description="Alternatives: one of them is paid. Variants may have their own")]


class CatalogEntryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A reward on sale."""

    id: Id
    slug: Annotated[str, Meta(examples=["coffee"])]
    name: Annotated[str, Meta(examples=["A coffee"])]
    description: str | None
    image_url: Annotated[str | None, Meta(examples=["https://example.com/coffee.png"])]
    type: Annotated[str, Meta(examples=["voucher"])]
    value: Any
    fields: Annotated[list[RewardField], Meta(description="What the user has to fill in")]
    purchase: PurchaseTerms
    variants: Annotated[list[CatalogVariantAnswer], Meta(description="One has to be chosen, where there are any")]
    stock: Annotated[int | None, Meta(description="How many are left; null: any number", examples=[100])]
    available_from: Annotated[Instant | None, Meta(description="When it can be bought for the first time")]
    available_until: Instant | None
    affordable: Annotated[bool | None, Meta(description="Whether the balance pays one of the prices; null when no balance is known")]
    points_needed: Annotated[Number | None, Meta(description="How much is missing for the nearest price", examples=[0])]
    eligible: Eligible
    why_not: WhyNot


class CatalogListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Rewards on sale, newest first."""

    rewards: list[CatalogEntryAnswer]
    next_cursor: NextCursor
