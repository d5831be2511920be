"""Whose a Temporal namespace is: a marker in it names the installation, so that a second one does not work on the first one's workflows.

Ids of workflows and schedules are made from what they are about (`scoring:3`, `platform:…`) and are the same in each installation. The
marker is a paused Schedule: unlike a workflow that is over, one has no retention, and making it fails when it is there already.
"""

from datetime import timedelta
from uuid import UUID

from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleSpec, ScheduleState

from runtime.schedules import ensure_schedule, find_schedule

MARKER = "laurel-installation"
KEY = "installation_id"
UNSEEN = timedelta(seconds=1)
"""Somebody may trigger the marker by hand: what that starts, no worker takes, and it is over at once."""


class ForeignNamespaceError(Exception):
    """The namespace belongs to another installation. The text says what to change."""


def _marker(installation: UUID) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(MARKER, id=MARKER, task_queue=MARKER, execution_timeout=UNSEEN),
        spec=ScheduleSpec(),
        state=ScheduleState(paused=True, note=f"This namespace belongs to the Laurel installation {installation}. Leave it paused."),
    )


async def claim_namespace(client: Client, installation: UUID) -> None:
    """Make the namespace this installation's unless it is already; raises `ForeignNamespaceError`, and what Temporal raises.

    Of two that come at once, Temporal lets one make the marker; the other finds it.
    """
    owner = await namespace_owner(client)
    if owner is None and await ensure_schedule(client, MARKER, _marker(installation), memo={KEY: str(installation)}):
        return
    owner = owner or await namespace_owner(client)
    if owner != str(installation):
        raise ForeignNamespaceError(refusal(client.namespace, owner, installation))


async def namespace_owner(client: Client) -> str | None:
    """The id of the installation that the namespace belongs to; None when nobody has claimed it."""
    found = await find_schedule(client, MARKER)
    return None if found is None else str(await found.memo_value(KEY, default=""))


def refusal(namespace: str, owner: str | None, installation: UUID) -> str:
    """What is wrong, and what to change."""
    return (
        f"the Temporal namespace {namespace} belongs to the installation {owner or 'unknown'}, and this database is the installation"
        f" {installation}: set LAUREL_TEMPORAL_NAMESPACE to a namespace of this installation's own (or LAUREL_DATABASE_URL to the other's"
        f" database). If the other installation is gone for good, delete the schedule {MARKER} in that namespace"
    )
