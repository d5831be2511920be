"""The erasure of a user, step by step (contract 4, Users)."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.erasure import ErasureActivities
    from domain.tenant.erasure import ErasureInput

OWN_FAULTS = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
TIMEOUT = timedelta(hours=2)
HEARTBEAT_TIMEOUT = timedelta(seconds=20)
UNDER_WAY = timedelta(seconds=15)
"""What began before the erasure is over by then: writers of events, publications, transactions of requests."""


@workflow.defn
class EraseUserWorkflow:
    r"""The diagram of the workflow.

    nameless ── off the boards ── redemptions settled ── events scrubbed ── documents scrubbed ── 15 s ── all once more ──▶ erased
    """

    @workflow.run
    async def run(self, given: ErasureInput) -> None:
        """See the erasure through. The user's name went before this began."""
        # Boards are public, so the user leaves them first. Erasures under way since before keep their order; none runs for more than a
        # few hours, so the patch can go with the next release.
        boards_first = workflow.patched("boards-first")
        if boards_first:
            await self._step(ErasureActivities.leave_boards, given, "leave the open windows")
        await self._step(ErasureActivities.settle, given, "cancel open redemptions")
        await self._step(ErasureActivities.scrub_events, given, "scrub the stored events")
        if not boards_first:
            await self._step(ErasureActivities.leave_boards, given, "leave the open windows")
        await self._step(ErasureActivities.scrub_documents, given, "scrub deliveries, answers and the audit log")
        await workflow.sleep(UNDER_WAY, summary="what was under way has ended")
        await self._step(ErasureActivities.complete, given, "once more, for what was under way")

    async def _step(self, method: Callable[[ErasureActivities, ErasureInput], Awaitable[None]], given: ErasureInput, summary: str) -> None:
        workflow.set_current_details(f"Now: {summary}")
        await workflow.execute_activity_method(
            method,
            given,
            start_to_close_timeout=TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=OWN_FAULTS,
            summary=summary,
        )
