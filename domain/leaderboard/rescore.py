"""Rescore: a window's standings built anew from the event log under the present rules (contract 3)."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from domain.leaderboard.definition import BoardVersion


class RescoreStatus(StrEnum):
    """`running → completed`, or `→ failed`, which leaves the board as it was."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class RescoreInput(msgspec.Struct, frozen=True, kw_only=True):
    """Which rescore the workflow is about."""

    tenant_id: UUID
    rescore_id: UUID


class RescoreProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is: positions of the log read and to be read, and how many events of the tenant were among them."""

    status: RescoreStatus
    positions_read: int = 0
    positions: int = 0
    events_read: int = 0
    all_read: bool = False
    reason: str | None = None

    @property
    def fraction(self) -> float:
        """Between 0 and 1; 1 only when it is completed."""
        if self.status is RescoreStatus.COMPLETED:
            return 1.0
        return 0.0 if self.positions <= 0 else min(0.999, round(self.positions_read / self.positions, 3))


def rescore_workflow_id(tenant_id: UUID, rescore_id: UUID) -> str:
    """The workflow of a rescore."""
    return f"rescore:{tenant_id}:{rescore_id}"


def under_present_rules(versions: Sequence[BoardVersion], instant: datetime) -> list[BoardVersion]:
    """The board's versions, as if its config had been the one in force at `instant` ever since it was made; later ones stay.

    What it was then is kept in one thing: while it was inactive it counted nothing.
    """
    ordered = sorted(versions, key=lambda version: version.version)
    begun = [version for version in ordered if version.valid_from <= instant]
    later = [version for version in ordered if version.valid_from > instant]
    return [msgspec.structs.replace(each, config=begun[-1].config) for each in begun] + later
