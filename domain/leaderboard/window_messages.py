"""The end of a window: its states, and what its workflow and activities say to each other (contract 3, Windows)."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec


class WindowStatus(StrEnum):
    """`open → closing → closed → paid`; an all-time window stays open for as long as its board lives."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    PAID = "paid"


FROZEN = frozenset({WindowStatus.CLOSED, WindowStatus.PAID})


def window_workflow_id(tenant_id: UUID, board_id: UUID, window_key: str) -> str:
    """The workflow of a window of one incarnation of a board."""
    return f"window:{tenant_id}:{board_id}:{window_key}"


class WindowInput(msgspec.Struct, frozen=True, kw_only=True):
    """Which window the workflow is about."""

    tenant_id: UUID
    window_id: UUID


class WindowPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The window as it stands. `successor_at`: when the next window gets its row; None when there is no next one."""

    status: WindowStatus
    closes_at: datetime | None
    successor_at: datetime | None = None


class CloseNow(msgspec.Struct, frozen=True, kw_only=True):
    """The window closes at this instant instead of the planned one. Without an instant the workflow sets it first.

    `by` is who closed it, as far as a history may say, `reason` why.
    """

    closes_at: datetime | None = None
    by: str | None = None
    reason: str | None = None


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """Whether everything that counts in the window has been scored. If not, `wait_seconds` are left until it closes.

    `news` are early closes that the workflow has not been told of yet.
    """

    passed: bool
    closes_at: datetime
    wait_seconds: float = 0.0
    news: list[CloseNow] = []


class FrozenWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The final result: `total` were ranked, the snapshot keeps the first `snapshot_size` of them. `payout_run_id`: what pays them."""

    status: WindowStatus
    total: int
    snapshot_size: int
    late_events: int
    payout_run_id: UUID | None = None
