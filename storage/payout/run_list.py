"""Payout runs and their recipients as people look through them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from domain.payout.run import Run
from domain.payout.run_wire import RunWindow
from runtime.postgres import Connection
from storage.payout.run import COLUMNS


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs a list shows; None lets everything through. `before` is the cursor: the last id of the page before."""

    source_type: str | None = None
    source_id: str | None = None
    schedule_id: UUID | None = None
    status: str | None = None
    before: UUID | None = None
    limit: int = 50


async def list_runs(connection: Connection, tenant_id: UUID, wanted: RunFilter) -> list[Run]:
    """A page of runs, the newest first."""
    names = ("source_type", "source_id", "schedule_id", "status")
    tests = ["tenant_id = %(tenant_id)s", *(f"{name} = %({name})s" for name in names if getattr(wanted, name) is not None)]
    if wanted.before is not None:
        tests.append("payout_run_id < %(before)s")
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM payout_run WHERE {' AND '.join(tests)} ORDER BY payout_run_id DESC LIMIT %(limit)s",
        {"tenant_id": tenant_id, **msgspec.structs.asdict(wanted)},
    )
    return [msgspec.convert(row, Run) for row in await cursor.fetchall()]


async def runs_of_sources(connection: Connection, tenant_id: UUID, source_type: str, source_ids: list[str]) -> dict[str, Run]:
    """The runs of these causes."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM payout_run WHERE tenant_id = %s AND source_type = %s AND source_id = ANY(%s)",
        (tenant_id, source_type, source_ids),
    )
    return {row["source_id"]: msgspec.convert(row, Run) for row in await cursor.fetchall()}


async def latest_runs(connection: Connection, tenant_id: UUID, schedule_ids: list[UUID]) -> dict[UUID, Run]:
    """The run of the latest instant of each of these schedules: one look into an index for each."""
    columns = ", ".join(f"run.{name.split()[-1]}" for name in COLUMNS.split(","))
    cursor = await connection.execute(
        f"""
        SELECT {columns} FROM unnest(%s::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
            SELECT {COLUMNS} FROM payout_run WHERE tenant_id = %s AND schedule_id = wanted.id ORDER BY instant DESC LIMIT 1
        ) AS run
        """,
        (schedule_ids, tenant_id),
    )
    return {row["schedule_id"]: msgspec.convert(row, Run) for row in await cursor.fetchall()}


async def windows_of(connection: Connection, tenant_id: UUID, runs: Sequence[Run]) -> dict[UUID, RunWindow]:
    """The leaderboard and the window that these runs pay the rewards of, by run; runs of schedules have none."""
    windows = {run.payout_run_id: str(run.audience["window_id"]) for run in runs if run.audience.get("type") == "window"}
    if not windows:
        return {}
    cursor = await connection.execute(
        """
        SELECT w.window_id, b.leaderboard_id, w.window_key FROM leaderboard_window AS w JOIN leaderboard AS b USING (tenant_id, board_id)
        WHERE w.tenant_id = %s AND w.window_id = ANY(%s::uuid[])
        """,
        (tenant_id, list(windows.values())),
    )
    found = {str(row["window_id"]): RunWindow(row["leaderboard_id"], row["window_key"]) for row in await cursor.fetchall()}
    return {run_id: found[window_id] for run_id, window_id in windows.items() if window_id in found}


async def skipped_reasons(connection: Connection, tenant_id: UUID, run_id: UUID) -> dict[str, int]:
    """How many recipients got nothing, by the reason."""
    cursor = await connection.execute(
        """
        SELECT reason, count(*) AS n FROM payout_recipient
        WHERE tenant_id = %s AND payout_run_id = %s AND state = 'skipped' GROUP BY reason ORDER BY reason
        """,
        (tenant_id, run_id),
    )
    return {row["reason"]: row["n"] for row in await cursor.fetchall()}


async def recipients_of(
    connection: Connection, tenant_id: UUID, run: Run, *, state: str | None, after: int, limit: int
) -> list[dict[str, Any]]:
    """A page of the frozen audience in the order in which it is paid, from behind the ordinal `after`.

    The run knows where those who wait begin, and whether there is anybody of a state at all: neither is searched for.
    """
    numbers = {"paid": run.paid, "skipped": run.skipped, "pending": run.recipients - run.cursor}
    if state is not None and numbers[state] == 0:
        return []
    after = max(after, run.cursor) if state == "pending" else after
    cursor = await connection.execute(
        """
        SELECT ordinal, user_id, external_user_id, rank, score, tier_number, tier_name, state, reason, missing FROM payout_recipient
        WHERE tenant_id = %s AND payout_run_id = %s AND ordinal > %s AND (%s::text IS NULL OR state = %s) ORDER BY ordinal LIMIT %s
        """,
        (tenant_id, run.payout_run_id, after, state, state, limit),
    )
    return await cursor.fetchall()
