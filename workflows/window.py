"""The life of one window of one board, from its row to its paid result (contract 3, Windows)."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import ChildWorkflowError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from activities.window import WindowActivities
    from domain.leaderboard.window_messages import FROZEN, CloseNow, FrozenWindow, Gate, WindowInput, WindowPlan, WindowStatus
    from domain.payout.run import PayoutProgress, PayoutRunInput, RunStatus, payout_workflow_id
    from workflows.queues import core_queue, queue

Answer = TypeVar("Answer")
STATUS = SearchAttributeKey.for_keyword("WindowStatus")
TENANT = SearchAttributeKey.for_keyword("TenantId")
PAYOUT_STATUS = SearchAttributeKey.for_keyword("PayoutStatus")
LEADERBOARD = SearchAttributeKey.for_keyword("LeaderboardId")
PAYOUT_WORKFLOW = "PayoutRunWorkflow"
OWN_FAULTS = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
DATABASE_TIMEOUT = timedelta(seconds=60)
BARRIER_TIMEOUT = timedelta(hours=24)
FREEZE_TIMEOUT = timedelta(minutes=30)
HEARTBEAT_TIMEOUT = timedelta(seconds=20)
SHORTEST_WAIT_SECONDS = 0.05
KIND = "windows"


@workflow.defn
class LeaderboardWindowWorkflow:
    r"""The diagram of the workflow.

    open ── closes_at, or close_now ──▶ closing ── all that counts is scored ──▶ closed ── nothing (left) to pay ──▶ paid
      └── an hour before the next window: its row, which has a workflow of its own ──▶
    """

    @workflow.init
    def __init__(self, window: WindowInput) -> None:
        """Ready for updates that arrive before `run` begins."""
        self._window = window
        self._status = WindowStatus.OPEN
        self._closes_at: datetime | None = None
        self._successor_at: datetime | None = None
        self._planned = False
        self._timeline: list[str] = []
        self._heard: set[CloseNow] = set()

    @workflow.run
    async def run(self, window: WindowInput) -> FrozenWindow:
        """See the window through to its end."""
        self._adopt(await self._plan())
        self._planned = True
        succession = asyncio.create_task(self._open_next())
        frozen = await self._pay(await self._close())
        if not succession.done() and (await self._plan()).successor_at is None:
            succession.cancel()  # the board was archived
        else:
            await succession
        await workflow.wait_condition(workflow.all_handlers_finished)
        return frozen

    @workflow.update
    async def close_now(self, news: CloseNow | None = None) -> WindowPlan:
        """Close the window early. The API has set the instant already; from Temporal's UI, without an argument, it is set here."""
        await workflow.wait_condition(lambda: self._planned)
        if news is not None and news.closes_at is not None:
            self._closes_at = news.closes_at if self._closes_at is None else min(news.closes_at, self._closes_at)
            self._hear(news)
        elif self._status is WindowStatus.OPEN:
            self._adopt(await self._activity(WindowActivities.close_early, "close early"))
            self._note("closes early, by hand in Temporal")
        return WindowPlan(status=self._status, closes_at=self._closes_at, successor_at=self._successor_at)

    async def _plan(self) -> WindowPlan:
        return await self._activity(WindowActivities.plan, "look where the window stands")

    async def _open_next(self) -> None:
        """An hour before the next window starts; at once if that is past. Never waits for this one's end."""
        if self._successor_at is None:
            return
        await workflow.sleep(max(timedelta(0), self._successor_at - workflow.now()), summary="an hour before the next window")
        key = await self._activity(WindowActivities.open_next, "make the next window")
        self._note(f"the next window is **{key}**" if key else "the board does not count: no next window")

    async def _close(self) -> FrozenWindow:
        gate = None
        while gate is None or not gate.passed:
            if self._status is WindowStatus.OPEN:
                await self._until_closing(gate)
            gate = await self._pass_barrier()
            self._closes_at = gate.closes_at
            for news in gate.news:
                self._hear(news)
        self._note("all that counts is scored")
        frozen: FrozenWindow = await workflow.execute_activity_method(
            WindowActivities.freeze,
            self._window,
            task_queue=queue(KIND),
            start_to_close_timeout=FREEZE_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=OWN_FAULTS,
            summary="rank and keep the final standings",
        )
        self._move(frozen.status)
        self._note(f"**{frozen.total}** ranked, {frozen.snapshot_size} kept, {frozen.late_events} late events")
        return frozen

    async def _pay(self, frozen: FrozenWindow) -> FrozenWindow:
        """Have the rewards paid by a workflow of their own, which lives on should this one be stopped."""
        if frozen.payout_run_id is None or frozen.status is not WindowStatus.CLOSED:
            return frozen
        tenant_id, run_id = self._window.tenant_id, frozen.payout_run_id
        attributes = [SearchAttributePair(TENANT, str(tenant_id)), SearchAttributePair(PAYOUT_STATUS, RunStatus.PLANNING.value)]
        if (leaderboard_id := workflow.info().typed_search_attributes.get(LEADERBOARD)) is not None:
            attributes.append(SearchAttributePair(LEADERBOARD, leaderboard_id))
        self._note("the rewards are being paid")
        try:
            paid = await workflow.execute_child_workflow(
                PAYOUT_WORKFLOW,
                PayoutRunInput(tenant_id=tenant_id, run_id=run_id),
                id=payout_workflow_id(tenant_id, run_id),
                task_queue=f"{core_queue(KIND)}-payouts",
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                parent_close_policy=ParentClosePolicy.ABANDON,
                search_attributes=TypedSearchAttributes(attributes),
                static_summary=f"Payout of a window of leaderboard {leaderboard_id}"[:180],
                result_type=PayoutProgress,
            )
        except (WorkflowAlreadyStartedError, ChildWorkflowError) as error:
            self._note(f"the payout goes on, or was stopped, outside this workflow: {error}")
            return frozen
        counts = f"{paid.paid} paid, {paid.skipped} skipped, of {paid.recipients} recipients"
        self._note(f"payout **{paid.status.value}**: {paid.reason or counts}")
        if paid.status is not RunStatus.COMPLETED:
            return frozen
        self._move(WindowStatus.PAID)
        return FrozenWindow(
            status=WindowStatus.PAID,
            total=frozen.total,
            snapshot_size=frozen.snapshot_size,
            late_events=frozen.late_events,
            payout_run_id=run_id,
        )

    async def _until_closing(self, gate: Gate | None) -> None:
        """The one timer; an early close moves it. After a gate that was not passed, PostgreSQL's clock says how long it is."""
        ends = None if gate is None else workflow.now() + timedelta(seconds=max(gate.wait_seconds, SHORTEST_WAIT_SECONDS))
        while True:
            planned = self._closes_at
            target = planned if ends is None else ends
            if target is not None and target <= workflow.now():
                return
            try:
                await workflow.wait_condition(
                    lambda seen=planned: self._closes_at != seen,  # type: ignore[misc]
                    timeout=None if target is None else target - workflow.now(),
                    timeout_summary="the window closes",
                )
            except TimeoutError:
                return
            ends = None

    async def _pass_barrier(self) -> Gate:
        gate: Gate = await workflow.execute_activity_method(
            WindowActivities.pass_barrier,
            self._window,
            task_queue=queue(KIND),
            start_to_close_timeout=BARRIER_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=OWN_FAULTS,
            summary="wait until all that counts is scored",
        )
        if gate.passed and self._status is WindowStatus.OPEN:
            self._move(WindowStatus.CLOSING)
        return gate

    async def _activity(self, method: Callable[[WindowActivities, WindowInput], Awaitable[Answer]], summary: str) -> Answer:
        return await workflow.execute_activity_method(
            method,
            self._window,
            task_queue=queue(KIND),
            start_to_close_timeout=DATABASE_TIMEOUT,
            retry_policy=OWN_FAULTS,
            summary=summary,
        )

    def _hear(self, news: CloseNow) -> None:
        """Show who closed the window, once: an activity may have heard of it before this workflow was told, or instead."""
        if news in self._heard:
            return
        self._heard.add(news)
        who = f" by {news.by}" if news.by else ""
        why = f": {news.reason}" if news.reason else ""
        self._note(f"closes early, at {self._closes_at:%Y-%m-%d %H:%M:%S} UTC{who}{why}")

    def _adopt(self, plan: WindowPlan) -> None:
        self._closes_at, self._successor_at = plan.closes_at, plan.successor_at
        self._move(plan.status)

    def _move(self, status: WindowStatus) -> None:
        changed, self._status = status is not self._status, status
        self._note(f"**{status.value}**" if changed or status in FROZEN else f"closes at {self._closes_at}")
        if changed:
            workflow.upsert_search_attributes([STATUS.value_set(status.value)])

    def _note(self, line: str) -> None:
        self._timeline.append(f"- {workflow.now():%Y-%m-%d %H:%M:%S} {line}")
        workflow.set_current_details("\n".join([f"Status: **{self._status.value}**", "", *self._timeline[-40:]]))
