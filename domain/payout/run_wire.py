"""Payout runs and their recipients as people see them (contract 4, Payout schedules)."""

from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.payout.run import Run, RunStatus, payout_workflow_id
from domain.reward.config import RunConfig
from domain.wire import ExternalId, Id, Instant, NextCursor, Number, amount_number, optional_rfc3339, rfc3339, score_number


def total_wire(config: RunConfig, total: dict[str, int]) -> dict[str, int | float]:
    """A total as JSON values: amounts in the units of their currencies, counts by item id."""
    return {key: amount_number(amount, config.places.get(key, 0)) for key, amount in total.items()}


class RunWindow(NamedTuple):
    """Which window of which leaderboard a run pays the rewards of."""

    leaderboard_id: str
    window_key: str


Total = Annotated[dict[str, Number], Meta(description="Amounts by currency, and counts by the id of the item", examples=[{"points": 1500}])]


class PayoutRunAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A payout: whom it pays is fixed first, then it pays them in pages."""

    run_id: Id
    source_type: Annotated[str, Meta(description="leaderboard: a closed window; schedule: a schedule's instant", examples=["schedule"])]
    source_id: Annotated[str, Meta(description="The window's id, or the run's own", examples=["0193f1de-7c1a-7e2b-9d65-0c8b5d1f4a10"])]
    schedule_id: Id | None
    leaderboard_id: Annotated[str | None, Meta(description="The board whose window the run pays", examples=["weekly-wins"])]
    window_key: Annotated[str | None, Meta(examples=["2025-W47"])]
    trigger: Annotated[str, Meta(description="What started it: schedule, manual, backfill, window …", examples=["schedule"])]
    instant: Instant
    status: RunStatus
    reason: Annotated[str | None, Meta(description="Why it failed or was cancelled")]
    recipients: Annotated[int, Meta(description="How many users it pays", examples=[120])]
    not_covered: Annotated[int, Meta(description="How many more would fit but for the budget", examples=[0])]
    paid: Annotated[int, Meta(examples=[118])]
    skipped: Annotated[int, Meta(description="Recipients who got nothing; skipped_reasons says why", examples=[2])]
    progress: Annotated[float, Meta(description="The part of the recipients that was dealt with, 0 to 1", examples=[1.0])]
    planned_total: Total
    total: Total
    cancel_requested: bool
    created_at: Instant
    planned_at: Annotated[Instant | None, Meta(description="When the recipients were fixed")]
    finished_at: Instant | None
    workflow_id: Annotated[str, Meta(description="For the Temporal UI")]
    skipped_reasons: Annotated[dict[str, int], Meta(description="How many by reason; only where one run is asked for")] | UnsetType = UNSET


class PayoutRunListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Payout runs, newest first."""

    payout_runs: list[PayoutRunAnswer]
    next_cursor: NextCursor


class ScheduleRunListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of a schedule, newest first."""

    runs: list[PayoutRunAnswer]
    next_cursor: NextCursor


class RecipientState(StrEnum):
    """What became of one of the audience."""

    PENDING = "pending"
    PAID = "paid"
    SKIPPED = "skipped"


class RecipientAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One of a run's audience: place, tier, items, and what became of it."""

    ordinal: Annotated[int, Meta(description="The order in which they are paid", examples=[1])]
    user_id: Id
    external_user_id: ExternalId
    rank: Annotated[int | None, Meta(examples=[1])]
    score: Number | None
    tier: Annotated[str | None, Meta(description="The name of the config's tier", examples=["Top 10"])]
    item_ids: list[str]
    missing_item_ids: Annotated[list[str], Meta(description="Items that could not be given, such as codes of an empty pool")]
    state: RecipientState
    reason: str | None


class RecipientListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A run's recipients in the order in which they are paid."""

    recipients: list[RecipientAnswer]
    next_cursor: NextCursor


def run_answer(run: Run, reasons: dict[str, int] | None = None, window: RunWindow | None = None) -> PayoutRunAnswer:
    """The run as admins see it."""
    return PayoutRunAnswer(
        run_id=run.payout_run_id,
        source_type=run.source_type,
        source_id=run.source_id,
        schedule_id=run.schedule_id,
        leaderboard_id=None if window is None else window.leaderboard_id,
        window_key=None if window is None else window.window_key,
        trigger=run.trigger,
        instant=rfc3339(run.instant),
        status=run.status,
        reason=run.reason,
        recipients=run.recipients,
        not_covered=run.not_covered,
        paid=run.paid,
        skipped=run.skipped,
        progress=_progress(run),
        planned_total=total_wire(run.config, run.planned_total),
        total=total_wire(run.config, run.total),
        cancel_requested=run.cancel_requested,
        created_at=rfc3339(run.created_at),
        planned_at=optional_rfc3339(run.planned_at),
        finished_at=optional_rfc3339(run.finished_at),
        workflow_id=payout_workflow_id(run.tenant_id, run.payout_run_id, run.attempt),
        skipped_reasons=UNSET if reasons is None else reasons,
    )


def _progress(run: Run) -> float:
    if run.planned_at is None:
        return 0.0
    return 1.0 if run.recipients == 0 else round(run.cursor / run.recipients, 4)


def recipient_answer(run: Run, row: dict[str, Any]) -> RecipientAnswer:
    """One of the audience, as its row says."""
    return RecipientAnswer(
        ordinal=row["ordinal"],
        user_id=row["user_id"],
        external_user_id=row["external_user_id"],
        rank=row["rank"],
        score=None if row["score"] is None else score_number(row["score"]),
        tier=row["tier_name"],
        item_ids=[str(item_id) for item_id in run.config.tiers[row["tier_number"]].item_ids],
        missing_item_ids=[str(item_id) for item_id in row["missing"] or []],
        state=RecipientState(row["state"]),
        reason=row["reason"],
    )
