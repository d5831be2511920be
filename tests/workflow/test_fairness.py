"""No tenant's orders delay another's, and no flood of orders delays what has queues of its own."""

import asyncio
from datetime import datetime

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.redemption import RedemptionActivities
from runtime.postgres import Pool
from tests.builders.redemption import Stage, a_stage
from tests.builders.store import make_world
from workflows.redemption import RedemptionWorkflow

FLOOD = 150


async def begun_at(handle: WorkflowHandle[object, object]) -> datetime:
    """When a worker took the workflow's first task."""
    async with asyncio.timeout(120):
        while True:
            async for event in handle.fetch_history_events():
                if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
                    return event.event_time.ToDatetime()
            await asyncio.sleep(0.1)


async def test_the_orders_of_one_tenant_do_not_stand_before_anothers(pool: Pool, temporal_client: Client) -> None:
    async with a_stage(pool, temporal_client, with_workers=False) as stage:
        other = Stage(await make_world(pool), stage.client, stage.queues, stage.relay)
        await stage.world.user("u1", 10 * FLOOD)
        flood = [await stage.redeem(type="manual", stock=FLOOD), *[await stage.world.redeem("u1") for _ in range(FLOOD - 1)]]
        while await stage.relay.deliver_batch():
            pass
        late = await other.redeem(type="manual")
        while await stage.relay.deliver_batch():
            pass
        steps = RedemptionActivities(pool)
        taking = Worker(
            temporal_client,
            task_queue=stage.queues.core,
            workflows=[RedemptionWorkflow],
            activities=[steps.begin, steps.settle],
            max_concurrent_workflow_tasks=4,
        )
        async with taking:
            times = await asyncio.gather(*(begun_at(stage.handle(each)) for each in flood))
            own = await begun_at(stage.handle(late))
        before = sum(each < own for each in times)
        assert before < FLOOD / 2, "it came last, and does not wait for all of the others"
        for each in [*flood, late]:
            await stage.handle(each).terminate()
