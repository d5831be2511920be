"""The sweep: finds redemptions and windows that Temporal has lost, and redemptions that are past their deadline although a workflow
should have ended them.

Postgres is the truth, so losing Temporal's database loses no redemption.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from domain.closing import window_workflow_id
from domain.erasure import erase_workflow_id
from domain.error import DomainError
from domain.payout import payout_workflow_id
from domain.redemption import Move, Redemption, State, workflow_id
from domain.rescore import rescore_workflow_id
from domain.webhook import endpoint_workflow_id
from runtime.ids import utc_now
from runtime.postgres import DATABASE_FAULTS, Pool, transaction
from storage import outbox
from storage.definition import change_instant
from storage.due_delivery import cancel_due_of_archived, overdue_endpoints, pump_entry
from storage.erasure import start_entry as erasure_start_entry
from storage.erasure import unfinished_erasures
from storage.low_stock import forget_low_stock, tell_low_stock
from storage.payout import start_again, unfinished_runs
from storage.redemption import lock_redemption, move_redemption, start_entry
from storage.redemption_list import open_redemptions, overdue_redemptions
from storage.rescore import fail_rescore, unfinished_rescores
from storage.rescore import start_entry as start_rescore_entry
from storage.window import enqueue_starts, unclosed_windows

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 120.0
IDLE = timedelta(seconds=60)
OVERDUE = timedelta(minutes=5)
PAGE = 100
RPC_TIMEOUT = timedelta(seconds=5)
BY_SWEEP = "sweep"


async def run_sweep(pool: Pool, temporal: Client, stop: asyncio.Event, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
    """Sweep now and every two minutes until `stop` is set. A sweep that finds Temporal or the database away is left to the next one."""
    while not stop.is_set():
        try:
            restarted = await restart_lost(pool, temporal)
            expired = await expire_overdue(pool)
            await restart_pumps(pool, temporal)
            windows = await restart_lost_windows(pool, temporal) + await restart_lost_rescores(pool, temporal)
            windows += await restart_lost_payouts(pool, temporal) + await restart_lost_erasures(pool, temporal)
            await watch_stock(pool)
            if restarted or expired or windows:
                log.warning("the sweep restarted %d workflows and expired %d redemptions", restarted + windows, expired)
        except (RPCError, RuntimeError, OSError, *DATABASE_FAULTS) as fault:
            log.info("the sweep is put off: %s", fault)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), interval_seconds)


async def restart_lost(pool: Pool, temporal: Client, *, idle: timedelta = IDLE) -> int:
    """Write start commands for open redemptions whose workflow Temporal does not know; answers how many."""
    restarted, after = 0, None
    while True:
        async with transaction(pool) as connection:
            page = await open_redemptions(connection, utc_now() - idle, after, PAGE)
        if not page:
            return restarted
        lost = await _unknown_to(temporal, page)
        async with transaction(pool) as connection:
            for each in lost:
                entry = start_entry(
                    each.tenant_id, each.redemption_id, each.external_user_id, each.reward, each.status, source_type=each.source_type
                )
                await outbox.enqueue_again(connection, each.tenant_id, entry)
        restarted += len(lost)
        after = (page[-1].tenant_id, page[-1].redemption_id)


async def _unknown_to(temporal: Client, page: Sequence[Redemption]) -> list[Redemption]:
    """Which of these have no workflow: one list call for the page, then a certain look at each that the list does not show."""
    identities: dict[str, Redemption] = {workflow_id(each.tenant_id, each.redemption_id): each for each in page}
    unknown = await _unknown_ids(temporal, list(identities))
    return [each for identity, each in identities.items() if identity in unknown]


async def restart_lost_windows(pool: Pool, temporal: Client, *, idle: timedelta = IDLE) -> int:
    """Write start commands for windows that are not frozen and whose workflow Temporal does not know; answers how many."""
    restarted, after = 0, None
    while True:
        async with transaction(pool) as connection:
            page = await unclosed_windows(connection, after, utc_now() - idle, PAGE)
        if not page:
            return restarted
        identities = {window_workflow_id(each.tenant_id, each.board_id, each.window_key): each for each in page}
        unknown = await _unknown_ids(temporal, list(identities))
        lost = [(each.tenant_id, each.window_id) for identity, each in identities.items() if identity in unknown]
        if lost:
            async with transaction(pool) as connection:
                await enqueue_starts(connection, lost)
        restarted += len(lost)
        after = (page[-1].tenant_id, page[-1].window_id)


async def restart_lost_rescores(pool: Pool, temporal: Client, *, idle: timedelta = IDLE) -> int:
    """Write start commands for rescores at work whose workflow Temporal does not know, and give up those whose workflow was ended by
    hand: a closing window waits for them. Answers how many."""
    async with transaction(pool) as connection:
        page = await unfinished_rescores(connection, utc_now() - idle, PAGE)
    touched = 0
    for rescore, leaderboard_id in page:
        handle = temporal.get_workflow_handle(rescore_workflow_id(rescore.tenant_id, rescore.rescore_id))
        try:
            status = (await handle.describe(rpc_timeout=RPC_TIMEOUT)).status
        except RPCError as fault:
            if fault.status is not RPCStatusCode.NOT_FOUND:
                raise
            async with transaction(pool) as connection:
                await outbox.enqueue_again(connection, rescore.tenant_id, start_rescore_entry(rescore, leaderboard_id))
            touched += 1
            continue
        if status not in (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW):
            async with transaction(pool) as connection:
                await change_instant(connection, rescore.tenant_id)
                await fail_rescore(connection, rescore, "its workflow was ended by hand")
            touched += 1
    return touched


async def restart_lost_erasures(pool: Pool, temporal: Client, *, idle: timedelta = IDLE) -> int:
    """Start workflows for erasures that nobody carries on: Temporal does not know theirs; answers how many."""
    async with transaction(pool) as connection:
        unfinished = await unfinished_erasures(connection, utc_now() - idle, PAGE)
    restarted = 0
    for given in unfinished:
        status = await _status_of(temporal, erase_workflow_id(given.tenant_id, given.user_id))
        if status is None:
            async with transaction(pool) as connection:
                await outbox.enqueue_again(connection, given.tenant_id, erasure_start_entry(given))
            restarted += 1
    return restarted


async def restart_lost_payouts(pool: Pool, temporal: Client, *, idle: timedelta = IDLE) -> int:
    """Start workflows for payouts that nobody pays: Temporal does not know theirs, or somebody stopped it there; answers how many."""
    async with transaction(pool) as connection:
        unfinished = await unfinished_runs(connection, utc_now() - idle, PAGE)
    restarted = 0
    for run in unfinished:
        status = await _status_of(temporal, payout_workflow_id(run.tenant_id, run.payout_run_id, run.attempt))
        if status is WorkflowExecutionStatus.RUNNING:
            continue
        async with transaction(pool) as connection:
            await start_again(connection, run, utc_now(), is_new_attempt=status is not None)
        restarted += 1
    return restarted


async def _status_of(temporal: Client, identity: str) -> WorkflowExecutionStatus | None:
    """How the workflow is, None when Temporal does not know it."""
    try:
        described = await temporal.get_workflow_handle(identity).describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as fault:
        if fault.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return described.status


async def _unknown_ids(temporal: Client, identities: Sequence[str]) -> set[str]:
    quoted = ", ".join(f"'{identity}'" for identity in identities)
    seen = {found.id async for found in temporal.list_workflows(f"WorkflowId IN ({quoted})", rpc_timeout=RPC_TIMEOUT)}
    return {identity for identity in identities if identity not in seen and await _is_unknown(temporal, identity)}


async def _is_unknown(temporal: Client, identity: str) -> bool:
    try:
        await temporal.get_workflow_handle(identity).describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as fault:
        if fault.status is RPCStatusCode.NOT_FOUND:
            return True
        raise
    return False


async def expire_overdue(pool: Pool) -> int:
    """End open redemptions that are five minutes past their deadline: whatever befell their workflow, the points go back."""
    async with transaction(pool) as connection:
        overdue: list[tuple[UUID, UUID]] = await overdue_redemptions(connection, utc_now() - OVERDUE, PAGE)
    for tenant_id, redemption_id in overdue:
        move = Move(to=State.EXPIRED, by=BY_SWEEP, note="past its deadline")
        with contextlib.suppress(DomainError):  # someone was faster
            async with transaction(pool) as connection:
                present = await lock_redemption(connection, tenant_id, redemption_id)
                if present.deadline_at is None or present.deadline_at >= utc_now() - OVERDUE:
                    continue  # claimed or approved since: another deadline counts
                await move_redemption(connection, tenant_id, redemption_id, move, utc_now())
    return len(overdue)


async def watch_stock(pool: Pool) -> int:
    """Tell of rewards that have run low without a sale, and forget those that have more again; answers how many were told."""
    async with transaction(pool) as connection:
        await forget_low_stock(connection)
        return await tell_low_stock(connection, utc_now())


async def restart_pumps(pool: Pool, temporal: Client) -> int:
    """Write start commands for the workflows of endpoints whose deliveries nobody takes and that Temporal does not know."""
    async with transaction(pool) as connection:
        await cancel_due_of_archived(connection, utc_now() - IDLE, PAGE)
        overdue: list[tuple[UUID, UUID]] = await overdue_endpoints(connection, utc_now() - IDLE, PAGE)
    lost = [each for each in overdue if await _is_unknown(temporal, endpoint_workflow_id(*each))]
    async with transaction(pool) as connection:
        for tenant_id, endpoint_id in lost:
            await outbox.enqueue_again(connection, tenant_id, pump_entry(tenant_id, endpoint_id))
    return len(lost)
