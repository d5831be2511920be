"""Payout runs: who gets what, fixed first, then paid in pages (contract 4, Payout schedules).

planning ──▶ paying ──▶ completed | failed
    └──────────┴──▶ cancelled (between pages)
failed, cancelled ──▶ planning | paying (a retry)
"""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from domain import limits
from domain.reward.config import ConfigTier, RunConfig


class RunStatus(StrEnum):
    """Where a run stands."""

    PLANNING = "planning"
    PAYING = "paying"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


SHORTEST_LOOK_SECONDS, LONGEST_LOOK_SECONDS, LATEST_LOOK_SECONDS = 5.0, 120.0, 300.0
OVER = frozenset({RunStatus.COMPLETED, RunStatus.CANCELLED, RunStatus.FAILED})


MANY_RECIPIENTS = 100_000_000


def ceilings(config: RunConfig) -> dict[str, int]:
    """What a run may give in all: its budget, and of each currency that could come to more no more than a JSON number carries."""
    costs = [tier_cost(config, number) for number in range(len(config.tiers))]
    currencies = {item.currency for item in config.items.values()}
    large = {key for cost in costs for key, each in cost.items() if key in currencies and each * MANY_RECIPIENTS > limits.RUN_TOTAL.value}
    return {**dict.fromkeys(sorted(large), limits.RUN_TOTAL.value), **config.budget}


def highest_rank(top_percent: float, ranked: int) -> int:
    """The last rank among the best `top_percent` of so many, rounded up."""
    return math.ceil(Decimal(repr(top_percent)) * ranked / 100)


def fits(tier: ConfigTier, rank: int | None, score: int | None, ranked: int) -> bool:
    """Whether somebody of this rank and score is in the tier. Without a rank, only tiers that do not ask for one fit."""
    last = tier.max_rank if tier.top_percent is None else highest_rank(tier.top_percent, ranked)
    if (tier.min_rank is not None or last is not None) and rank is None:
        return False
    if tier.min_score is not None and (score is None or score < tier.min_score):
        return False
    return (tier.min_rank is None or (rank or 0) >= tier.min_rank) and (last is None or (rank or 0) <= last)


def tier_for(config: RunConfig, rank: int | None, score: int | None, ranked: int) -> int | None:
    """The number of the first tier that fits, or None. The reference for what planning does in SQL."""
    return next((number for number, tier in enumerate(config.tiers) if fits(tier, rank, score, ranked)), None)


def tier_cost(config: RunConfig, number: int) -> dict[str, int]:
    """What one recipient of this tier costs: {currency: smallest units, item id: count}."""
    cost: dict[str, int] = {}
    for item_id in config.tiers[number].item_ids:
        item = config.items[item_id]
        cost[str(item_id)] = cost.get(str(item_id), 0) + 1
        if item.currency is not None:
            cost[item.currency] = cost.get(item.currency, 0) + (item.amount or 0)
    return cost


def total_cost(config: RunConfig, recipients: Mapping[int, int]) -> dict[str, int]:
    """What so many recipients of each tier cost together."""
    total: dict[str, int] = {}
    for number, count in recipients.items():
        add_to(total, ((key, each * count) for key, each in tier_cost(config, number).items()))
    return total


def add_to(total: dict[str, int], more: Iterable[tuple[str, int]]) -> None:
    """Add amounts by their keys."""
    for key, amount in more:
        total[key] = total.get(key, 0) + amount


def seconds_until_next_look(closes_at: datetime | None, now: datetime) -> float:
    """How long a run waits before it asks again for an audience whose window is not frozen yet.

    Until the window closes, but two minutes at most, for it may be closed early. After that a tenth of how late it is, from five seconds
    to five minutes. So neither a day of grace nor a fortnight without scoring makes a history that Temporal ends, and rewards come soon
    after the window has been frozen at last.
    """
    if closes_at is None:
        return LONGEST_LOOK_SECONDS
    late = (now - closes_at).total_seconds()
    if late < 0:
        return min(LONGEST_LOOK_SECONDS, max(SHORTEST_LOOK_SECONDS, -late))
    return min(LATEST_LOOK_SECONDS, max(SHORTEST_LOOK_SECONDS, late / 10))


def payout_workflow_id(tenant_id: UUID, run_id: UUID, attempt: int = 1) -> str:
    """The workflow of a run; a retry has one of its own."""
    return f"payout-run:{tenant_id}:{run_id}" + (f":{attempt}" if attempt > 1 else "")


class PayoutRunInput(msgspec.Struct, frozen=True, kw_only=True):
    """Which run the workflow is about. All else stands in PostgreSQL."""

    tenant_id: UUID
    run_id: UUID


class PayoutProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is. `wait_seconds`: its audience is not there yet, ask again then."""

    status: RunStatus
    recipients: int = 0
    paid: int = 0
    skipped: int = 0
    reason: str | None = None
    wait_seconds: float | None = None


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be made. `source_id` None: the run itself (schedules). `audience` is what `storage.payout.audience.audience_of` reads:

    {"type": "window", "window_id"}, or the audience of a schedule (contract 4) as it was written.
    """

    source_type: str
    instant: datetime
    trigger: str
    audience: dict[str, Any]
    config: RunConfig
    source_id: str | None = None
    schedule_id: UUID | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it is kept."""

    tenant_id: UUID
    payout_run_id: UUID
    source_type: str
    source_id: str
    schedule_id: UUID | None
    instant: datetime
    trigger: str
    audience: dict[str, Any]
    config: RunConfig
    status: RunStatus
    reason: str | None
    attempt: int
    cancel_requested: bool
    recipients: int
    not_covered: int
    cursor: int
    paid: int
    skipped: int
    planned_total: dict[str, int]
    total: dict[str, int]
    created_at: datetime
    updated_at: datetime
    planned_at: datetime | None
    finished_at: datetime | None
