"""Reward items as admins see them (contract 4, Reward items and configs)."""

from typing import Annotated

import msgspec
from msgspec import Meta

from domain.reward.item import ItemFulfilment, ItemPayload, RewardItem, RewardType, RewardValue
from domain.wire import Id, Instant, NextCursor, rfc3339


class RewardItemAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is given to a user for a rank, by a schedule or by hand."""

    item_id: Id
    name: Annotated[str, Meta(examples=["Winner's badge"])]
    description: str | None
    reward_type: RewardType
    reward_value: RewardValue
    payload: ItemPayload
    fulfilment: ItemFulfilment
    version: Annotated[int, Meta(description="For If-Match", examples=[1])]
    created_at: Instant
    updated_at: Instant


class RewardItemListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Reward items, newest first."""

    reward_items: list[RewardItemAnswer]
    next_cursor: NextCursor


def item_answer(item: RewardItem) -> RewardItemAnswer:
    """The item as admins see it."""
    return RewardItemAnswer(
        item_id=item.item_id,
        name=item.name,
        description=item.description,
        reward_type=item.reward_type,
        reward_value=item.reward_value,
        payload=item.payload,
        fulfilment=item.fulfilment,
        version=item.version,
        created_at=rfc3339(item.created_at),
        updated_at=rfc3339(item.updated_at),
    )
