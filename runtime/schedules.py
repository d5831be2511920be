"""Temporal Schedules for every process: make one or bring it in line, look at it, take it away. It knows nothing of what they start."""

from collections.abc import Mapping

from temporalio.client import (
    Client,
    Schedule,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from runtime.temporal_limits import RPC_TIMEOUT


async def ensure_schedule(
    client: Client,
    schedule_id: str,
    schedule: Schedule,
    *,
    search_attributes: TypedSearchAttributes | None = None,
    memo: Mapping[str, str] | None = None,
) -> bool:
    """Make the schedule if Temporal has none of that id; True when it was made. One that exists is left as it is."""
    try:
        await client.create_schedule(schedule_id, schedule, search_attributes=search_attributes, memo=memo, rpc_timeout=RPC_TIMEOUT)
    except ScheduleAlreadyRunningError:
        return False
    return True


async def put_schedule(
    client: Client,
    schedule_id: str,
    schedule: Schedule,
    *,
    keep_state: bool = False,
    search_attributes: TypedSearchAttributes | None = None,
) -> bool:
    """Make the schedule, or bring its action, spec and policy in line with `schedule`; True when it was made.

    `keep_state`: whether it is paused, and its note, stay as somebody left them in Temporal; otherwise they are set too.
    """
    if await ensure_schedule(client, schedule_id, schedule, search_attributes=search_attributes):
        return True

    def change(found: ScheduleUpdateInput) -> ScheduleUpdate:
        # Computed inside the callback, which Temporal repeats when somebody else edits the schedule meanwhile.
        present = found.description.schedule
        wanted = Schedule(
            action=schedule.action,
            spec=schedule.spec,
            policy=schedule.policy,
            state=present.state if keep_state else schedule.state,
        )
        return ScheduleUpdate(schedule=wanted, search_attributes=search_attributes)

    await client.get_schedule_handle(schedule_id).update(change, rpc_timeout=RPC_TIMEOUT)
    return False


async def find_schedule(client: Client, schedule_id: str) -> ScheduleDescription | None:
    """The schedule as Temporal knows it, with its last and next runs; None when there is none of that id."""
    try:
        return await client.get_schedule_handle(schedule_id).describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def drop_schedule(client: Client, schedule_id: str) -> bool:
    """Take the schedule away; False when Temporal has none of that id. Runs that are under way go on."""
    try:
        await client.get_schedule_handle(schedule_id).delete(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True
