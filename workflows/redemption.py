"""The life of one redemption, from the held points to their spending or return (contract 4)."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.redemption import RedemptionActivities
    from activities.webhook import WebhookActivities
    from domain.redemption import messages
    from domain.redemption.messages import (
        Attempted,
        BeginResult,
        RedemptionInput,
        RedemptionOutcome,
        RedemptionUpdate,
        SendInput,
        SendResult,
        SettleInput,
        SettleResult,
    )
    from domain.redemption.redemption import FINAL, WAITING, RedemptionState
    from domain.webhook.webhook import Ladder

STATUS = SearchAttributeKey.for_keyword("RedemptionStatus")
FLAGS = SearchAttributeKey.for_keyword_list("Flags")
OWN_FAULTS = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
DATABASE_TIMEOUT = timedelta(seconds=15)
SEND_TIMEOUT = timedelta(seconds=50)  # the longest exchange is 30 s
HEARTBEAT_TIMEOUT = timedelta(seconds=10)


@workflow.defn
class RedemptionWorkflow:
    r"""The diagram of the workflow.

    pending_claim ── claim ──▶ pending_approval ── approve ──▶ pending
       └──────────── own deadline (7 days), cancel ──────────▶ expired, cancelled
    pending ── wallet, codes ────────────────────────────────▶ fulfilled
    pending ── webhook accepted ──▶ processing ── callback ──▶ fulfilled | failed
       │ \────────────── callback at any time ───────────────▶
       └──────────────── deadline ───────────────────────────▶ expired (points returned)
    """

    @workflow.init
    def __init__(self, redemption: RedemptionInput) -> None:
        """Ready for updates that arrive before `run` begins."""
        self._redemption = redemption
        self._status = RedemptionState.PENDING
        self._number = 0
        self._begun: BeginResult | None = None
        self._resumed = 0
        self._resumed_before = 0
        self._rounds = 0
        self._timeline: list[str] = []
        self._flags = sorted(workflow.info().typed_search_attributes.get(FLAGS) or [])  # of the run before

    @workflow.run
    async def run(self, redemption: RedemptionInput) -> RedemptionOutcome:
        """See the redemption through to a final state."""
        try:
            begun = await self._begin()
            while begun.status in WAITING and await self._let_through(begun):
                begun = await self._begin()
            while await self._deliver(begun):
                await self._go_round()
                begun = await self._begin()
            if not await self._settled_before_deadline():
                await self._settle(RedemptionState.EXPIRED, "nobody fulfilled it before its deadline")
        except (asyncio.CancelledError, ActivityError) as error:
            if not is_cancelled_exception(error):
                raise
            await self._settle(RedemptionState.CANCELLED, "its workflow was cancelled in Temporal")
        await workflow.wait_condition(workflow.all_handlers_finished)
        return RedemptionOutcome(status=self._status)

    @workflow.update
    async def moved(self, news: RedemptionUpdate) -> None:
        """Someone moved the redemption: the partner's callback, staff, the sweep."""
        self._adopt(news.status, news.number, _cause(news))
        self._flag(news.flags)

    @moved.validator
    def check_moved(self, news: RedemptionUpdate) -> None:
        """Refuse what is not a row of the timeline."""
        if news.number < 1:
            raise ApplicationError("a move has a number from 1", type="VALIDATION_ERROR", non_retryable=True)

    @workflow.update
    async def attempted(self, made: Attempted) -> None:
        """Somebody had the webhook sent once more, by hand."""
        self._note(f"attempt {made.attempt}, by hand: {made.answer}")

    @workflow.update
    async def resume(self) -> None:
        """The endpoint is enabled again, or there is one now, or it works again: what was held, had nobody to go to or waits goes on."""
        self._resumed += 1

    async def _go_round(self) -> None:
        """A run that has gone round often goes on in a new one with a short history: PostgreSQL knows how far the redemption came."""
        self._rounds += 1
        if self._rounds > messages.ROUNDS_IN_A_RUN and workflow.patched("goes-on-in-a-new-run"):  # 2026-12: replays older histories
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(self._redemption)

    async def _begin(self) -> BeginResult:
        self._resumed_before = self._resumed
        begun = await workflow.execute_activity_method(
            RedemptionActivities.begin,
            self._redemption,
            start_to_close_timeout=DATABASE_TIMEOUT,
            retry_policy=OWN_FAULTS,
            summary="prepare the delivery",
        )
        self._begun = begun
        self._hear(begun, "begun")
        if not begun.has_endpoint:
            self._note("no endpoint takes `reward_redeemed`")
        return begun

    async def _let_through(self, begun: BeginResult) -> bool:
        """Wait for the claim or the approval: True when it came, False when the redemption is over, or expired meanwhile."""
        await self._wait(lambda: self._number > begun.number, None, f"{begun.status.value}: 7 days")
        if self._number == begun.number:
            await self._settle(RedemptionState.EXPIRED, f"nobody acted while it was {begun.status.value}", only_from=begun.status)
        return self._status not in FINAL

    async def _deliver(self, begun: BeginResult) -> bool:
        """The ladder: first try and at most three retries. A final state ends it, our own faults and holds use nothing up.

        True when it has to begin anew, because an endpoint came, or the endpoint was archived.
        """
        if not begun.has_endpoint:
            await self._wait(lambda: self._resumed > self._resumed_before, None, "the deadline, or an endpoint")
            return self._resumed > self._resumed_before and not self._is_over()
        attempts = Ladder(delays=begun.retry_delays_seconds).attempts
        attempt, turn_reserved = 1, False
        while begun.delivery_id is not None and attempt <= attempts and not self._is_over():
            await self._go_round()
            resumed = self._resumed
            sent = await self._send(begun, attempt, attempts, turn_reserved=turn_reserved)
            if sent is None:
                return False
            self._hear(sent, f"webhook {sent.answer}")
            turn_reserved = sent.deferred
            if sent.deferred and not self._is_over():
                await self._wait(lambda: False, sent.wait_seconds, "its turn at the endpoint")
                continue
            if sent.held:
                await self._wait(lambda seen=resumed: self._resumed > seen, None, "held: the endpoint is disabled")  # type: ignore[misc]
                continue
            if sent.gone:
                return not self._is_over()
            self._note(f"attempt {attempt} of {attempts}: {sent.answer}")
            if sent.wait_seconds is None:
                return False
            attempt += 1
            if not self._is_over():
                ends = workflow.patched("resume-ends-a-wait")  # 2026-12: replays older histories
                at_once: Callable[[], bool] = lambda seen=resumed, ends=ends: ends and self._resumed > seen  # type: ignore[misc]  # noqa: E731
                await self._wait(at_once, sent.wait_seconds, f"attempt {attempt} of {attempts}, in {sent.wait_seconds:.0f} s")
        return False

    async def _send(self, begun: BeginResult, attempt: int, attempts: int, *, turn_reserved: bool = False) -> SendResult | None:
        """One attempt; None when the deadline passed while our own faults kept it from being made."""
        if begun.delivery_id is None:
            return None
        given = SendInput(
            tenant_id=self._redemption.tenant_id,
            redemption_id=self._redemption.redemption_id,
            delivery_id=begun.delivery_id,
            attempt=attempt,
            jitter=workflow.random().uniform(-1, 1),
            retry_delays_seconds=begun.retry_delays_seconds,
            deadline_at=begun.deadline_at,
            turn_reserved=turn_reserved,
        )
        sending = workflow.start_activity_method(
            WebhookActivities.send,
            given,
            task_queue=f"{workflow.info().task_queue}-webhooks",
            start_to_close_timeout=SEND_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=OWN_FAULTS,
            summary=f"attempt {attempt} of {attempts}",
        )
        remaining = self._remaining()
        try:
            await workflow.wait_condition(
                sending.done,
                timeout=None if remaining is None else max(remaining, 0.0) + SEND_TIMEOUT.seconds,
                timeout_summary=f"the deadline, while attempt {attempt} is under way",
            )
        except TimeoutError:
            sending.cancel()
            return None
        return await sending

    async def _settled_before_deadline(self) -> bool:
        """Wait for someone to end it: True when that happened, False at the deadline."""
        await self._wait(lambda: False, None, "the deadline")
        return self._status in FINAL

    async def _settle(self, to: RedemptionState, note: str, only_from: RedemptionState | None = None) -> None:
        """Give the points back, unless someone was faster."""
        settled: SettleResult = await workflow.execute_activity_method(
            RedemptionActivities.settle,
            SettleInput(
                tenant_id=self._redemption.tenant_id,
                redemption_id=self._redemption.redemption_id,
                to=to,
                note=note,
                only_from=only_from,
            ),
            start_to_close_timeout=DATABASE_TIMEOUT,
            retry_policy=OWN_FAULTS,
            summary=f"{to.value}: {note}",
        )
        self._hear(settled, note)

    async def _wait(self, woken: Callable[[], bool], seconds: float | None, summary: str) -> None:
        """Wait until woken, over, or past the deadline, at most this long."""
        limits = [limit for limit in (seconds, self._remaining()) if limit is not None]
        try:
            await workflow.wait_condition(
                lambda: woken() or self._status in FINAL, timeout=max(0.0, min(limits)) if limits else None, timeout_summary=summary
            )
        except TimeoutError:
            return

    def _is_over(self) -> bool:
        remaining = self._remaining()
        return self._status in FINAL or (remaining is not None and remaining <= 0)

    def _remaining(self) -> float | None:
        """Seconds to the deadline, None without one."""
        if self._begun is None or self._begun.deadline_at is None:
            return None
        return (self._begun.deadline_at - workflow.now()).total_seconds()

    def _hear(self, result: BeginResult | SendResult | SettleResult, cause: str) -> None:
        """Take over what an activity found, with who had moved it, where the activity heard of that before this workflow was told."""
        for news in result.news:
            if news.number == result.number:
                cause = _cause(news)
            elif self._number < news.number < result.number:
                self._note(f"**{news.status.value}** ({_cause(news)})")
        self._adopt(result.status, result.number, cause)
        self._flag(result.flags)

    def _adopt(self, status: RedemptionState, number: int, cause: str) -> None:
        """Take over a newer state and show it in Temporal's UI; old news changes nothing."""
        if number <= self._number:
            return
        changed = status is not self._status
        self._number, self._status = number, status
        self._note(f"**{status.value}** ({cause})")
        if changed:
            workflow.upsert_search_attributes([STATUS.value_set(status.value)])

    def _flag(self, flags: list[str] | None) -> None:
        """Show what keeps the redemption from being fulfilled. What histories from before flags were told holds none: None."""
        if flags is None or sorted(flags) == self._flags:
            return
        self._flags = sorted(flags)
        workflow.upsert_search_attributes([FLAGS.value_set(self._flags)])

    def _note(self, line: str) -> None:
        self._timeline.append(f"- {workflow.now():%Y-%m-%d %H:%M:%S} {line}")
        workflow.set_current_details("\n".join([f"Status: **{self._status.value}**", "", *self._timeline[-40:]]))


def _cause(news: RedemptionUpdate) -> str:
    who = f"by {news.by}" if news.by else "told from outside"
    return f"{who}: {news.note}" if news.note else who
