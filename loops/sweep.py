"""The sweep: finds what Temporal has lost or what was stopped there (redemptions, endpoints, windows, rescores, payouts, erasures), and
redemptions that are past their deadline although a workflow should have ended them.

Postgres is the truth, so losing Temporal's database loses no redemption.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

from temporalio.client import Client

from domain.errors import DomainError
from domain.leaderboard.rescore import RescoreStatus, rescore_workflow_id
from domain.leaderboard.window_messages import window_workflow_id
from domain.payout.run import Run, payout_workflow_id
from domain.redemption.redemption import Move, Redemption, RedemptionState, workflow_id
from domain.tenant.erasure import ErasureInput, erase_workflow_id
from domain.webhook.webhook import endpoint_workflow_id
from loops.one_by_one import AWAY, is_away, one_by_one
from loops.stranded import stop_stranded, was_stranded
from loops.workflow_state import WorkflowState, state_of
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from runtime.pulse import pulse
from runtime.tasks import pause
from runtime.temporal import TaskQueues
from runtime.temporal_limits import RPC_TIMEOUT
from storage import outbox
from storage.leaderboard.rescore import Rescore, fail_rescore, unfinished_rescores
from storage.leaderboard.rescore import start_entry as start_rescore_entry
from storage.leaderboard.window import OpenWindow, enqueue_starts, unclosed_windows, windows_without_successor
from storage.payout.run import start_again, unfinished_runs
from storage.platform.lease import is_our_round
from storage.redemption.command import start_entry
from storage.redemption.listing import Overdue, open_redemptions, overdue_redemptions
from storage.redemption.move import move_redemption
from storage.redemption.redemption import lock_redemption
from storage.reward.low_stock import forget_low_stock, tell_low_stock
from storage.rules_lock import change_instant
from storage.tenant.erasure import start_entry as erasure_start_entry
from storage.tenant.erasure import unfinished_erasures
from storage.walk import Place, pages
from storage.webhook.delivery import cancel_due
from storage.webhook.due_delivery import archived_with_due, overdue_endpoints, pump_entry

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 120.0
IDLE = timedelta(seconds=60)
OVERDUE = timedelta(minutes=5)
PAGE = 100
BY_SWEEP = "sweep"
Row = TypeVar("Row")


async def run_sweep(
    pool: Pool, temporal: Client, queues: TaskQueues, stop: asyncio.Event, *, interval_seconds: float = INTERVAL_SECONDS
) -> None:
    """Sweep now and every two minutes until `stop` is set; of several workers one does it at a time."""
    while not stop.is_set():
        try:
            if await is_our_round(pool, BY_SWEEP, interval_seconds):
                await sweep_once(pool, temporal, queues)
            pulse.beat(BY_SWEEP)
        except AWAY as error:
            log.info("the sweep is put off: %s", error)
        await pause(stop, interval_seconds)


async def sweep_once(pool: Pool, temporal: Client, queues: TaskQueues) -> None:
    """Every step by itself, those that need PostgreSQL alone first: what one of them meets, or Temporal's absence, stops no other."""
    steps: tuple[tuple[str, Callable[[], Awaitable[int]]], ...] = (
        ("expired %d redemptions", lambda: expire_overdue(pool)),
        ("told of %d rewards that run low", lambda: watch_stock(pool)),
        ("ended what was due to %d archived endpoints", lambda: end_due_of_archived(pool)),
        ("stopped %d workflows in task queues that nobody serves", lambda: stop_stranded(temporal, queues)),
        ("restarted %d redemptions", lambda: restart_lost(pool, temporal)),
        ("restarted %d endpoints", lambda: restart_pumps(pool, temporal)),
        ("restarted %d windows", lambda: restart_lost_windows(pool, temporal)),
        ("restarted or gave up %d rescores", lambda: restart_lost_rescores(pool, temporal)),
        ("restarted %d payouts", lambda: restart_lost_payouts(pool, temporal)),
        ("restarted %d erasures", lambda: restart_lost_erasures(pool, temporal)),
    )
    for words, step in steps:
        try:
            if done := await step():
                log.warning("the sweep " + words, done)
        except AWAY as error:
            log.info("a step of the sweep (%s) is put off: %s", words.partition(" %d")[0], error)
        except Exception:
            log.exception("a step of the sweep (%s) failed", words.partition(" %d")[0])


async def _restart(
    pool: Pool,
    temporal: Client,
    rows: AsyncIterator[Sequence[Row]],
    identity: Callable[[Row], str],
    *,
    start: Callable[[Connection, Sequence[Row]], Awaitable[None]],
) -> int:
    """Have `start` write start commands for the rows whose workflow Temporal does not know or that was stopped there; how many."""

    async def start_one(row: Row) -> int:
        async with transaction(pool) as connection:
            await start(connection, [row])
        return 1

    restarted = 0
    async for page in rows:
        lost = await _lost(temporal, {identity(each): each for each in page})
        try:
            if lost:
                async with transaction(pool) as connection:
                    await start(connection, lost)
            restarted += len(lost)
        except Exception as error:
            if is_away(error):
                raise
            restarted += await one_by_one(lost, start_one)
    return restarted


async def restart_lost(pool: Pool, temporal: Client, *, idle: timedelta = IDLE) -> int:
    """Write start commands for open redemptions whose workflow Temporal does not know or that was stopped there; answers how many."""
    before = utc_now() - idle
    rows = pages(pool, lambda c, after: open_redemptions(c, before, after, PAGE))

    async def start(connection: Connection, lost: Sequence[Redemption]) -> None:
        for each in lost:
            entry = start_entry(
                each.tenant_id,
                each.redemption_id,
                external_user_id=each.external_user_id,
                reward=each.reward,
                status=each.status,
                source_type=each.source_type,
            )
            await outbox.enqueue_again(connection, each.tenant_id, entry)

    return await _restart(pool, temporal, rows, lambda each: workflow_id(each.tenant_id, each.redemption_id), start=start)


async def restart_lost_windows(pool: Pool, temporal: Client, *, idle: timedelta = IDLE) -> int:
    """Write start commands for windows that are not frozen, or closed early and without a successor, and whose workflow is unknown or was
    stopped; answers how many."""
    before = utc_now() - idle

    def identity(window: OpenWindow) -> str:
        return window_workflow_id(window.tenant_id, window.board_id, window.window_key)

    async def start(connection: Connection, lost: Sequence[OpenWindow]) -> None:
        await enqueue_starts(connection, [(each.tenant_id, each.window_id) for each in lost])

    unclosed = pages(pool, lambda c, after: unclosed_windows(c, after, before, PAGE))
    restarted = await _restart(pool, temporal, unclosed, identity, start=start)
    followed_by_none = pages(pool, lambda c, after: windows_without_successor(c, after, PAGE))
    return restarted + await _restart(pool, temporal, followed_by_none, identity, start=start)


async def restart_lost_rescores(pool: Pool, temporal: Client, *, idle: timedelta = IDLE) -> int:
    """Write start commands for rescores whose workflow Temporal does not know, and give up those at work whose workflow was ended by
    hand: a closing window waits for them. What one that is over has not cleared goes, whatever ended its workflow. Answers how many."""
    before = utc_now() - idle
    rows = pages(pool, lambda c, after: unfinished_rescores(c, before, after, PAGE))

    async def look_after(row: tuple[Rescore, str]) -> int:
        rescore, leaderboard_id = row
        identity = rescore_workflow_id(rescore.tenant_id, rescore.rescore_id)
        state = await state_of(temporal, identity)
        if state is WorkflowState.AT_WORK:
            return 0
        is_over = rescore.status is not RescoreStatus.RUNNING
        is_lost = is_over or state is None or (state is WorkflowState.STOPPED and await was_stranded(temporal, identity))
        async with transaction(pool) as connection:
            if is_lost:
                await outbox.enqueue_again(connection, rescore.tenant_id, start_rescore_entry(rescore, leaderboard_id))
            else:
                await change_instant(connection, rescore.tenant_id)
                await fail_rescore(connection, rescore, "its workflow was ended by hand")
        return 1

    return sum([await one_by_one(page, look_after) async for page in rows])


async def restart_lost_erasures(pool: Pool, temporal: Client, *, idle: timedelta = IDLE) -> int:
    """Start workflows for erasures that nobody carries on: theirs is unknown to Temporal or was stopped there; answers how many."""
    before = utc_now() - idle
    rows = pages(pool, lambda c, after: unfinished_erasures(c, before, after, PAGE))

    async def start(connection: Connection, lost: Sequence[ErasureInput]) -> None:
        for given in lost:
            await outbox.enqueue_again(connection, given.tenant_id, erasure_start_entry(given))

    return await _restart(pool, temporal, rows, lambda each: erase_workflow_id(each.tenant_id, each.user_id), start=start)


async def restart_lost_payouts(pool: Pool, temporal: Client, *, idle: timedelta = IDLE) -> int:
    """Start workflows for payouts that nobody pays: Temporal does not know theirs, or somebody stopped it there; answers how many."""
    before = utc_now() - idle
    rows = pages(pool, lambda c, after: unfinished_runs(c, before, after, PAGE))

    async def look_after(run: Run) -> int:
        state = await state_of(temporal, payout_workflow_id(run.tenant_id, run.payout_run_id, run.attempt))
        if state is WorkflowState.AT_WORK:
            return 0
        async with transaction(pool) as connection:
            await start_again(connection, run, utc_now(), is_new_attempt=state is not None)
        return 1

    return sum([await one_by_one(page, look_after) async for page in rows])


async def _lost(temporal: Client, wanted: Mapping[str, Row]) -> list[Row]:
    """Which of these, by workflow id, have no workflow that is at work: one list call for all, then a certain look at each that the list
    does not show running, because the list lags behind."""
    quoted = ", ".join(f"'{identity}'" for identity in wanted)
    query = f"ExecutionStatus = 'Running' AND WorkflowId IN ({quoted})"
    running = {found.id async for found in temporal.list_workflows(query, rpc_timeout=RPC_TIMEOUT)}
    lost = (None, WorkflowState.STOPPED)
    return [row for identity, row in wanted.items() if identity not in running and await state_of(temporal, identity) in lost]


async def expire_overdue(pool: Pool) -> int:
    """End open redemptions that are five minutes past their deadline: whatever befell their workflow, the points go back."""
    before = utc_now() - OVERDUE
    rows = pages(pool, lambda c, after: overdue_redemptions(c, before, after, PAGE))
    return sum([await one_by_one(page, lambda each: _expire(pool, each)) async for page in rows])


async def _expire(pool: Pool, overdue: Overdue) -> bool:
    """End one; whether that was needed."""
    move = Move(to=RedemptionState.EXPIRED, by=BY_SWEEP, note="past its deadline")
    try:
        async with transaction(pool) as connection:
            present = await lock_redemption(connection, overdue.tenant_id, overdue.redemption_id)
            if present.deadline_at is None or present.deadline_at >= utc_now() - OVERDUE:
                return False  # claimed or approved since: another deadline counts
            await move_redemption(connection, overdue.tenant_id, overdue.redemption_id, move, now=utc_now())
    except DomainError:  # someone was faster
        return False
    return True


async def watch_stock(pool: Pool) -> int:
    """Tell of rewards that have run low without a sale, and forget those that have more again; answers how many were told."""
    async with transaction(pool) as connection:
        await forget_low_stock(connection)
    told = 0
    while True:
        async with transaction(pool) as connection:
            count = await tell_low_stock(connection, utc_now(), limit=PAGE)
        told += count
        if count < PAGE:
            return told


async def end_due_of_archived(pool: Pool) -> int:
    """End what is due to archived endpoints: its cause committed after the archiving. Answers 0: there is nothing to tell."""
    before = utc_now() - IDLE

    async def end_due(endpoint: Place) -> int:
        async with transaction(pool) as connection:
            await cancel_due(connection, *endpoint, utc_now())
        return 0

    rows = pages(pool, lambda c, after: archived_with_due(c, before, after, PAGE))
    return sum([await one_by_one(page, end_due) async for page in rows])


async def restart_pumps(pool: Pool, temporal: Client) -> int:
    """Write start commands for the workflows of endpoints whose deliveries nobody takes: unknown to Temporal, or stopped there."""
    before = utc_now() - IDLE
    rows = pages(pool, lambda c, after: overdue_endpoints(c, before, after, PAGE))

    async def start(connection: Connection, lost: Sequence[Place]) -> None:
        for tenant_id, endpoint_id in lost:
            await outbox.enqueue_again(connection, tenant_id, pump_entry(tenant_id, endpoint_id))

    return await _restart(pool, temporal, rows, lambda each: endpoint_workflow_id(*each), start=start)
