"""Temporal Schedules as the processes put them: made once, brought in line, paused by people."""

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleState,
)

from runtime.ids import new_id
from runtime.schedules import drop_schedule, ensure_schedule, find_schedule, put_schedule


def every(hours: int, *, paused: bool = False) -> Schedule:
    action = ScheduleActionStartWorkflow("Nothing", id="nothing", task_queue="nobody")
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=hours))])
    return Schedule(action=action, spec=spec, state=ScheduleState(paused=paused))


async def test_a_schedule_is_made_once_brought_in_line_and_taken_away(temporal_client: Client):
    identity = f"test-{new_id()}"
    assert await find_schedule(temporal_client, identity) is None
    assert await put_schedule(temporal_client, identity, every(1))
    assert not await ensure_schedule(temporal_client, identity, every(5))
    assert not await put_schedule(temporal_client, identity, every(2, paused=True))
    found = await find_schedule(temporal_client, identity)
    assert found is not None
    assert [interval.every for interval in found.schedule.spec.intervals] == [timedelta(hours=2)]
    assert found.schedule.state.paused
    assert await drop_schedule(temporal_client, identity)
    assert not await drop_schedule(temporal_client, identity)


async def test_a_schedule_that_somebody_paused_stays_paused_when_asked_to_keep_its_state(temporal_client: Client):
    identity = f"test-{new_id()}"
    await put_schedule(temporal_client, identity, every(1))
    await temporal_client.get_schedule_handle(identity).pause(note="by hand")
    await put_schedule(temporal_client, identity, every(3), keep_state=True)
    found = await find_schedule(temporal_client, identity)
    assert found is not None
    assert (found.schedule.state.paused, found.schedule.state.note) == (True, "by hand")
    assert [interval.every for interval in found.schedule.spec.intervals] == [timedelta(hours=3)]
    await drop_schedule(temporal_client, identity)
