"""The platform's own schedules, for the operator: what runs for all tenants, when, and whether it is paused."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get, post
from msgspec import Meta, structs
from temporalio.client import Client, ScheduleDescription
from temporalio.service import RPCError

from api.pagination import Page, part_of
from api.rule import OPERATOR
from domain.errors import NotFound, Unavailable
from domain.maintenance import TIMETABLES, PlatformTask, platform_schedule_id
from domain.wire import Instant, NextCursor, optional_rfc3339
from runtime.postgres import Pool, transaction
from runtime.schedules import find_schedule
from runtime.temporal_limits import RPC_TIMEOUT
from storage.tenant.audit import record

NO_TENANT = UUID(int=0)
"""Under which the audit log keeps what concerns the platform itself."""

DEFAULT_NOTE = "by the operator"


class PlatformNote(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why a schedule is paused or resumed; it is shown in Temporal's UI."""

    note: Annotated[str, Meta(min_length=1, max_length=500)] = DEFAULT_NOTE


class PlatformScheduleState(StrEnum):
    """Whether a platform schedule runs; `missing`: no worker has created it yet."""

    ACTIVE = "active"
    PAUSED = "paused"
    MISSING = "missing"


class PlatformScheduleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What runs for all tenants, when, and whether it is paused."""

    name: PlatformTask
    schedule_id: Annotated[str, Meta(description="For the Temporal UI")]
    summary: str
    every_seconds: Annotated[int, Meta(examples=[3600])]
    state: PlatformScheduleState = PlatformScheduleState.MISSING
    note: str | None = None
    last_run_at: Instant | None = None
    last_workflow_id: str | None = None
    running: Annotated[list[str], Meta(description="Workflows in progress")] = []
    next_run_at: Annotated[Instant | None, Meta(description="null while it is paused")] = None


class PlatformScheduleListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The platform schedules."""

    platform_schedules: list[PlatformScheduleAnswer]
    next_cursor: NextCursor


@get("/v1/operator/platform-schedules", rule=OPERATOR)
async def list_platform_schedules(temporal: Client, page: Page) -> PlatformScheduleListAnswer:
    """List the platform schedules with their state, last and next run."""
    tasks, cursor = part_of(list(PlatformTask), page, lambda task: task.value)
    return PlatformScheduleListAnswer(platform_schedules=[await _shown(temporal, task) for task in tasks], next_cursor=cursor)


@post("/v1/operator/platform-schedules/{schedule_name:str}/pause", rule=OPERATOR, status_code=200)
async def pause_platform_schedule(schedule_name: str, data: PlatformNote, temporal: Client, pool: Pool) -> PlatformScheduleAnswer:
    """Pause a platform schedule until it is resumed, even across restarts."""
    task = _task(schedule_name)
    try:
        await temporal.get_schedule_handle(platform_schedule_id(task)).pause(note=data.note, rpc_timeout=RPC_TIMEOUT)
    except (RPCError, RuntimeError) as error:
        raise _away() from error
    await _write_down(pool, "pause", task, {"note": data.note})
    return await _shown(temporal, task)


@post("/v1/operator/platform-schedules/{schedule_name:str}/resume", rule=OPERATOR, status_code=200)
async def resume_platform_schedule(schedule_name: str, data: PlatformNote, temporal: Client, pool: Pool) -> PlatformScheduleAnswer:
    """Resume a platform schedule, from its next time."""
    task = _task(schedule_name)
    try:
        await temporal.get_schedule_handle(platform_schedule_id(task)).unpause(note=data.note, rpc_timeout=RPC_TIMEOUT)
    except (RPCError, RuntimeError) as error:
        raise _away() from error
    await _write_down(pool, "resume", task, {"note": data.note})
    return await _shown(temporal, task)


@post("/v1/operator/platform-schedules/{schedule_name:str}/trigger", rule=OPERATOR, status_code=202)
async def trigger_platform_schedule(schedule_name: str, temporal: Client, pool: Pool) -> PlatformScheduleAnswer:
    """Run a platform schedule now, even if it is paused. Does nothing while a run is in progress."""
    task = _task(schedule_name)
    try:
        await temporal.get_schedule_handle(platform_schedule_id(task)).trigger(rpc_timeout=RPC_TIMEOUT)
    except (RPCError, RuntimeError) as error:
        raise _away() from error
    await _write_down(pool, "trigger", task, {})
    return await _shown(temporal, task)


async def _write_down(pool: Pool, action: str, task: PlatformTask, facts: dict[str, Any]) -> None:
    async with transaction(pool) as connection:
        await record(connection, NO_TENANT, action=action, subject="platform_schedule", subject_id=platform_schedule_id(task), facts=facts)


def _task(name: str) -> PlatformTask:
    try:
        return PlatformTask(name)
    except ValueError:
        raise NotFound(f"Platform schedule '{name}' not found") from None


def _away() -> Unavailable:
    return Unavailable("Temporal is unavailable, or no worker has created this schedule yet; try again")


async def _shown(temporal: Client, task: PlatformTask) -> PlatformScheduleAnswer:
    try:
        found = await find_schedule(temporal, platform_schedule_id(task))
    except (RPCError, RuntimeError) as error:
        raise _away() from error
    shown = PlatformScheduleAnswer(
        name=task,
        schedule_id=platform_schedule_id(task),
        summary=TIMETABLES[task].summary,
        every_seconds=int(TIMETABLES[task].every.total_seconds()),
    )
    return shown if found is None else structs.replace(shown, **_facts(found))


def _facts(found: ScheduleDescription) -> dict[str, Any]:
    state, info = found.schedule.state, found.info
    last = info.recent_actions[-1] if info.recent_actions else None
    upcoming = None if state.paused or not info.next_action_times else info.next_action_times[0]
    return {
        "state": PlatformScheduleState.PAUSED if state.paused else PlatformScheduleState.ACTIVE,
        "note": state.note or None,
        "last_run_at": optional_rfc3339(None if last is None else last.started_at),
        "last_workflow_id": getattr(getattr(last, "action", None), "workflow_id", None),
        "running": [each.workflow_id for each in info.running_actions if hasattr(each, "workflow_id")],
        "next_run_at": optional_rfc3339(upcoming),
    }


routes: list[Any] = [list_platform_schedules, pause_platform_schedule, resume_platform_schedule, trigger_platform_schedule]
