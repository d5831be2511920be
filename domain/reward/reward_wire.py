"""Rewards of the store as admins see them (contract 4, Store)."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, structs

from domain.points.ledger import Currency
from domain.reward.reward import Price, Reward, RewardBody, RewardPrice, RewardVariant
from domain.wire import Id, Instant, NextCursor, amount_number, rfc3339


class RewardAnswer(RewardBody, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A reward in the store: what admins wrote, and what it has become."""

    reward_id: Id
    version: Annotated[int, Meta(description="For If-Match", examples=[1])]
    created_at: Instant
    updated_at: Instant


class RewardListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Rewards, newest first, including inactive ones."""

    rewards: list[RewardAnswer]
    next_cursor: NextCursor


def prices_shown(prices: list[Price], currencies: Mapping[str, Currency]) -> list[RewardPrice]:
    """Prices in the units of their currencies."""
    return [
        RewardPrice(currency=price.currency, amount=amount_number(price.amount, currencies[price.currency].decimal_places))
        for price in prices
    ]


def variants_shown(reward: Reward, currencies: Mapping[str, Currency]) -> list[RewardVariant]:
    """The variants; `stock` None means that the reward's counts."""
    return [
        RewardVariant(
            id=variant.id,
            name=variant.name,
            prices=None if variant.prices is None else prices_shown(variant.prices, currencies),
            stock=reward.variant_stock.get(variant.id),
            value=variant.value,
        )
        for variant in reward.variants
    ]


def reward_answer(reward: Reward, currencies: Mapping[str, Currency]) -> RewardAnswer:
    """The reward as admins see it."""
    return RewardAnswer(
        reward_id=reward.reward_id,
        slug=reward.slug,
        name=reward.name,
        description=reward.description,
        image_url=reward.image_url,
        active=reward.active,
        type=reward.type,
        value=reward.value,
        prices=prices_shown(reward.prices, currencies),
        variants=variants_shown(reward, currencies),
        stock=reward.stock,
        max_per_user=reward.max_per_user,
        per_user_period=reward.per_user_period,
        visible_from=reward.visible_from,
        visible_until=reward.visible_until,
        available_from=reward.available_from,
        available_until=reward.available_until,
        eligibility=reward.eligibility,
        requires_claim=reward.requires_claim,
        requires_approval=reward.requires_approval,
        fields=reward.fields,
        fulfilment=reward.fulfilment,
        config=reward.config,
        version=reward.version,
        created_at=rfc3339(reward.created_at),
        updated_at=rfc3339(reward.updated_at),
    )


def reward_body_wire(reward: Reward, currencies: Mapping[str, Currency]) -> dict[str, Any]:
    """What an admin may write of the reward, as JSON values: `parse_reward` takes it back, so PATCH is this with the changes on top.

    The stock of a reward with codes is their number, which nobody writes.
    """
    shown = reward_answer(reward, currencies)
    if reward.fulfilment.type == "codes":
        shown = structs.replace(shown, stock=None, variants=[structs.replace(each, stock=None) for each in shown.variants])
    written: dict[str, Any] = msgspec.to_builtins(shown)
    return {name: written[name] for name in RewardBody.__struct_fields__}
