"""The life of a payout run, from its cause to its reconciled totals (contract 4, Payout schedules)."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.payout import PayoutActivities
    from domain.payout.run import OVER, PayoutProgress, PayoutRunInput, RunStatus
    from workflows.queues import queue

KIND = "payouts"
STATUS = SearchAttributeKey.for_keyword("PayoutStatus")
OWN_FAULTS = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
ACTIVITY_TIMEOUT = timedelta(minutes=30)
HEARTBEAT_TIMEOUT = timedelta(seconds=20)

Step = Callable[[PayoutActivities, PayoutRunInput], Awaitable[PayoutProgress]]


@workflow.defn
class PayoutRunWorkflow:
    r"""The diagram of the workflow. Who gets what stands in PostgreSQL: ids and counts are all that history holds.

    planning ── the audience is frozen ──▶ paying ── pages ──▶ completed | failed (the totals differ)
        └──────────────────────┴── cancel, between pages ────▶ cancelled
    """

    @workflow.init
    def __init__(self, run: PayoutRunInput) -> None:
        """Nothing is known before the first look."""
        self._run = run
        self._progress = PayoutProgress(status=RunStatus.PLANNING)
        self._timeline: list[str] = []

    @workflow.run
    async def run(self, run: PayoutRunInput) -> PayoutProgress:
        """See the run through to its end."""
        try:
            await self._plan()
            while self._progress.status is RunStatus.PAYING and self._left() > 0:
                await self._step(PayoutActivities.pay, f"pay, {self._left()} of {self._progress.recipients} to go")
            if self._progress.status is RunStatus.PAYING:
                await self._step(PayoutActivities.finish, "compare the totals")
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await self._step(PayoutActivities.fail, f"failed: {error.cause}")
        return self._progress

    async def _plan(self) -> None:
        await self._step(PayoutActivities.plan, "freeze the audience")
        while self._progress.wait_seconds is not None:
            await workflow.sleep(timedelta(seconds=self._progress.wait_seconds), summary="the audience is not there yet")
            await self._step(PayoutActivities.plan, "freeze the audience")

    def _left(self) -> int:
        return self._progress.recipients - self._progress.paid - self._progress.skipped

    async def _step(self, method: Step, summary: str) -> None:
        before = self._progress
        self._progress = await workflow.execute_activity_method(
            method,
            self._run,
            task_queue=queue(KIND),
            start_to_close_timeout=ACTIVITY_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=OWN_FAULTS,
            summary=summary[:180],
        )
        self._show(before)

    def _show(self, before: PayoutProgress) -> None:
        """What people see in Temporal's UI."""
        now = self._progress
        if now.status is not before.status or now.status in OVER:
            reason = f": {now.reason}" if now.reason else ""
            self._timeline.append(f"- {workflow.now():%Y-%m-%d %H:%M:%S} **{now.status.value}**{reason}")
            workflow.upsert_search_attributes([STATUS.value_set(now.status.value)])
        counts = f"{now.paid} paid, {now.skipped} skipped, of {now.recipients} recipients"
        workflow.set_current_details("\n".join([f"Status: **{now.status.value}**, {counts}", "", *self._timeline]))
