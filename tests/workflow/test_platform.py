"""The platform's maintenance: what a run does, and that its schedule is made, kept paused and made again."""

from datetime import date, timedelta

import pytest
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Worker

from activities.platform import PlatformActivities
from domain.maintenance import PlatformRun, PlatformTask
from domain.points.ledger import POINTS, CurrencyChange
from domain.points.tier import parse_tier_set
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from runtime.schedules import put_schedule
from storage.points.currency import change_currency
from storage.points.ledger import post_earnings
from storage.points.maintenance import AccountPlace, expire_page
from storage.points.tier import lock_tier_set, write_tier_set
from storage.webhook.endpoint import NewEndpoint, create_endpoint
from tests.builders.store import World, make_world
from tests.recording import keep_history
from workflows.platform import PlatformTaskWorkflow, platform_schedules

DAY = timedelta(days=1)


async def expiring_world(pool: Pool) -> World:
    world = await make_world(pool)
    async with transaction(pool) as connection:
        change = CurrencyChange(expires_after_days=10, pending_seconds=3600)
        await change_currency(connection, world.tenant_id, POINTS, change=change, now=utc_now() - 400 * DAY)
    return world


async def add_day(connection: Connection, day: date) -> None:
    """An old day of the event log."""
    await connection.execute(
        f"CREATE TABLE event_log_{day:%Y%m%d} PARTITION OF event_log FOR VALUES FROM ('{day} 00:00Z') TO ('{day + DAY} 00:00Z')".encode()
    )


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
        await create_endpoint(connection, world.tenant_id, new, b"sealed", now=utc_now())
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


async def test_entries_of_tokens_go_after_their_time_and_no_other_entries_do(pool: Pool):
    world = await make_world(pool)
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO audit_log (tenant_id, audit_id, actor, action, subject, subject_id, created_at)"
            " SELECT %s, uuidv7(age), 'api_key:k', 'issue', subject, 'u', now()"
            " FROM unnest(ARRAY['gamer_token', 'leaderboard']) AS subject, unnest(ARRAY[interval '-91 days', interval '-89 days']) AS age",
            (world.tenant_id,),
        )
    assert (await run(pool, PlatformTask.CLEAN_UP))["entries of tokens"] == 1
    left = await world.rows("SELECT subject, count(*) AS n FROM audit_log WHERE actor = 'api_key:k' GROUP BY subject ORDER BY subject")
    assert left == [{"subject": "gamer_token", "n": 1}, {"subject": "leaderboard", "n": 2}]


async def test_what_is_past_its_retention_goes_and_what_is_not_stays(pool: Pool):
    world = await make_world(pool)
    async with pool.connection() as connection:
        await add_day(connection, date(2020, 1, 1))
        await connection.execute(
            "INSERT INTO event_key (tenant_id, sender, event_id, position, accepted_at) VALUES"
            " (gen_random_uuid(), '', 'old', 1, '2020-01-01Z'), (gen_random_uuid(), '', 'new', 2, now())"
        )
    done = await run(pool, PlatformTask.CLEAN_UP)
    assert (done["days of events"], done["event keys"]) == (1, 1)
    assert [row["event_id"] for row in await world.rows("SELECT event_id FROM event_key")] == ["new"]
    assert await world.rows("SELECT 1 FROM pg_class WHERE relname = 'event_log_20200101'") == []


async def test_a_walk_over_accounts_meets_each_that_is_due_once(pool: Pool):
    world = await expiring_world(pool)
    for number in range(5):
        await earn(world, f"old{number}", 10 + number, (20 - number) * DAY)
    await earn(world, "new", 10, DAY)
    await run(pool, PlatformTask.PENDING_ACTIVATION)
    # Activation expires what it meets; here they are due again.
    await world.rows("UPDATE account SET next_expiry_at = now() - interval '1 day' WHERE posted = 0 RETURNING 1")
    place, counts = None, []
    while not counts or place is not None:
        async with transaction(pool) as connection:
            count, place = await expire_page(connection, AccountPlace.of(place.words()) if place else None, utc_now(), 2)
        counts.append(count)
    assert counts == [2, 2, 1]
    assert await world.findings() == []


async def test_an_account_that_cannot_be_settled_stops_no_other(pool: Pool):
    broken, sound = await expiring_world(pool), await expiring_world(pool)
    for world in (broken, sound):
        await earn(world, "ann", 10, 20 * DAY)
        await earn(world, "bob", 10, 3 * DAY)
    await broken.rows("UPDATE account SET pending = pending + 1000 WHERE tenant_id = %s RETURNING 1", [broken.tenant_id])
    await run(pool, PlatformTask.PENDING_ACTIVATION)
    await run(pool, PlatformTask.POINTS_EXPIRY)
    left = await sound.rows("SELECT posted, pending FROM account WHERE tenant_id = %s ORDER BY posted", [sound.tenant_id])
    assert [tuple(row.values()) for row in left] == [(0, 0), (10, 0)]


async def test_a_day_that_is_not_scored_to_its_end_stays_and_so_do_its_keys(pool: Pool):
    world = await make_world(pool)
    async with pool.connection() as connection:
        await add_day(connection, date(2020, 1, 2))
        await connection.execute("INSERT INTO scoring_cursor (scoring_partition, position, updated_at) VALUES (0, 6, now())")
        await connection.execute(
            "INSERT INTO event_log (scoring_partition, position, accepted_at, occurred_at, tenant_id, user_id, external_user_id, sender,"
            " event_id, type, body) VALUES (0, 7, '2020-01-02 01:00Z', now(), gen_random_uuid(), gen_random_uuid(), 'u', '', 'e', 't', '')"
        )
        await connection.execute(
            "INSERT INTO event_key (tenant_id, sender, event_id, position, accepted_at) VALUES"
            " (gen_random_uuid(), '', 'e', 7, '2020-01-02 01:00Z')"
        )
    done = await run(pool, PlatformTask.CLEAN_UP)
    assert done["days of events"] == 0
    assert "event keys" not in done  # nothing is read for nothing
    assert len(await world.rows("SELECT 1 FROM event_key WHERE event_id = 'e'")) == 1
    await world.rows("UPDATE scoring_cursor SET position = 7 WHERE scoring_partition = 0 RETURNING 1")
    done = await run(pool, PlatformTask.CLEAN_UP)
    assert (done["days of events"], done["event keys"]) == (1, 1)


async def test_uses_of_caps_go_when_nothing_has_changed_them_for_as_long_as_events_are_kept(pool: Pool):
    world = await make_world(pool)
    async with pool.connection() as connection:
        await add_day(connection, date(2020, 1, 3))
        await connection.execute(
            "INSERT INTO earning_usage (tenant_id, rule_id, user_id, period, given, changed_at)"
            " SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), n::text, 1,"
            " now() - CASE WHEN n = 1 THEN interval '390 days' ELSE interval '410 days' END FROM generate_series(1, 30000) AS n"
        )
    assert (await run(pool, PlatformTask.CLEAN_UP))["uses of caps"] == 29_999
    assert [row["period"] for row in await world.rows("SELECT period FROM earning_usage")] == ["1"]


@pytest.mark.parametrize("task", list(PlatformTask))
async def test_a_run_with_nothing_to_do_ends(pool: Pool, temporal_client: Client, task: PlatformTask, request: pytest.FixtureRequest):
    queue = f"test-{new_id()}"
    activities = PlatformActivities(pool, 400)
    async with Worker(temporal_client, task_queue=queue, workflows=[PlatformTaskWorkflow], activities=[activities.run]):
        handle = await temporal_client.start_workflow(
            PlatformTaskWorkflow.run,
            PlatformRun(task=task),
            id=f"{queue}-{task.value}",
            task_queue=queue,
            run_timeout=timedelta(seconds=60),
        )
        result = await handle.result()
        await keep_history(request, f"platform_{task.value.replace('-', '_')}", handle)
    assert set(result.values()) == {0}


async def test_a_run_whose_workers_die_before_they_answer_does_nothing_twice(pool: Pool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("activities.platform.PAGE", 2)
    monkeypatch.setattr("activities.platform.SHIFT_SECONDS", -1.0)
    world = await expiring_world(pool)
    for number in range(5):
        await earn(world, f"old{number}", 10, 11 * DAY)
    await world.rows(
        "WITH active AS (UPDATE pending_credit SET state = 'active', settled_at = now() RETURNING tenant_id, account_id, amount)"
        " UPDATE account AS a SET posted = posted + amount, pending = 0 FROM active"
        " WHERE (a.tenant_id, a.account_id) = (active.tenant_id, active.account_id) RETURNING 1"
    )
    activities = PlatformActivities(pool, 400)
    given, shifts = PlatformRun(task=PlatformTask.POINTS_EXPIRY), 0
    while not given.is_over:
        await ActivityEnvironment().run(activities.run, given)  # its worker is killed with the answer in its hands
        given = await ActivityEnvironment().run(activities.run, given)
        shifts += 1
    assert shifts > 2
    rows = await world.rows("SELECT count(*) AS n, sum(amount) AS amount FROM transfer WHERE kind = 'expire'")
    assert (rows[0]["n"], rows[0]["amount"]) == (5, 50)
    assert await world.findings() == []


async def test_a_task_that_somebody_paused_stays_paused_when_a_worker_starts(temporal_client: Client):
    schedule = platform_schedules("some-queue")["platform:clean-up"]
    identity = f"platform:{new_id()}"
    assert await put_schedule(temporal_client, identity, schedule, keep_state=True)
    handle = temporal_client.get_schedule_handle(identity)
    try:
        await handle.pause(note="not now")
        assert not await put_schedule(temporal_client, identity, schedule, keep_state=True)
        state = (await handle.describe()).schedule.state
        assert (state.paused, state.note) == (True, "not now")
    finally:
        await handle.delete()
