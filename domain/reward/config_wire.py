"""Reward configs as admins see them (contract 4, Reward items and configs)."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.reward.config import Budget, ConfigTier, RewardConfig, RewardConfigBody, budget_wire
from domain.wire import Id, Instant, NextCursor, Number, rfc3339, score_number


class RewardTierAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets what. The bounds that it has are there; without any everybody fits."""

    name: Annotated[str | None, Meta(examples=["Top 10"])]
    min_rank: Annotated[int, Meta(examples=[1])] | UnsetType = UNSET
    max_rank: Annotated[int, Meta(examples=[10])] | UnsetType = UNSET
    min_score: Number | UnsetType = UNSET
    top_percent: Annotated[Number, Meta(description="Of those who are ranked, rounded up", examples=[10])] | UnsetType = UNSET
    item_ids: Annotated[list[UUID], Meta(description="What whoever fits gets")]


class RewardConfigAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is given to whom by a leaderboard's window or a schedule. A user gets the items of the first tier that fits."""

    reward_config_id: Id
    name: Annotated[str, Meta(examples=["Weekly winners"])]
    tiers: list[RewardTierAnswer]
    budget: Budget
    version: Annotated[int, Meta(description="For If-Match", examples=[1])]
    created_at: Instant
    updated_at: Instant


class RewardConfigListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Reward configs, newest first."""

    reward_configs: list[RewardConfigAnswer]
    next_cursor: NextCursor


def config_answer(config: RewardConfig, places: Mapping[str, int]) -> RewardConfigAnswer:
    """The config as admins see it. `places` are the decimal places of each currency."""
    return RewardConfigAnswer(
        reward_config_id=config.reward_config_id,
        name=config.name,
        tiers=[_tier(tier) for tier in config.tiers],
        budget=budget_wire(config.budget, places),
        version=config.version,
        created_at=rfc3339(config.created_at),
        updated_at=rfc3339(config.updated_at),
    )


def _tier(tier: ConfigTier) -> RewardTierAnswer:
    return RewardTierAnswer(
        name=tier.name,
        min_rank=UNSET if tier.min_rank is None else tier.min_rank,
        max_rank=UNSET if tier.max_rank is None else tier.max_rank,
        min_score=UNSET if tier.min_score is None else score_number(tier.min_score),
        top_percent=UNSET if tier.top_percent is None else tier.top_percent,
        item_ids=tier.item_ids,
    )


def config_body_wire(config: RewardConfig, places: Mapping[str, int]) -> dict[str, Any]:
    """What an admin may write of the config, as JSON values: `parse_config` takes it back."""
    written: dict[str, Any] = msgspec.to_builtins(config_answer(config, places))
    return {name: written[name] for name in RewardConfigBody.__struct_fields__}
