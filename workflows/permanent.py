"""What always runs in Temporal: a workflow for each scoring partition, and the schedules of the platform's own tasks."""

from temporalio.client import Client

from runtime.schedules import ensure_schedule, put_schedule
from runtime.temporal import TaskQueues
from workflows.platform import platform_schedules
from workflows.scoring import ensure_scoring_workflows


async def put_permanent(client: Client, queues: TaskQueues, partitions: int) -> None:
    """Start what is missing, and bring the schedules in line with this release and these queues."""
    await ensure_scoring_workflows(client, task_queue=queues.scoring, partitions=partitions)
    for identity, schedule in platform_schedules(queues.chores).items():
        await put_schedule(client, identity, schedule, keep_state=True)


async def ensure_permanent(client: Client, queues: TaskQueues, partitions: int) -> None:
    """Start what somebody has stopped or deleted; a schedule that is there is left as it is."""
    await ensure_scoring_workflows(client, task_queue=queues.scoring, partitions=partitions)
    for identity, schedule in platform_schedules(queues.chores).items():
        await ensure_schedule(client, identity, schedule)
