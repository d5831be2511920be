"""Grants as they are shown (contract 4, Grant)."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.payout.grant import Grant
from domain.redemption.redemption import RedemptionState, SourceType
from domain.redemption.redemption_wire import OrderAnswer, Origin, RedeemedReward, TimelineEntryAnswer
from domain.reward.item import ItemPayload, RewardType, RewardValue
from domain.wire import Actor, ExternalId, Id, Instant, NextCursor, rfc3339

ID = "0193f1de-7c1a-7e2b-9d65-0c8b5d1f4a10"


class GrantAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An item that a user was given. `granted_by` and `reason` are not shown to players."""

    grant_id: Id
    user_id: Id
    external_user_id: ExternalId
    item_id: Id
    name: Annotated[str, Meta(description="The item's, as it was then", examples=["Winner's badge"])]
    reward_type: RewardType
    reward_value: RewardValue
    payload: ItemPayload
    source_type: Annotated[Origin, Meta(examples=["manual"])]
    source_id: Annotated[str, Meta(description="Which window, run, change of tier or request", examples=[ID])]
    run_id: Annotated[Id | None, Meta(description="The payout run that gave it", examples=[None])]
    redemption_id: Annotated[Id | None, Meta(description="By which it is fulfilled; null for what was given at once", examples=[None])]
    reason: Annotated[str | None, Meta(description="What staff wrote", examples=["An apology for Tuesday"])]
    created_at: Instant
    granted_by: Actor | UnsetType | None = UNSET


class GrantListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Grants, newest first."""

    grants: list[GrantAnswer]
    next_cursor: NextCursor


class CreatedGrants(msgspec.Struct, frozen=True, kw_only=True):
    """What was given by hand."""

    source_type: Annotated[Origin, Meta(examples=["manual"])]
    source_id: Annotated[str, Meta(description="This request's own; lists of grants can be narrowed to it", examples=[ID])]
    granted: Annotated[int, Meta(examples=[1])]
    grants: list[GrantAnswer]


def grant_answer(grant: Grant) -> GrantAnswer:
    """The grant for staff: `domain.player` says what its user sees."""
    return GrantAnswer(
        grant_id=grant.grant_id,
        user_id=grant.user_id,
        external_user_id=grant.external_user_id,
        item_id=grant.item_id,
        name=grant.item["name"],
        reward_type=grant.item["reward_type"],
        reward_value=grant.item["reward_value"],
        payload=grant.item.get("payload", {}),
        source_type=SourceType(grant.source_type),
        source_id=grant.source_id,
        run_id=grant.payout_run_id,
        redemption_id=grant.redemption_id,
        reason=grant.reason,
        created_at=rfc3339(grant.created_at),
        granted_by=grant.granted_by,
    )


def grant_order(grant: Grant) -> OrderAnswer:
    """A grant that needed no redemption, as an order: fulfilled the moment it was given."""
    at, item = rfc3339(grant.created_at), grant.item
    given = TimelineEntryAnswer(at=at, from_status=None, to_status=RedemptionState.FULFILLED, by=grant.granted_by, note=grant.reason)
    return OrderAnswer(
        redemption_id=grant.grant_id,
        grant_id=grant.grant_id,
        status=RedemptionState.FULFILLED,
        flags=[],
        user_id=grant.user_id,
        external_user_id=grant.external_user_id,
        reward_id=grant.item_id,
        reward=RedeemedReward(id=grant.item_id, slug=None, name=item["name"], type=item["reward_type"], value=item["reward_value"]),
        variant_id=None,
        source_type=SourceType(grant.source_type),
        source_id=grant.source_id,
        points_spent=0,
        currency=None,
        fields={},
        fulfillment_data={},
        failure_reason=None,
        created_at=at,
        updated_at=at,
        fulfilled_at=at,
        deadline_at=None,
        timeline=[given],
        deliveries=[],
        workflow_id=None,
    )
