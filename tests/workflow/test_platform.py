"""The platform's own chores: what a run does, and that its schedule is made, kept paused and made again."""

from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Worker

from activities.platform import PlatformActivities
from domain.ledger import POINTS, CurrencyChange
from domain.platform_task import PlatformRun, PlatformTask
from domain.tier import parse_tier_set
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from storage.currency import change_currency
from storage.ledger import post_earnings
from storage.tier import lock_tier_set, write_tier_set
from storage.webhook import NewEndpoint, create_endpoint
from tests.store_world import World, make_world
from workflows.platform import PlatformTaskWorkflow

DAY = timedelta(days=1)


async def expiring_world(pool: Pool) -> World:
    world = await make_world(pool)
    async with transaction(pool) as connection:
        change = CurrencyChange(expires_after_days=10, pending_seconds=3600)
        await change_currency(connection, world.tenant_id, POINTS, change=change, now=utc_now() - 400 * DAY)
    return world


async def earn(world: World, name: str, amount: int, ago: timedelta) -> None:
    user = await world.user(name)
    async with transaction(world.pool) as connection:
        await post_earnings(connection, [world.earning(user, amount)], utc_now() - ago)


async def run(pool: Pool, task: PlatformTask) -> dict[str, int]:
    over: PlatformRun = await ActivityEnvironment().run(PlatformActivities(pool, 400).run, PlatformRun(task=task))
    assert over.is_over
    return over.done


async def test_points_become_available_and_expire_for_everyone(pool: Pool):
    world = await expiring_world(pool)
    for number in range(3):
        await earn(world, f"old{number}", 10, 11 * DAY)
        await earn(world, f"new{number}", 10, DAY)
    await earn(world, "waits", 10, timedelta(0))
    assert await run(pool, PlatformTask.PENDING_ACTIVATION) == {"accounts activated": 6}
    assert await run(pool, PlatformTask.POINTS_EXPIRY) == {"accounts expired": 0, "notices sent": 0}
    rows = await world.rows("SELECT posted, pending FROM account ORDER BY posted, pending")
    assert [(row["posted"], row["pending"]) for row in rows] == [(0, 0)] * 3 + [(0, 10)] + [(10, 0)] * 3
    assert await world.findings() == []


async def test_a_user_is_told_once_of_each_day_on_which_points_expire(pool: Pool):
    world = await expiring_world(pool)
    async with transaction(pool) as connection:
        new = NewEndpoint(url="https://partner.example/hook", events=["points.expiring"])
        await create_endpoint(connection, world.tenant_id, new, b"sealed", utc_now())
    await earn(world, "ann", 10, 8 * DAY)
    await earn(world, "ann", 5, 6 * DAY)
    await earn(world, "ann", 7, timedelta(hours=2))
    assert (await run(pool, PlatformTask.POINTS_EXPIRY))["notices sent"] == 2
    assert (await run(pool, PlatformTask.POINTS_EXPIRY))["notices sent"] == 0
    await world.rows("UPDATE account SET noticed_at = noticed_at - interval '1 day' RETURNING 1")
    assert (await run(pool, PlatformTask.POINTS_EXPIRY))["notices sent"] == 0
    assert len(await world.rows("SELECT 1 FROM webhook_delivery WHERE event = 'points.expiring'")) == 2


async def test_a_changed_set_of_tiers_reaches_users_whose_points_stand_still(pool: Pool):
    world = await make_world(pool)
    for number in range(4):
        await world.user(f"u{number}", 100)
    tiers = {"tiers": [{"name": "gold", "level": 1, "threshold": 100}]}
    async with transaction(pool) as connection:
        await lock_tier_set(connection, world.tenant_id, utc_now())
        await write_tier_set(connection, world.tenant_id, parse_tier_set(tiers, 0), utc_now())
    assert (await run(pool, PlatformTask.TIER_REVIEW))["users reviewed"] == 4
    assert [row["tier"] for row in await world.rows("SELECT tier FROM user_tier")] == ["gold"] * 4
    assert (await run(pool, PlatformTask.TIER_REVIEW))["users reviewed"] == 0


async def test_what_is_past_its_retention_goes_and_what_is_not_stays(pool: Pool):
    world = await make_world(pool)
    name = "event_log_20200101"
    async with pool.connection() as connection:
        await connection.execute(
            f"CREATE TABLE {name} PARTITION OF event_log FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-01-02 00:00:00+00')".encode()
        )
        await connection.execute(
            "INSERT INTO event_key (tenant_id, sender, event_id, position, accepted_at) VALUES"
            " (gen_random_uuid(), '', 'old', 1, '2020-01-01Z'), (gen_random_uuid(), '', 'new', 2, now())"
        )
    done = await run(pool, PlatformTask.CLEAN_UP)
    assert (done["days of events"], done["event keys"]) == (1, 1)
    assert [row["event_id"] for row in await world.rows("SELECT event_id FROM event_key")] == ["new"]
    assert await world.rows("SELECT 1 FROM pg_class WHERE relname = 'event_log_20200101'") == []


@pytest.mark.parametrize("task", list(PlatformTask))
async def test_a_run_with_nothing_to_do_ends(pool: Pool, temporal_client: Client, task: PlatformTask):
    queue = f"test-{new_id()}"
    activities = PlatformActivities(pool, 400)
    async with Worker(temporal_client, task_queue=queue, workflows=[PlatformTaskWorkflow], activities=[activities.run]):
        result = await temporal_client.execute_workflow(
            PlatformTaskWorkflow.run,
            PlatformRun(task=task),
            id=f"{queue}-{task.value}",
            task_queue=queue,
            run_timeout=timedelta(seconds=60),
        )
    assert set(result.values()) == {0}
