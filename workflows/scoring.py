"""One workflow for each scoring partition: it gives the partition exactly one owner, and a place in Temporal's UI."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy

with workflow.unsafe.imports_passed_through():
    from activities.scoring import ScoringActivities, ScoringProgress

HEARTBEAT_TIMEOUT = timedelta(seconds=8)
LOOK_TIMEOUT = timedelta(seconds=5)
SHIFT_TIMEOUT = timedelta(hours=12)
FOREVER = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10), backoff_coefficient=1.5)


@workflow.defn(name="ScoringWorkflow")
class ScoringWorkflow:
    r"""owned ── shift over, worker gone ──▶ owned again, by whichever worker takes it first

    The activity is the pump. Its heartbeats carry cursor and lag (under pending activities in the UI). A worker that dies is noticed after
    `HEARTBEAT_TIMEOUT`; should it come back to life, the epoch in PostgreSQL refuses it. A pump whose activity was lost because Temporal is
    away goes on, until the partition is given out again.
    """

    @workflow.init
    def __init__(self, partition: int, scored_before: int = 0) -> None:
        """Ready for reports that arrive before `run` begins."""
        self._scored = scored_before

    @workflow.signal
    def report(self, progress: ScoringProgress) -> None:
        """How far the pump is, told by itself about once a minute while it moves."""
        workflow.set_current_details(
            f"Scoring partition **{progress.partition}**: {self._scored + progress.events} events\n\n"
            f"cursor **{progress.cursor}**, lag **{max(0, progress.head - progress.cursor)}** positions, owner epoch {progress.epoch}, "
            f"{progress.dead_letters} dead letters in this shift; as of {workflow.now():%Y-%m-%d %H:%M:%S} UTC"
        )

    @workflow.run
    async def run(self, partition: int, scored_before: int = 0) -> None:
        """Keep the partition owned; never ends but as a new run of itself."""
        scored = scored_before
        while not workflow.info().is_continue_as_new_suggested():
            workflow.set_current_details(f"Scoring partition **{partition}**: {scored} events in the shifts that are over.")
            progress: ScoringProgress = await workflow.execute_activity_method(
                ScoringActivities.score_partition,
                partition,
                start_to_close_timeout=SHIFT_TIMEOUT,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=FOREVER,
                summary=f"Pump of partition {partition}",
            )
            scored += progress.events
            self._scored = scored
            workflow.set_current_details(
                f"Scoring partition **{partition}**: {scored} events; cursor {progress.cursor}, "
                f"lag {max(0, progress.head - progress.cursor)}, owner epoch {progress.epoch}. The last shift ended: {progress.ended}"
            )
            await workflow.sleep(timedelta(milliseconds=200), summary="Leave room for another worker")
        workflow.continue_as_new(args=[partition, scored])


async def ensure_scoring_workflows(client: Client, *, task_queue: str, partitions: int) -> None:
    """Start the workflow of each partition that has none in this queue. Safe to repeat and from several workers at once.

    One in another queue, which the settings named before, stays for as long as a worker there has its pump.
    """
    for partition in range(partitions):
        present = await _start(client, partition, task_queue, WorkflowIDConflictPolicy.USE_EXISTING)
        if _is_stranded(await _describe(client, present.id), task_queue):
            await _start(client, partition, task_queue, WorkflowIDConflictPolicy.TERMINATE_EXISTING)


async def _start(client: Client, partition: int, task_queue: str, policy: WorkflowIDConflictPolicy) -> WorkflowHandle[Any, None]:
    return await client.start_workflow(
        ScoringWorkflow.run,
        args=[partition, 0],
        id=f"scoring:{partition}",
        task_queue=task_queue,
        id_conflict_policy=policy,
        static_summary=f"Scoring partition {partition}",
    )


async def _describe(client: Client, workflow_id: str) -> DescribeWorkflowExecutionResponse:
    """The SDK's own description raises for a status that it does not know, such as paused."""
    asked = DescribeWorkflowExecutionRequest(namespace=client.namespace, execution=WorkflowExecution(workflow_id=workflow_id))
    return await client.workflow_service.describe_workflow_execution(asked, retry=True, timeout=LOOK_TIMEOUT)


def _is_stranded(present: DescribeWorkflowExecutionResponse, task_queue: str) -> bool:
    """Whether the workflow waits in another queue for a worker to take its pump."""
    pumps = present.pending_activities
    return present.workflow_execution_info.task_queue != task_queue and all(
        each.state != PendingActivityState.PENDING_ACTIVITY_STATE_STARTED for each in pumps
    )
