"""Payout schedules for tests: a tenant with an item, schedules by the domain's own parsing, and the worker parts that pay them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from temporalio.client import Client
from temporalio.worker import Worker

from activities.payout import PayoutActivities
from activities.schedule import ScheduleActivities
from domain.payout.run import Run
from domain.payout.schedule import Schedule, audience_wire, due_wire, parse_schedule, temporal_schedule_id
from domain.reward.item import credit_of, parse_item
from loops.relay import Relay
from runtime.ids import new_id, utc_now
from runtime.postgres import transaction
from runtime.temporal import TaskQueues
from storage.payout.run_list import RunFilter, list_runs
from storage.payout.schedule import Definition, archive_schedule, change_schedule, find_schedule, insert_schedule
from storage.points.currency import currencies_of
from storage.reward.item import write_item
from tests.builders.store import World
from workflows.payout import PayoutRunWorkflow
from workflows.schedule import PayoutScheduleWorkflow

HOURLY = {"cron": "0 * * * *"}
EVERYONE = {"type": "all_users"}


class Stage(msgspec.Struct, frozen=True):
    world: World
    client: Client
    queues: TaskQueues
    relay: Relay

    async def tell(self) -> None:
        """Deliver all commands of the outbox."""
        while await self.relay.deliver_batch():
            pass

    def temporal_id(self, schedule: Schedule) -> str:
        return temporal_schedule_id(schedule.tenant_id, schedule.schedule_id)

    @contextlib.asynccontextmanager
    async def worker(self, page: int = 1000) -> AsyncIterator[None]:
        payout, schedule = PayoutActivities(self.world.pool, page=page), ScheduleActivities(self.world.pool)
        workers = [
            Worker(self.client, task_queue=queue, workflows=[kind], activities=steps, graceful_shutdown_timeout=timedelta(seconds=1))
            for queue, kind, steps in (
                (self.queues.payouts, PayoutRunWorkflow, [payout.plan, payout.pay, payout.finish, payout.fail]),
                (self.queues.schedules, PayoutScheduleWorkflow, [schedule.claim, schedule.follow]),
            )
        ]
        async with contextlib.AsyncExitStack() as running:
            for each in workers:
                await running.enter_async_context(each)
            yield


async def add_item(world: World, points: int = 5) -> UUID:
    body = parse_item({"name": "Points", "reward_type": "points", "reward_value": points})
    async with transaction(world.pool) as connection:
        credit = credit_of(body, await currencies_of(connection, world.tenant_id))
        return (await write_item(connection, world.tenant_id, new_id(), body, credit=credit, now=utc_now())).item_id


def definition(**parts: Any) -> Definition:
    body = parse_schedule({"name": "A schedule", "when": HOURLY, "audience": EVERYONE, **parts})
    values = {name: getattr(body, name) for name in body.__struct_fields__ if name not in ("when", "audience", "budget")}
    budget = {key: int(limit) for key, limit in (body.budget or {}).items()}
    return Definition(due=due_wire(body), audience=audience_wire(body.audience), budget=budget, **values)


async def add_schedule(world: World, *, at: datetime | None = None, **parts: Any) -> Schedule:
    """A schedule made at that instant; it gives five points unless said otherwise."""
    if "item_ids" not in parts and "reward_config_id" not in parts:
        parts["item_ids"] = [str(await add_item(world))]
    async with transaction(world.pool) as connection:
        return await insert_schedule(connection, world.tenant_id, new_id(), definition(**parts), now=at or utc_now())


async def change(world: World, schedule: Schedule, *, at: datetime | None = None, **values: Any) -> Schedule:
    async with transaction(world.pool) as connection:
        present = await find_schedule(connection, world.tenant_id, schedule.schedule_id, lock=True)
        kept = {name: getattr(present, name) for name in Definition.__struct_fields__}
        return await change_schedule(connection, present, Definition(**kept | values), at or utc_now())


async def delete(world: World, schedule: Schedule) -> None:
    async with transaction(world.pool) as connection:
        await archive_schedule(connection, await find_schedule(connection, world.tenant_id, schedule.schedule_id, lock=True), utc_now())


async def runs(world: World, schedule: Schedule) -> list[Run]:
    """Oldest instant first."""
    async with world.pool.connection() as connection:
        found = await list_runs(connection, world.tenant_id, RunFilter(schedule_id=schedule.schedule_id, limit=500))
    return sorted(found, key=lambda run: run.instant)


async def points(world: World, external_id: str) -> int:
    rows = await world.rows(
        "SELECT posted FROM account JOIN app_user USING (tenant_id, user_id) WHERE tenant_id = %s AND external_id = %s",
        (world.tenant_id, external_id),
    )
    return sum(row["posted"] for row in rows)


async def until(look: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await look()):
            await asyncio.sleep(0.05)
    return found
