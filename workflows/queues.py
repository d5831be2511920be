"""The task queues of workflows and their activities, told from the queue that a workflow runs in (`runtime/temporal.py` names them all)."""

from temporalio import workflow


def queue(kind: str) -> str:
    """The queue of this kind beside the present workflow's own.

    Workflows that began before their kind had a queue for workflow tasks run in the core queue, and go on there.
    """
    return f"{core_queue(kind)}-{kind}"


def core_queue(kind: str) -> str:
    """The core queue, for a workflow of this kind."""
    return workflow.info().task_queue.removesuffix(f"-{kind}")
