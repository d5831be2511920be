"""How a workflow is, as far as it matters to whoever looks after its work: the one place that knows Temporal's statuses."""

from collections.abc import Mapping
from enum import Enum

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from runtime.temporal_limits import RPC_TIMEOUT


class WorkflowState(Enum):
    """What becomes of the work."""

    AT_WORK = "at work"
    """It goes on, or will: one that somebody has paused waits for being let on, and another one would do its work beside it."""
    DONE = "done"
    STOPPED = "stopped"
    """It ended without having done its work. What the database says has to be done goes on all the same: whoever wants to stop it does so
    in Laurel, not in Temporal's UI."""


STATES: Mapping[int, WorkflowState] = {
    Status.WORKFLOW_EXECUTION_STATUS_RUNNING: WorkflowState.AT_WORK,
    Status.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW: WorkflowState.AT_WORK,
    Status.WORKFLOW_EXECUTION_STATUS_PAUSED: WorkflowState.AT_WORK,
    Status.WORKFLOW_EXECUTION_STATUS_COMPLETED: WorkflowState.DONE,
    Status.WORKFLOW_EXECUTION_STATUS_FAILED: WorkflowState.STOPPED,
    Status.WORKFLOW_EXECUTION_STATUS_CANCELED: WorkflowState.STOPPED,
    Status.WORKFLOW_EXECUTION_STATUS_TERMINATED: WorkflowState.STOPPED,
    Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT: WorkflowState.STOPPED,
}


async def state_of(client: Client, workflow_id: str) -> WorkflowState | None:
    """How the latest run is, None when Temporal does not know it. A status that only later servers have is left alone."""
    # Asked as it is sent: the SDK's own description raises for a status that its list does not have, such as paused.
    asked = DescribeWorkflowExecutionRequest(namespace=client.namespace, execution=WorkflowExecution(workflow_id=workflow_id))
    try:
        described = await client.workflow_service.describe_workflow_execution(asked, retry=True, timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return STATES.get(described.workflow_execution_info.status, WorkflowState.AT_WORK)
