"""Audiences: which users a payout run is for, as one query for each type (contract 4).

A type is a function that answers a query of `user_id, external_user_id, rank, score` (rank and score may be null) or `NotYet`: ask
again. Planning wraps the query into the one statement that freezes it. `storage/payout/audience_type.py` lists the types.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.payout.run import Run
from runtime.postgres import Connection


class Audience(msgspec.Struct, frozen=True, kw_only=True):
    """A query and its named parameters (none of which begin with `run_`). `ranked`: of how many `top_percent` is reckoned.

    `empty_reason`: why there is nobody, where that can be said.
    """

    query: str
    parameters: dict[str, Any]
    ranked: int = 0
    empty_reason: str | None = None


class NotYet(msgspec.Struct, frozen=True, kw_only=True):
    """The audience is not there yet: its window is not frozen. That cannot be before `closes_at`."""

    closes_at: datetime | None


Selection = Callable[[Connection, UUID, Run], Awaitable[Audience | NotYet]]


async def of_window(connection: Connection, tenant_id: UUID, run: Run) -> Audience | NotYet:
    """Those whom the window's snapshot keeps, with their final ranks, once the window is frozen."""
    window_id = UUID(run.audience["window_id"])
    cursor = await connection.execute(
        "SELECT total, status, closes_at FROM leaderboard_window WHERE tenant_id = %s AND window_id = %s", (tenant_id, window_id)
    )
    row = await cursor.fetchone()
    if row is None or row["status"] not in ("closed", "paid"):
        return NotYet(closes_at=row["closes_at"] if row else None)
    query = """
        SELECT user_id, external_user_id, rank, score FROM snapshot_entry
        WHERE tenant_id = %(tenant_id)s AND window_id = %(window_id)s
        """
    return Audience(query=query, parameters={"tenant_id": tenant_id, "window_id": window_id}, ranked=row["total"] or 0)
