"""What a payout run's workflow does to the world: freeze the audience, pay pages, reconcile, give up."""

import asyncio

from temporalio import activity

from activities.failure import refusals_are_final
from activities.heartbeat import heartbeats
from domain.payout.run import PayoutProgress, PayoutRunInput, RunStatus
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.payout.pay import finish, pay_page
from storage.payout.plan import plan
from storage.payout.run import fail_run

PAGE = 1000
SECONDS_IN_ONE_ACTIVITY = 15.0
"""After so long an activity answers how far it came, for people to see; a run of any size makes a short history."""


class PayoutActivities:
    """Activities that are safe to run twice: the run's row says what is done."""

    def __init__(self, pool: Pool, *, page: int = PAGE) -> None:
        self._pool, self._page = pool, page

    @activity.defn(name="plan_payout")
    async def plan(self, given: PayoutRunInput) -> PayoutProgress:
        """Freeze who gets what, in one statement."""
        with refusals_are_final():
            async with heartbeats(), transaction(self._pool) as connection:
                return await plan(connection, given.tenant_id, given.run_id, utc_now())

    @activity.defn(name="pay_payout")
    async def pay(self, given: PayoutRunInput) -> PayoutProgress:
        """Pay pages, each in a transaction of its own, for some seconds."""
        until = asyncio.get_running_loop().time() + SECONDS_IN_ONE_ACTIVITY
        with refusals_are_final():
            async with heartbeats():
                while True:
                    async with transaction(self._pool) as connection:
                        progress = await pay_page(connection, given.tenant_id, given.run_id, self._page, now=utc_now())
                    is_through = progress.paid + progress.skipped >= progress.recipients
                    if progress.status is not RunStatus.PAYING or is_through or asyncio.get_running_loop().time() > until:
                        return progress

    @activity.defn(name="finish_payout")
    async def finish(self, given: PayoutRunInput) -> PayoutProgress:
        """Reconcile the totals and end the run."""
        with refusals_are_final():
            async with heartbeats(), transaction(self._pool) as connection:
                return await finish(connection, given.tenant_id, given.run_id, utc_now())

    @activity.defn(name="fail_payout")
    async def fail(self, given: PayoutRunInput) -> PayoutProgress:
        """End a run that was refused; whoever looks at it finds the refusal in the workflow's history."""
        with refusals_are_final():
            async with transaction(self._pool) as connection:
                return await fail_run(connection, given.tenant_id, given.run_id, "an activity was refused: see the workflow", now=utc_now())
