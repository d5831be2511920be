"""Workflows in task queues that nobody serves any more: an operator has changed LAUREL_TASK_QUEUE, and they would wait for ever.

A workflow cannot change its queue. It is terminated, and the sweep starts it in the present queue as it does with all that was stopped:
PostgreSQL knows how far each thing came.
"""

import asyncio
from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowHandle, WorkflowHistoryEventFilterType
from temporalio.service import RPCError, RPCStatusCode

from runtime.ids import utc_now
from runtime.temporal import TaskQueues
from runtime.temporal_limits import RPC_TIMEOUT

TYPES = (
    "EndpointWorkflow",
    "EraseUserWorkflow",
    "LeaderboardWindowWorkflow",
    "PayoutRunWorkflow",
    "PayoutScheduleWorkflow",
    "PlatformTaskWorkflow",
    "RedemptionReversalWorkflow",
    "RedemptionWorkflow",
    "RescoreWorkflow",
)
"""All but the scoring workflows, which every worker looks after (`workflows/scoring.py`)."""
UNSERVED = timedelta(seconds=150)
"""A worker asks for tasks anew at least once a minute; two looks of the sweep lie further apart than this."""
REASON = "its task queue is served by no worker; it goes on in another"
ROUND = 1000
SIDE_BY_SIDE = 8


async def stop_stranded(client: Client, queues: TaskQueues) -> int:
    """Terminate workflows in other queues than ours that no worker has asked for tasks for a while; answers how many, at most `ROUND`."""
    ours = ", ".join(f"'{each}'" for each in queues.of_workflows)
    types = ", ".join(f"'{each}'" for each in TYPES)
    query = f"ExecutionStatus = 'Running' AND WorkflowType IN ({types}) AND TaskQueue NOT IN ({ours})"
    served: dict[str, bool] = {}
    stranded: list[WorkflowHandle[object, object]] = []
    async for found in client.list_workflows(query, rpc_timeout=RPC_TIMEOUT):
        if found.task_queue not in served:
            served[found.task_queue] = await _is_served(client, found.task_queue)
        if not served[found.task_queue]:
            stranded.append(client.get_workflow_handle(found.id, run_id=found.run_id))
        if len(stranded) == ROUND:
            break
    turns = asyncio.Semaphore(SIDE_BY_SIDE)

    async def stop(handle: WorkflowHandle[object, object]) -> bool:
        async with turns:
            return await _terminate(handle)

    return sum(await asyncio.gather(*map(stop, stranded)))


async def was_stranded(client: Client, workflow_id: str) -> bool:
    """Whether it was `stop_stranded` that ended the workflow, and no person."""
    handle = client.get_workflow_handle(workflow_id)
    closing = handle.fetch_history_events(event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT, rpc_timeout=RPC_TIMEOUT)
    return any([event.workflow_execution_terminated_event_attributes.reason == REASON async for event in closing])


async def _is_served(client: Client, queue: str) -> bool:
    """Whether a worker has asked for the queue's workflow tasks of late."""
    asked = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
    )
    described = await client.workflow_service.describe_task_queue(asked, timeout=RPC_TIMEOUT)
    since = (utc_now() - UNSERVED).timestamp()
    return any(each.last_access_time.ToSeconds() > since for each in described.pollers)


async def _terminate(handle: WorkflowHandle[object, object]) -> bool:
    """False when it has ended meanwhile."""
    try:
        await handle.terminate(reason=REASON, rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True
