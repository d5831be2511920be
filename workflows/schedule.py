"""One instant of a payout schedule, started by its Temporal Schedule (contract 4, Payout schedules)."""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities.schedule import ScheduleActivities
    from domain.payout.run import PayoutProgress, PayoutRunInput, RunStatus, payout_workflow_id
    from domain.payout.schedule import InstantClaim, InstantInput, ScheduleInput
    from workflows.payout import PayoutRunWorkflow
    from workflows.queues import core_queue, queue

KIND = "schedules"
SCHEDULED_AT = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
TENANT = SearchAttributeKey.for_keyword("TenantId")
STATUS = SearchAttributeKey.for_keyword("PayoutStatus")
SCHEDULE = SearchAttributeKey.for_keyword("ScheduleId")
LEADERBOARD = SearchAttributeKey.for_keyword("LeaderboardId")
OWN_FAULTS = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
CLAIM_TIMEOUT = timedelta(seconds=60)
FOLLOW_TIMEOUT = timedelta(days=30)
HEARTBEAT_TIMEOUT = timedelta(seconds=20)
PRIORITY = 3


@workflow.defn
class PayoutScheduleWorkflow:
    r"""The diagram of the workflow. It lives as long as its run, so that Temporal knows which instants overlap.

    an instant has come ── claimed ──▶ its payout run, a workflow of its own ──▶ over
                       └── no instant of ours, paused, overlapping ──▶ nothing to do
    """

    @workflow.run
    async def run(self, schedule: ScheduleInput) -> InstantClaim:
        """See the instant through. It is the one that Temporal planned, however late this runs; the clock is never asked."""
        claim = await self._claim(schedule, _scheduled_at())
        if claim.run_id is None:
            workflow.set_current_details(f"Nothing to pay: {claim.reason}")
            return claim
        run = PayoutRunInput(tenant_id=schedule.tenant_id, run_id=claim.run_id)
        workflow.set_current_details(f"Payout run `{claim.run_id}`")
        progress = await self._pay(run, schedule, claim)
        workflow.set_current_details(
            f"Payout run `{claim.run_id}`: **{progress.status.value}**, {progress.paid} paid of {progress.recipients}"
        )
        return claim

    async def _claim(self, schedule: ScheduleInput, instant: datetime) -> InstantClaim:
        return await workflow.execute_activity_method(
            ScheduleActivities.claim,
            InstantInput(tenant_id=schedule.tenant_id, schedule_id=schedule.schedule_id, instant=instant),
            task_queue=queue(KIND),
            start_to_close_timeout=CLAIM_TIMEOUT,
            retry_policy=OWN_FAULTS,
            summary=f"claim {instant:%Y-%m-%d %H:%M:%S} UTC",
        )

    async def _pay(self, run: PayoutRunInput, schedule: ScheduleInput, claim: InstantClaim) -> PayoutProgress:
        """The run is a child that outlives this workflow, should somebody terminate it."""
        attributes = [
            SearchAttributePair(TENANT, str(run.tenant_id)),
            SearchAttributePair(STATUS, RunStatus.PLANNING.value),
            SearchAttributePair(SCHEDULE, str(schedule.schedule_id)),
        ]
        if claim.leaderboard_id is not None:
            attributes.append(SearchAttributePair(LEADERBOARD, claim.leaderboard_id))
        try:
            return await workflow.execute_child_workflow(
                PayoutRunWorkflow.run,
                run,
                id=payout_workflow_id(run.tenant_id, run.run_id),
                task_queue=f"{core_queue(KIND)}-payouts",
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                search_attributes=TypedSearchAttributes(attributes),
                static_summary="Payout of a schedule",
                priority=Priority(priority_key=PRIORITY, fairness_key=str(run.tenant_id)),
            )
        except WorkflowAlreadyStartedError:
            return await self._follow(run)

    async def _follow(self, run: PayoutRunInput) -> PayoutProgress:
        return await workflow.execute_activity_method(
            ScheduleActivities.follow,
            run,
            task_queue=queue(KIND),
            start_to_close_timeout=FOLLOW_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=OWN_FAULTS,
            summary="the run was started by others: wait for its end",
        )


def _scheduled_at() -> datetime:
    instant = workflow.info().typed_search_attributes.get(SCHEDULED_AT)
    if instant is None:
        raise ApplicationError("only a Temporal Schedule starts this workflow; use the API to trigger a run", non_retryable=True)
    return instant
