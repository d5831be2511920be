"""Payout runs over HTTP: how far they are, whom they pay, stopping one and taking it up again (contract 4, Payout schedules)."""

from typing import Any
from uuid import UUID

from litestar import Request, get, post

from api.auth import Principal, allow
from api.pagination import Page, decode_cursor, encode_cursor
from api.query import uuid_in
from domain.errors import ValidationFault
from domain.payout.run import RunStatus, payout_workflow_id
from domain.payout.run_wire import recipient_wire, run_wire
from loops.relay import Relay
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.payout.run import find_run, request_cancel, retry_run
from storage.payout.run_list import RunFilter, list_runs, recipients_of, skipped_reasons, windows_of

ADMIN = [allow("admin")]
AnyRequest = Request[Any, Any, Any]
STATES = ("pending", "paid", "skipped")


async def _shown(connection: Connection, principal: Principal, run_id: UUID) -> dict[str, Any]:
    run = await find_run(connection, principal.tenant_id, run_id)
    # Looked through only where there are any: a run may have a million recipients, and its page asks every few seconds.
    reasons = await skipped_reasons(connection, principal.tenant_id, run_id) if run.skipped else {}
    windows = await windows_of(connection, principal.tenant_id, [run])
    return run_wire(run, reasons, windows.get(run_id))


@get("/v1/admin/payout-runs", guards=ADMIN)
async def show_runs(request: AnyRequest, principal: Principal, pool: Pool, page: Page) -> dict[str, Any]:
    """List payout runs, newest first. Filters: `source_type`, `source_id`, `schedule_id`, `status`."""
    status = request.query_params.get("status")
    if status is not None and status not in set(RunStatus):
        raise ValidationFault.of("status", "is not a payout run status")
    wanted = RunFilter(
        source_type=request.query_params.get("source_type"),
        source_id=request.query_params.get("source_id"),
        schedule_id=uuid_in(request, "schedule_id"),
        status=status,
        before=page.after_id(),
        limit=page.limit,
    )
    async with transaction(pool) as connection:
        runs = await list_runs(connection, principal.tenant_id, wanted)
        windows = await windows_of(connection, principal.tenant_id, runs)
    shown = [run_wire(run, window=windows.get(run.payout_run_id)) for run in runs]
    return {"payout_runs": shown, "next_cursor": page.cursor_of(runs, "payout_run_id")}


@get("/v1/admin/payout-runs/{run_id:uuid}", guards=ADMIN)
async def show_run(run_id: UUID, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Get a payout run: recipients, paid, skipped with reasons, totals, progress."""
    async with transaction(pool) as connection:
        return await _shown(connection, principal, run_id)


@get("/v1/admin/payout-runs/{run_id:uuid}/recipients", guards=ADMIN)
async def show_recipients(run_id: UUID, request: AnyRequest, principal: Principal, pool: Pool, page: Page) -> dict[str, Any]:
    """List a run's recipients in the order in which they are paid. Filter: `state` (`pending`, `paid`, `skipped`)."""
    state = request.query_params.get("state")
    if state is not None and state not in STATES:
        raise ValidationFault.of("state", f"must be one of {', '.join(STATES)}")
    after = 0
    if page.cursor is not None:
        (after,) = decode_cursor(page.cursor, 1)
        if type(after) is not int or not 0 <= after < 2**31:
            raise ValidationFault.of("cursor", "is not a cursor for this list")
    async with transaction(pool) as connection:
        run = await find_run(connection, principal.tenant_id, run_id)
        rows = await recipients_of(connection, principal.tenant_id, run, state=state, after=after, limit=page.limit)
    more = encode_cursor(rows[-1]["ordinal"]) if len(rows) == page.limit else None
    return {"recipients": [recipient_wire(run, row) for row in rows], "next_cursor": more}


@post("/v1/admin/payout-runs/{run_id:uuid}/cancel", guards=ADMIN, status_code=202)
async def cancel_run(run_id: UUID, principal: Principal, pool: Pool) -> dict[str, Any]:
    """Cancel a run before its next page. What was paid stays paid. 409 `INVALID_STATE` if it has ended."""
    async with transaction(pool) as connection:
        await request_cancel(connection, principal.tenant_id, run_id, utc_now())
        return await _shown(connection, principal, run_id)


@post("/v1/admin/payout-runs/{run_id:uuid}/retry", guards=ADMIN, status_code=202)
async def take_up_again(run_id: UUID, principal: Principal, pool: Pool, relay: Relay) -> dict[str, Any]:
    """Resume a failed or cancelled run where it stopped. Nobody is paid twice. 409 `INVALID_STATE` if it is completed."""
    async with transaction(pool) as connection:
        run = await retry_run(connection, principal.tenant_id, run_id, utc_now())
        shown = await _shown(connection, principal, run_id)
    relay.try_start(payout_workflow_id(principal.tenant_id, run_id, run.attempt))
    return shown


routes: list[Any] = [show_runs, show_run, show_recipients, cancel_run, take_up_again]
