"""The building of a window anew, from its start to the deletion of what it has replaced (contract 3)."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.rescore import RescoreActivities
    from domain.leaderboard.rescore import RescoreInput, RescoreProgress, RescoreStatus
    from workflows.queues import queue

Answer = TypeVar("Answer")
OWN_FAULTS = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
TIMEOUT = timedelta(hours=2)
HEARTBEAT_TIMEOUT = timedelta(seconds=30)
STILL_READ = timedelta(seconds=60)
"""A reader that began before the switch may still look at what was replaced."""
STINTS = 500
BAR = 30


@workflow.defn
class RescoreWorkflow:
    r"""The diagram of the workflow.

    running ── all of the log up to the start is read ──▶ completed ── a minute later ──▶ the replaced standings are deleted
       └── cancelled, or retention was faster ──▶ failed: the board stays as it was, what was built is deleted
    """

    @workflow.init
    def __init__(self, rescore: RescoreInput) -> None:
        """Ready for queries that arrive before `run` begins."""
        self._rescore = rescore
        self._progress = RescoreProgress(status=RescoreStatus.RUNNING)

    @workflow.run
    async def run(self, rescore: RescoreInput) -> RescoreProgress:
        """See the rescore through to its end."""
        try:
            await self._read()
            self._show(await self._activity(RescoreActivities.switch, "switch to the new standings"))
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
            self._show(await self._activity(RescoreActivities.give_up, "cancelled: leave the board as it is"))
        await workflow.sleep(STILL_READ, summary="nobody reads the replaced standings any more")
        await self._activity(RescoreActivities.clear, "delete the replaced standings")
        return self._progress

    @workflow.query
    def progress(self) -> RescoreProgress:
        """How far it is."""
        return self._progress

    async def _read(self) -> None:
        stints = 0
        while self._progress.status is RescoreStatus.RUNNING and not self._progress.all_read:
            if stints >= STINTS:
                workflow.continue_as_new(self._rescore)
            self._show(await self._activity(RescoreActivities.read, "read the log again"))
            stints += 1

    async def _activity(self, method: Callable[[RescoreActivities, RescoreInput], Awaitable[Answer]], summary: str) -> Answer:
        return await workflow.execute_activity_method(
            method,
            self._rescore,
            task_queue=queue("windows"),
            start_to_close_timeout=TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=OWN_FAULTS,
            summary=summary,
        )

    def _show(self, progress: RescoreProgress) -> None:
        self._progress = progress
        done = round(BAR * progress.fraction)
        lines = [
            f"Status: **{progress.status.value}**" + (f" ({progress.reason})" if progress.reason else ""),
            f"`{'█' * done}{'░' * (BAR - done)}` {100 * progress.fraction:.1f} %",
            f"{progress.positions_read} of {progress.positions} positions of the log read, {progress.events_read} events of the tenant.",
        ]
        workflow.set_current_details("\n\n".join(lines))
