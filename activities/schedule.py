"""What the workflow of a payout schedule does to the world: claim the instant that has come, and follow a run that others started."""

import asyncio

from temporalio import activity

from activities.failure import refusals_are_final
from activities.heartbeat import heartbeats
from domain.payout.run import OVER, PayoutProgress, PayoutRunInput
from domain.payout.schedule import InstantClaim, InstantInput
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.payout.run import find_run, progress_of
from storage.payout.schedule_run import claim_instant

LOOK_SECONDS = 1.0


class ScheduleActivities:
    """Activities that are safe to run twice: an instant has one run."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @activity.defn(name="claim_payout_instant")
    async def claim(self, given: InstantInput) -> InstantClaim:
        """Make the run of this instant, or find it; without one, why there is none."""
        async with transaction(self._pool) as connection:
            return await claim_instant(connection, given.tenant_id, given.schedule_id, given.instant, now=utc_now())

    @activity.defn(name="follow_payout")
    async def follow(self, given: PayoutRunInput) -> PayoutProgress:
        """Wait until the run is over. Only for a run whose workflow somebody else has started."""
        with refusals_are_final():
            async with heartbeats():
                while True:
                    async with self._pool.connection() as connection:
                        run = await find_run(connection, given.tenant_id, given.run_id)
                    if run.status in OVER:
                        return progress_of(run)
                    await asyncio.sleep(LOOK_SECONDS)
