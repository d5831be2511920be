"""Payout runs and their recipients as people see them (contract 4, Payout schedules)."""

from typing import Any, NamedTuple

from domain.payout.run import Run, payout_workflow_id
from domain.reward.config import Prizes
from domain.wire import amount_number, optional_rfc3339, rfc3339, score_number


def total_wire(prizes: Prizes, total: dict[str, int]) -> dict[str, Any]:
    """A total as JSON values: amounts in the units of their currencies, counts by item id."""
    return {key: amount_number(amount, prizes.places.get(key, 0)) for key, amount in total.items()}


class RunWindow(NamedTuple):
    """Which window of which leaderboard a run pays the rewards of."""

    leaderboard_id: str
    window_key: str


def run_wire(run: Run, reasons: dict[str, int] | None = None, window: RunWindow | None = None) -> dict[str, Any]:
    """The run as JSON values. `progress` is the part of the recipients that was dealt with, 0 to 1."""
    shown = {
        "run_id": str(run.payout_run_id),
        "source_type": run.source_type,
        "source_id": run.source_id,
        "schedule_id": None if run.schedule_id is None else str(run.schedule_id),
        "leaderboard_id": None if window is None else window.leaderboard_id,
        "window_key": None if window is None else window.window_key,
        "trigger": run.trigger,
        "instant": rfc3339(run.instant),
        "status": run.status.value,
        "reason": run.reason,
        "recipients": run.recipients,
        "not_covered": run.not_covered,
        "paid": run.paid,
        "skipped": run.skipped,
        "progress": _progress(run),
        "planned_total": total_wire(run.prizes, run.planned_total),
        "total": total_wire(run.prizes, run.total),
        "cancel_requested": run.cancel_requested,
        "created_at": rfc3339(run.created_at),
        "planned_at": optional_rfc3339(run.planned_at),
        "finished_at": optional_rfc3339(run.finished_at),
        "workflow_id": payout_workflow_id(run.tenant_id, run.payout_run_id, run.attempt),
    }
    return shown if reasons is None else {**shown, "skipped_reasons": reasons}


def _progress(run: Run) -> float:
    if run.planned_at is None:
        return 0.0
    return 1.0 if run.recipients == 0 else round(run.cursor / run.recipients, 4)


def recipient_wire(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    """One of the audience: place, tier, items, and what became of it."""
    items = run.prizes.tiers[row["tier_number"]].item_ids
    return {
        "ordinal": row["ordinal"],
        "user_id": str(row["user_id"]),
        "external_user_id": row["external_user_id"],
        "rank": row["rank"],
        "score": None if row["score"] is None else score_number(row["score"]),
        "tier": row["tier_name"],
        "item_ids": [str(item_id) for item_id in items],
        "missing_item_ids": [str(item_id) for item_id in row["missing"] or []],
        "state": row["state"],
        "reason": row["reason"],
    }
