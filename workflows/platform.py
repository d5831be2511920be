"""A run of one of the platform's maintenance tasks: its schedule starts it, its details in the Temporal UI say how far it is."""

from datetime import timedelta

from temporalio import workflow
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.platform import PlatformActivities
    from domain.maintenance import TIMETABLES, PlatformRun, PlatformTask, platform_schedule_id

SHIFT_TIMEOUT = timedelta(minutes=5)
HEARTBEAT_TIMEOUT = timedelta(seconds=20)
OWN_FAULTS = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=60))


@workflow.defn(name="PlatformTaskWorkflow")
class PlatformTaskWorkflow:
    r"""shift ── more is due ──▶ shift ── nothing is left ──▶ done"""

    @workflow.run
    async def run(self, given: PlatformRun) -> dict[str, int]:
        """Work until nothing is left; answers what was done, by name."""
        present = given
        while not present.is_over:
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(present)
            present = await workflow.execute_activity_method(
                PlatformActivities.run,
                present,
                start_to_close_timeout=SHIFT_TIMEOUT,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=OWN_FAULTS,
                summary=TIMETABLES[present.task].summary,
            )
            lines = [f"- {name}: **{count}**" for name, count in present.done.items()]
            workflow.set_current_details("\n".join(["over" if present.is_over else "at work", "", *lines]))
        return present.done


def platform_schedules(task_queue: str) -> dict[str, Schedule]:
    """The schedules of all maintenance tasks, by id. One that is still running is not started again; after an outage each runs once."""
    return {platform_schedule_id(task): _schedule(task, task_queue) for task in PlatformTask}


def _schedule(task: PlatformTask, task_queue: str) -> Schedule:
    timetable = TIMETABLES[task]
    action = ScheduleActionStartWorkflow(
        PlatformTaskWorkflow.run,
        PlatformRun(task=task),
        id=platform_schedule_id(task),
        task_queue=task_queue,
        static_summary=timetable.summary,
    )
    return Schedule(
        action=action,
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timetable.every, offset=timetable.offset)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=max(timetable.every, timedelta(minutes=10))),
    )
