"""The bodies of webhooks, member by member in the order in which they are sent (contract 5; `reward.low_stock` is ours).

`domain/webhook/body.py` writes the bytes; what it writes between `event` and `timestamp` are the members named here.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from domain.wire import ExternalId, FreeForm, Id, Number

Timestamp = Annotated[str, Meta(examples=["2026-03-01T04:11:00.763Z"], extra_json_schema={"format": "date-time"})]
SentInstant = Annotated[str, Meta(examples=["2025-11-18T12:00:00Z"], extra_json_schema={"format": "date-time"})]


class WebhookReward(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reward of a redemption as partners are told it."""

    id: Id
    name: Annotated[str | None, Meta(examples=["Voucher 10K"])]
    type: Annotated[str | None, Meta(examples=["voucher"])]
    fulfillment_data: Annotated[FreeForm, Meta(description="What the user filled in, and variant_id when there is one")] = msgspec.field(
        name="fulfillmentData"
    )


class RewardRedeemedBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user spent points, or got an item that you fulfil: do so, and call back."""

    event: Literal["reward_redeemed"]
    redemption_id: Id
    user_id: Id
    external_user_id: ExternalId
    reward_id: Id
    reward_type: Annotated[str | None, Meta(examples=["voucher"])]
    reward_value: Annotated[Any, Meta(examples=[10])]
    points_spent: Number
    reward: WebhookReward
    timestamp: Timestamp


class RedemptionUpdatedBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A redemption moved."""

    event: Literal["redemption_updated"]
    redemption_id: Id
    user_id: Id
    external_user_id: ExternalId
    reward_id: Id
    previous_status: Annotated[str, Meta(examples=["processing"])]
    status: Annotated[str, Meta(examples=["fulfilled"])]
    fulfillment_data: FreeForm | None
    timestamp: Timestamp


class TierChangeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user moved to another tier."""

    event: Literal["tier_change"]
    user_id: Id
    external_user_id: ExternalId
    previous_tier: str | None
    new_tier: str | None
    points: Number
    timestamp: Timestamp


class RewardGrantedBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user was given an item."""

    event: Literal["reward_granted"]
    grant_id: Id
    user_id: Id
    external_user_id: ExternalId
    item_id: Id
    reward_type: Annotated[str, Meta(examples=["badge"])]
    reward_value: Annotated[Any, Meta(examples=[10])]
    source_type: Annotated[str, Meta(examples=["leaderboard"])]
    source_id: str
    timestamp: Timestamp


class PointsExpiringBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Points of a user expire soon."""

    event: Literal["points.expiring"]
    user_id: Id
    external_user_id: ExternalId
    currency: Annotated[str, Meta(examples=["points"])]
    amount: Number
    expires_at: SentInstant
    timestamp: Timestamp


class TopEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the best of a window."""

    rank: int
    user_id: ExternalId
    score: Number


class WindowClosedBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A window of a leaderboard is final."""

    event: Literal["leaderboard.window_closed"]
    leaderboard_id: str
    window_key: Annotated[str, Meta(examples=["2025-W47"])]
    starts_at: SentInstant | None
    ends_at: SentInstant | None
    total: Annotated[int, Meta(description="How many users were ranked")]
    top: Annotated[list[TopEntry], Meta(description="The first ten")]
    timestamp: Timestamp


class PayoutCompletedBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A payout run is over."""

    event: Literal["payout.completed"]
    schedule_id: Id | None
    run_id: Id
    recipients: int
    paid: int
    skipped: int
    total: Annotated[dict[str, Number], Meta(description="Amounts by currency, and counts by the id of the item")]
    timestamp: Timestamp


class LowStockBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The stock of a reward has run low."""

    event: Literal["reward.low_stock"]
    reward_id: Id
    slug: str
    name: str
    variant_id: str | None
    stock: int
    low_stock: Annotated[int, Meta(description="The level at or below which this is sent")]
    timestamp: Timestamp


class WebhookTestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody asked for a test."""

    event: Literal["webhook.test"]
    endpoint_id: Id
    timestamp: Timestamp


BODIES: dict[str, type[msgspec.Struct]] = {
    "reward_redeemed": RewardRedeemedBody,
    "redemption_updated": RedemptionUpdatedBody,
    "tier_change": TierChangeBody,
    "reward_granted": RewardGrantedBody,
    "points.expiring": PointsExpiringBody,
    "leaderboard.window_closed": WindowClosedBody,
    "payout.completed": PayoutCompletedBody,
    "reward.low_stock": LowStockBody,
    "webhook.test": WebhookTestBody,
}


def members_of(event: str) -> tuple[str, ...]:
    """The members of an event's body between `event` and `timestamp`, in their order."""
    names = BODIES[event].__struct_encode_fields__
    return names[1:-1]
