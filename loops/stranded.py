"""Workflows in task queues that nobody serves any more: an operator has changed LAUREL_TASK_QUEUE, and they would wait for ever.

A workflow cannot change its queue. It is terminated, and goes on in the present queue as all does that was stopped: PostgreSQL knows how
far each thing came. Where PostgreSQL has nothing that waits, it is started anew here, with what it was given.
"""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecution, WorkflowHandle, WorkflowHistoryEventFilterType
from temporalio.common import RawValue, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from loops.one_by_one import one_by_one
from runtime.ids import utc_now
from runtime.search_attributes import SEARCH_ATTRIBUTES
from runtime.temporal import TaskQueues
from runtime.temporal_limits import RPC_TIMEOUT

GO_ON = {
    "EndpointWorkflow": "the sweep starts it as soon as something is due (`restart_pumps`)",
    "EraseUserWorkflow": "the sweep starts it, for the erasure is not complete (`restart_lost_erasures`)",
    "LeaderboardWindowWorkflow": "the sweep starts it, for the window is not frozen or has no successor (`restart_lost_windows`)",
    "PayoutRunWorkflow": "the sweep starts it as a new attempt, from the run's cursor (`restart_lost_payouts`)",
    "PayoutScheduleWorkflow": "an instant that has no run gets one (`settle_schedules`), and its run goes on as above",
    "PlatformTaskWorkflow": "its schedule, which each worker brings in line with the present queue, starts the next run",
    "RedemptionWorkflow": "the sweep starts it, for the redemption is open (`restart_lost`)",
    "RescoreWorkflow": "the sweep starts it, for the rescore is at work, or what it replaced is not cleared (`restart_lost_rescores`)",
}
"""Who takes up the work of those that are terminated."""
BEGIN_ANEW = {"RedemptionReversalWorkflow": "it shows what has happened, and nothing waits for it"}
"""Those whose work nobody would take up: they begin anew in the present queue."""
TYPES = (*GO_ON, *BEGIN_ANEW)
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
    stranded: list[WorkflowExecution] = []
    async for found in client.list_workflows(query, rpc_timeout=RPC_TIMEOUT):
        if found.task_queue not in served:
            served[found.task_queue] = await _is_served(client, found.task_queue)
        if not served[found.task_queue]:
            stranded.append(found)
        if len(stranded) == ROUND:
            break
    turns = asyncio.Semaphore(SIDE_BY_SIDE)

    async def stop(found: WorkflowExecution) -> int:
        async with turns:
            handle = client.get_workflow_handle(found.id, run_id=found.run_id)
            if found.workflow_type in BEGIN_ANEW:
                return await _begin_anew(client, handle, found, queues.core)
            return await _terminate(handle)

    return sum(await asyncio.gather(*(one_by_one([each], stop) for each in stranded)))


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


async def _begin_anew(client: Client, handle: WorkflowHandle[Any, Any], found: WorkflowExecution, task_queue: str) -> bool:
    """Put another run in its place, with the same input, and found by the same attributes."""
    first = await anext(aiter(handle.fetch_history_events(rpc_timeout=RPC_TIMEOUT)))
    given = first.workflow_execution_started_event_attributes
    await client.start_workflow(
        found.workflow_type,
        args=[RawValue(each) for each in given.input.payloads],
        id=found.id,
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
        search_attributes=TypedSearchAttributes([each for each in found.typed_search_attributes if each.key.name in SEARCH_ATTRIBUTES]),
        memo=await found.memo(),
        rpc_timeout=RPC_TIMEOUT,
    )
    return True


async def _terminate(handle: WorkflowHandle[Any, Any]) -> bool:
    """False when it has ended meanwhile."""
    try:
        await handle.terminate(reason=REASON, rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True
