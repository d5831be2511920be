"""Payout runs over HTTP: how far they are, whom they pay, stopping one and taking it up again (contract 4, Payout schedules)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get, post
from msgspec import Meta

from api.pagination import Page, decode_cursor, encode_cursor
from api.principal import Principal
from api.rule import ADMIN
from domain.errors import InvalidState, ValidationError
from domain.payout.run import RunStatus, payout_workflow_id
from domain.payout.run_wire import (
    PayoutRunAnswer,
    PayoutRunListAnswer,
    RecipientListAnswer,
    RecipientState,
    recipient_answer,
    run_answer,
)
from loops.relay import Relay
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.payout.run import find_run, request_cancel, retry_run
from storage.payout.run_list import RunFilter, list_runs, recipients_of, skipped_reasons, windows_of


class PayoutRunParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which payout runs."""

    status: RunStatus | None = None
    schedule_id: UUID | None = None
    source_type: Annotated[str, Meta(description="leaderboard or schedule", max_length=64)] | None = None
    source_id: Annotated[str, Meta(max_length=255)] | None = None


class RecipientParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which recipients of a run."""

    state: RecipientState | None = None


async def _shown(connection: Connection, principal: Principal, run_id: UUID) -> PayoutRunAnswer:
    run = await find_run(connection, principal.tenant_id, run_id)
    # Looked through only where there are any: a run may have a million recipients, and its page asks every few seconds.
    reasons = await skipped_reasons(connection, principal.tenant_id, run_id) if run.skipped else {}
    windows = await windows_of(connection, principal.tenant_id, [run])
    return run_answer(run, reasons, windows.get(run_id))


@get("/v1/admin/payout-runs", rule=ADMIN)
async def list_payout_runs(params: PayoutRunParams, principal: Principal, pool: Pool, page: Page) -> PayoutRunListAnswer:
    """List payout runs, newest first."""
    wanted = RunFilter(
        source_type=params.source_type,
        source_id=params.source_id,
        schedule_id=params.schedule_id,
        status=params.status,
        before=page.after_id(),
        limit=page.limit,
    )
    async with transaction(pool) as connection:
        runs = await list_runs(connection, principal.tenant_id, wanted)
        windows = await windows_of(connection, principal.tenant_id, runs)
    shown = [run_answer(run, window=windows.get(run.payout_run_id)) for run in runs]
    return PayoutRunListAnswer(payout_runs=shown, next_cursor=page.cursor_of(runs, "payout_run_id"))


@get("/v1/admin/payout-runs/{run_id:uuid}", rule=ADMIN)
async def get_payout_run(run_id: UUID, principal: Principal, pool: Pool) -> PayoutRunAnswer:
    """Get a payout run: recipients, paid, skipped with reasons, totals, progress."""
    async with transaction(pool) as connection:
        return await _shown(connection, principal, run_id)


@get("/v1/admin/payout-runs/{run_id:uuid}/recipients", rule=ADMIN)
async def list_payout_recipients(
    run_id: UUID, params: RecipientParams, principal: Principal, pool: Pool, page: Page
) -> RecipientListAnswer:
    """List a run's recipients in the order in which they are paid."""
    after = 0
    if page.cursor is not None:
        (after,) = decode_cursor(page.cursor, 1)
        if type(after) is not int or not 0 <= after < 2**31:
            raise ValidationError.of("cursor", "is not a cursor for this list")
    async with transaction(pool) as connection:
        run = await find_run(connection, principal.tenant_id, run_id)
        rows = await recipients_of(connection, principal.tenant_id, run, state=params.state, after=after, limit=page.limit)
    more = encode_cursor(rows[-1]["ordinal"]) if len(rows) == page.limit else None
    return RecipientListAnswer(recipients=[recipient_answer(run, row) for row in rows], next_cursor=more)


@post("/v1/admin/payout-runs/{run_id:uuid}/cancel", rule=ADMIN, status_code=202, refusals=(InvalidState,))
async def cancel_payout_run(run_id: UUID, principal: Principal, pool: Pool) -> PayoutRunAnswer:
    """Cancel a run before its next page. What was paid stays paid. 409 `INVALID_STATE` if it has ended."""
    async with transaction(pool) as connection:
        await request_cancel(connection, principal.tenant_id, run_id, utc_now())
        return await _shown(connection, principal, run_id)


@post("/v1/admin/payout-runs/{run_id:uuid}/retry", rule=ADMIN, status_code=202, refusals=(InvalidState,))
async def retry_payout_run(run_id: UUID, principal: Principal, pool: Pool, relay: Relay) -> PayoutRunAnswer:
    """Resume a failed or cancelled run where it stopped. Nobody is paid twice. 409 `INVALID_STATE` if it is completed."""
    async with transaction(pool) as connection:
        run = await retry_run(connection, principal.tenant_id, run_id, utc_now())
        shown = await _shown(connection, principal, run_id)
    relay.try_start(payout_workflow_id(principal.tenant_id, run_id, run.attempt))
    return shown


routes: list[Any] = [list_payout_runs, get_payout_run, list_payout_recipients, cancel_payout_run, retry_payout_run]
