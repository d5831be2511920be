"""Payout runs: made once for each cause, found, cancelled, retried (contract 4). `payout_plan` and `payout_pay` do the work."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.errors import InvalidState, NotFound
from domain.payout.run import OVER, NewRun, PayoutProgress, PayoutRunInput, Run, RunStatus, payout_workflow_id
from runtime.ids import new_id
from runtime.postgres import Connection
from storage import outbox
from storage.walk import FIRST, Place, WalkPage, walk_page

WORKFLOW = "PayoutRunWorkflow"
PRIORITY = 3

COLUMNS = """tenant_id, payout_run_id, source_type, source_id, schedule_id, instant, trigger, audience, prizes AS config, status, reason,
    attempt, cancel_requested, recipients, not_covered, cursor, paid, skipped, planned_total, total, created_at, updated_at, planned_at,
    finished_at"""


async def create_run(connection: Connection, tenant_id: UUID, new: NewRun, now: datetime, *, start: bool = True) -> UUID | None:
    """Write a run; its id, or None when the window or the schedule's instant has one. With `start` its workflow starts at commit."""
    run_id = new_id()
    cursor = await connection.execute(
        """
        INSERT INTO payout_run (tenant_id, payout_run_id, source_type, source_id, schedule_id, instant, trigger, audience, prizes, status,
                                created_at, updated_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'planning', %s, %s) ON CONFLICT DO NOTHING RETURNING payout_run_id
        """,
        (
            tenant_id,
            run_id,
            new.source_type,
            new.source_id or str(run_id),
            new.schedule_id,
            new.instant,
            new.trigger,
            Jsonb(new.audience),
            Jsonb(msgspec.to_builtins(new.config)),
            now,
            now,
        ),
    )
    if await cursor.fetchone() is None:
        return None
    if start:
        entry = start_entry(
            tenant_id, run_id, source_type=new.source_type, schedule_id=new.schedule_id, audience=new.audience, trigger=new.trigger
        )
        await outbox.enqueue(connection, tenant_id, entry)
    return run_id


def start_entry(
    tenant_id: UUID,
    run_id: UUID,
    *,
    source_type: str,
    schedule_id: UUID | None,
    audience: Mapping[str, Any],
    trigger: str,
    attempt: int = 1,
) -> outbox.OutboxCommand:
    """The command that starts a run's workflow; a second one changes nothing."""
    about = {"ScheduleId": str(schedule_id) if schedule_id else None, "LeaderboardId": audience.get("leaderboard_id")}
    how = f", {trigger}" + (f", attempt {attempt}" if attempt > 1 else "")
    return outbox.OutboxCommand(
        kind="start",
        workflow_id=payout_workflow_id(tenant_id, run_id, attempt),
        name=WORKFLOW,
        argument={
            "argument": msgspec.to_builtins(PayoutRunInput(tenant_id=tenant_id, run_id=run_id)),
            "attributes": {"TenantId": str(tenant_id), "PayoutStatus": RunStatus.PLANNING.value}
            | {name: value for name, value in about.items() if value is not None},
            "page": f"/console/payout-runs/{run_id}",
            "summary": f"Payout of a {source_type}{how}",
            "task_queue": "payouts",
            "priority": PRIORITY,
        },
    )


async def _start_of(connection: Connection, run: Run) -> outbox.OutboxCommand:
    """The start of a further attempt. A window's run names its board only by the window."""
    cursor = await connection.execute(
        """
        SELECT b.leaderboard_id FROM leaderboard_window AS w JOIN leaderboard AS b USING (tenant_id, board_id)
        WHERE w.tenant_id = %s AND w.window_id = %s::uuid
        """,
        (run.tenant_id, run.audience.get("window_id")),
    )
    audience = {**run.audience, **(await cursor.fetchone() or {})}
    return start_entry(
        run.tenant_id,
        run.payout_run_id,
        source_type=run.source_type,
        schedule_id=run.schedule_id,
        audience=audience,
        trigger=run.trigger,
        attempt=run.attempt,
    )


async def find_run(connection: Connection, tenant_id: UUID, run_id: UUID, *, lock: bool = False) -> Run:
    """The run; NotFound. `lock` keeps it until the end of the transaction."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM payout_run WHERE tenant_id = %s AND payout_run_id = %s" + (" FOR NO KEY UPDATE" if lock else ""),
        (tenant_id, run_id),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("Payout run not found")
    return msgspec.convert(row, Run)


async def run_of_source(connection: Connection, tenant_id: UUID, source_type: str, source_id: str, *, lock: bool = False) -> Run | None:
    """The run of this cause, or None."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM payout_run WHERE tenant_id = %s AND source_type = %s AND source_id = %s"
        + (" FOR NO KEY UPDATE" if lock else ""),
        (tenant_id, source_type, source_id),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, Run)


def progress_of(run: Run) -> PayoutProgress:
    """How far the run is."""
    return PayoutProgress(status=run.status, recipients=run.recipients, paid=run.paid, skipped=run.skipped, reason=run.reason)


async def end_run(connection: Connection, run: Run, status: RunStatus, now: datetime, *, reason: str | None = None) -> PayoutProgress:
    """Write the run's last state (lock it before)."""
    await connection.execute(
        """
        UPDATE payout_run SET status = %s, reason = %s, finished_at = %s, updated_at = %s WHERE tenant_id = %s AND payout_run_id = %s
        """,
        (status.value, reason, now, now, run.tenant_id, run.payout_run_id),
    )
    return msgspec.structs.replace(progress_of(run), status=status, reason=reason)


async def fail_run(connection: Connection, tenant_id: UUID, run_id: UUID, reason: str, *, now: datetime) -> PayoutProgress:
    """End a run that cannot go on; a retry takes it up where it is."""
    run = await find_run(connection, tenant_id, run_id, lock=True)
    return progress_of(run) if run.status in OVER else await end_run(connection, run, RunStatus.FAILED, now, reason=reason)


async def request_cancel(connection: Connection, tenant_id: UUID, run_id: UUID, now: datetime) -> Run:
    """Have the run end before its next page, at once when its audience is not frozen yet; InvalidState when it is over.

    What was paid stays paid.
    """
    run = await find_run(connection, tenant_id, run_id, lock=True)
    if run.status in OVER:
        raise InvalidState(f"The payout run is {run.status.value}", present=run.status.value)
    await connection.execute(
        "UPDATE payout_run SET cancel_requested = true, updated_at = %s WHERE tenant_id = %s AND payout_run_id = %s",
        (now, tenant_id, run_id),
    )
    if run.status is RunStatus.PLANNING:  # its workflow may sleep until a window is frozen, and finds it over then
        await end_run(connection, run, RunStatus.CANCELLED, now, reason="cancelled before it was planned")
    return await find_run(connection, tenant_id, run_id)


async def retry_run(connection: Connection, tenant_id: UUID, run_id: UUID, now: datetime) -> Run:
    """Take a failed or cancelled run up again where it stopped, in a workflow of its own; InvalidState when it is completed.

    One that is under way stays as it is.
    """
    run = await find_run(connection, tenant_id, run_id, lock=True)
    if run.status not in OVER:
        return run
    if run.status is RunStatus.COMPLETED:
        raise InvalidState("The payout run is completed", present=run.status.value)
    status = RunStatus.PLANNING if run.planned_at is None else RunStatus.PAYING
    cursor = await connection.execute(
        f"""
        UPDATE payout_run SET status = %s, reason = NULL, finished_at = NULL, cancel_requested = false, attempt = attempt + 1,
            updated_at = %s
        WHERE tenant_id = %s AND payout_run_id = %s RETURNING {COLUMNS}
        """,
        (status.value, now, tenant_id, run_id),
    )
    retried = msgspec.convert(await cursor.fetchone(), Run)
    await outbox.enqueue(connection, tenant_id, await _start_of(connection, retried))
    return retried


async def start_again(connection: Connection, run: Run, now: datetime, *, is_new_attempt: bool) -> None:
    """Start a workflow for a run that has none any more; a new attempt when the old one's id is used up. Nothing for one that is over."""
    cursor = await connection.execute(
        """
        UPDATE payout_run SET attempt = attempt + %s, updated_at = %s
        WHERE tenant_id = %s AND payout_run_id = %s AND attempt = %s AND status IN ('planning', 'paying') RETURNING attempt
        """,
        (int(is_new_attempt), now, run.tenant_id, run.payout_run_id, run.attempt),
    )
    row = await cursor.fetchone()
    if row is not None:
        again = msgspec.structs.replace(run, attempt=row["attempt"])
        await outbox.enqueue_again(connection, run.tenant_id, await _start_of(connection, again))


async def unfinished_runs(connection: Connection, idle_before: datetime, after: Place | None, limit: int) -> WalkPage[Run, Place]:
    """A page of the runs of all tenants, by (tenant, run), that are not over and that nobody has touched since."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM payout_run
        WHERE status IN ('planning', 'paying') AND updated_at < %s AND (tenant_id, payout_run_id) > (%s, %s)
        ORDER BY tenant_id, payout_run_id LIMIT %s
        """,
        (idle_before, *(after or FIRST), limit),
    )
    return walk_page(await cursor.fetchall(), lambda row: msgspec.convert(row, Run), lambda row: (row["tenant_id"], row["payout_run_id"]))
