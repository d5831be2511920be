"""Redemptions as they are shown (contract 4, Redemption)."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType, structs

from domain.points.ledger_wire import CurrencyId
from domain.redemption.redemption import (
    DeliveryLine,
    Redemption,
    RedemptionFlag,
    RedemptionState,
    SourceType,
    TimelineRow,
    points_number,
    workflow_id,
)
from domain.webhook.webhook import DeliveryState
from domain.wire import Actor, ExternalId, FreeForm, Id, Instant, NextCursor, Number, optional_rfc3339, rfc3339

Origin = Annotated[SourceType, Meta(description="What it comes from", examples=["purchase"])]
OriginId = Annotated[str | None, Meta(description="Which window, run, change of tier or request; null for a purchase", examples=[None])]
Workflow = Meta(description="For the Temporal UI", examples=["redemption:0193f1de…:0193f1de…"])
Fields = Annotated[FreeForm, Meta(description="What the user filled in", examples=[{"size": "M"}])]
FulfillmentData = Annotated[
    FreeForm, Meta(description="What the partner left: a code, a tracking number …", examples=[{"code": "AB12-CD34"}])
]


class RedeemedReward(msgspec.Struct, frozen=True, kw_only=True):
    """The reward, or the item, as it was when it was redeemed."""

    id: Id
    slug: Annotated[str | None, Meta(description="null for reward items", examples=["coffee"])]
    name: Annotated[str, Meta(examples=["A coffee"])]
    type: Annotated[str, Meta(examples=["voucher"])]
    value: Any


class TimelineEntryAnswer(msgspec.Struct, frozen=True, kw_only=True, rename={"from_status": "from", "to_status": "to"}):
    """A move of a redemption. With `from` as `to` it is a note: a callback that was refused, or a webhook that was sent again."""

    at: Instant
    from_status: Annotated[RedemptionState | None, Meta(description="null for the first", examples=["pending"])]
    to_status: Annotated[RedemptionState, Meta(examples=["processing"])]
    by: Annotated[Actor | None, Meta(description="To players, `tenant` stands for whoever of the tenant's side it was")]
    note: Annotated[str | None, Meta(examples=[None])]


class RedemptionDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """The webhook that asked the partner for the fulfilment."""

    delivery_id: Id
    state: Annotated[DeliveryState, Meta(examples=["delivered"])]
    attempts: Annotated[int, Meta(examples=[1])]
    last_status: Annotated[int | None, Meta(description="HTTP status of the latest answer", examples=[200])]
    next_attempt_at: Annotated[Instant | None, Meta(examples=[None])]


class RedemptionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What redemptions and orders have in common. Players are shown neither flags nor deliveries, nor what staff wrote."""

    redemption_id: Id
    status: Annotated[RedemptionState, Meta(examples=["processing"])]
    flags: Annotated[list[RedemptionFlag], Meta(description="What a person should look at", examples=[[]])]
    user_id: Annotated[Id, Meta(description="Laurel's own id of the user")]
    external_user_id: ExternalId
    reward_id: Id
    reward: RedeemedReward
    variant_id: Annotated[str | None, Meta(examples=["large"])]
    source_type: Origin
    source_id: OriginId
    points_spent: Annotated[Number, Meta(description="In units of `currency`; 0 for what was granted", examples=[500])]
    currency: CurrencyId | None
    fields: Fields
    fulfillment_data: FulfillmentData
    failure_reason: Annotated[str | None, Meta(description="Why it failed: Out of stock …", examples=[None])]
    created_at: Instant
    updated_at: Instant
    fulfilled_at: Annotated[Instant | None, Meta(examples=[None])]
    deadline_at: Annotated[Instant | None, Meta(description="When it expires unless it is fulfilled by then")]
    timeline: list[TimelineEntryAnswer]
    deliveries: list[RedemptionDelivery]


class RedemptionAnswer(RedemptionFacts, frozen=True, kw_only=True):
    """A reward that a user gets: its state, its timeline, and the webhook that asked for it."""

    workflow_id: Annotated[str, Workflow]


class RedemptionListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Redemptions, newest first."""

    redemptions: list[RedemptionAnswer]
    next_cursor: NextCursor


class OrderAnswer(RedemptionFacts, frozen=True, kw_only=True):
    """What a user has, or gets: a redemption, or a grant that needed none and was fulfilled at once."""

    workflow_id: Annotated[str | None, Workflow]
    grant_id: Annotated[Id, Meta(description="Of a grant, whose `redemption_id` is the same")] | UnsetType = UNSET


class OrderListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A user's orders, newest first."""

    orders: list[OrderAnswer]
    next_cursor: NextCursor


def redemption_answer(redemption: Redemption, timeline: list[TimelineRow], deliveries: list[DeliveryLine]) -> RedemptionAnswer:
    """The redemption as staff see it: `domain.player` says what its user sees."""
    reward = redemption.reward
    return RedemptionAnswer(
        redemption_id=redemption.redemption_id,
        status=redemption.status,
        flags=[RedemptionFlag(flag) for flag in redemption.flags],
        user_id=redemption.user_id,
        external_user_id=redemption.external_user_id,
        reward_id=redemption.reward_id,
        reward=RedeemedReward(
            id=redemption.reward_id,
            slug=reward.get("slug"),
            name=reward["name"],
            type=reward["type"],
            value=reward.get("value"),
        ),
        variant_id=redemption.variant_id,
        source_type=SourceType(redemption.source_type),
        source_id=redemption.source_id,
        points_spent=points_number(redemption),
        currency=redemption.currency,
        fields=redemption.fields,
        fulfillment_data=redemption.fulfillment_data,
        failure_reason=redemption.failure_reason,
        created_at=rfc3339(redemption.created_at),
        updated_at=rfc3339(redemption.updated_at),
        fulfilled_at=optional_rfc3339(redemption.fulfilled_at),
        deadline_at=optional_rfc3339(redemption.deadline_at),
        timeline=[_entry(row) for row in timeline],
        deliveries=[_delivery(line) for line in deliveries],
        workflow_id=workflow_id(redemption.tenant_id, redemption.redemption_id),
    )


def _entry(row: TimelineRow) -> TimelineEntryAnswer:
    return TimelineEntryAnswer(
        at=rfc3339(row.at),
        from_status=None if row.from_status is None else RedemptionState(row.from_status),
        to_status=RedemptionState(row.to_status),
        by=row.by,
        note=row.note,
    )


def _delivery(line: DeliveryLine) -> RedemptionDelivery:
    return RedemptionDelivery(
        delivery_id=line.delivery_id,
        state=DeliveryState(line.state),
        attempts=line.attempts,
        last_status=line.last_status,
        next_attempt_at=optional_rfc3339(line.next_attempt_at),
    )


def order_answer(redemption: RedemptionAnswer) -> OrderAnswer:
    """The redemption as an order."""
    return OrderAnswer(**structs.asdict(redemption))
