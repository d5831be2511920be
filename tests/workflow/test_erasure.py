"""The erasure's workflow, with real PostgreSQL and Temporal: it works whenever Temporal comes back, and at any number of repeats."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from psycopg.types.json import Jsonb
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from activities.erasure import ErasureActivities
from domain.errors import UserNotFound
from domain.tenant.erasure import ErasureInput, erase_workflow_id, erased_id, scrubbed
from loops.relay import Relay
from loops.sweep import restart_lost_erasures
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from runtime.redis import Redis
from runtime.temporal import DATA_CONVERTER
from storage.idempotency import KeyClaim, StoredAnswer, earlier_answer, keep_answer
from storage.leaderboard.rankings import Rankings
from storage.platform import partitions
from storage.tenant.erasure import begin_erasure, open_erasure
from tests.builders.redemption import new_queues
from tests.builders.schedule import add_schedule
from tests.builders.store import World, make_world
from tests.recording import keep_history
from tests.temporal_server import result_of
from workflows.erasure import EraseUserWorkflow

PERSON = "ann.secret"


def activities_of(pool: Pool, redis: Redis) -> ErasureActivities:
    return ErasureActivities(pool, Rankings(redis), 8)


def steps_of(activities: ErasureActivities) -> list[Any]:
    return [activities.settle, activities.scrub_events, activities.leave_boards, activities.scrub_documents, activities.complete]


async def seed(pool: Pool) -> tuple[World, UUID]:
    """A user with two open redemptions, a frozen result, and documents that tell of it; and another user, who stays."""
    world = await make_world(pool)
    user, other = await world.user(PERSON, 100), await world.user("bob", 100)
    await world.reward("voucher", price=10, stock=5, fulfilment={"type": "manual"})
    for _ in range(2):
        await world.redeem(PERSON, "voucher")
    await world.redeem("bob", "voucher")
    window, board = new_id(), new_id()
    body = msgspec.json.encode({"event": "x", "data": {"user_id": str(user.user_id), "external_user_id": PERSON, "email": "secret@x"}})
    now = utc_now()
    async with transaction(pool) as connection:
        await partitions.set_up(connection, 8, now)
        tenant = world.tenant_id
        await connection.execute(
            "INSERT INTO leaderboard (tenant_id, board_id, leaderboard_id, name, status, version, config, created_at, updated_at)"
            " VALUES (%s, %s, 'b', 'B', 'active', 1, '{}', %s, %s)",
            (tenant, board, now, now),
        )
        await connection.execute(
            "INSERT INTO leaderboard_window (tenant_id, window_id, board_id, window_key, status, total, created_at)"
            " VALUES (%s, %s, %s, 'w', 'paid', 2, %s)",
            (tenant, window, board, now),
        )
        for rank, (who, name) in enumerate(((user.user_id, PERSON), (other.user_id, "bob")), 1):
            await connection.execute(
                "INSERT INTO snapshot_entry (tenant_id, window_id, rank, user_id, external_user_id, score, reached_at)"
                " VALUES (%s, %s, %s, %s, %s, 5, %s)",
                (tenant, window, rank, who, name, now),
            )
        await connection.execute(
            "INSERT INTO idempotency_record (tenant_id, scope, key, request_hash, status, body, created_at)"
            " VALUES (%s, %s, 'k', '', 201, %s, %s), (%s, %s, 'k', '', 201, '{}', %s)",
            (tenant, f"POST /v1/rewards/purchase/x {PERSON}", body, now, tenant, f"POST /v1/admin/users/{PERSON}/adjustments", now),
        )
        await connection.execute(
            "INSERT INTO audit_log (tenant_id, audit_id, actor, action, subject, subject_id, before, after, reason, created_at)"
            " VALUES (%s, %s, 'a', 'update', 'app_user', %s, %s, %s, %s, %s)",
            (
                tenant,
                new_id(),
                str(user.user_id),
                Jsonb({"email": "secret@x"}),
                Jsonb({"external_id": PERSON}),
                f"{PERSON} asked for it",
                now,
            ),
        )
        endpoint = new_id()
        await connection.execute(
            "INSERT INTO webhook_endpoint (tenant_id, endpoint_id, url, events, enabled, rate_per_second, timeout_seconds,"
            " retry_delays_seconds, created_at, updated_at) VALUES (%s, %s, 'http://x', '{}', true, 1, 1, '{}', %s, %s)",
            (tenant, endpoint, now, now),
        )
        await connection.execute(
            "INSERT INTO webhook_delivery (tenant_id, delivery_id, endpoint_id, event, body, state, created_at, updated_at)"
            " VALUES (%s, %s, %s, 'x', %s, 'delivered', %s, %s)",
            (tenant, new_id(), endpoint, body, now, now),
        )
    return world, user.user_id


async def begin(world: World) -> ErasureInput:
    async with transaction(world.pool) as connection:
        return await begin_erasure(connection, world.tenant_id, PERSON, utc_now())


async def left(world: World) -> list[str]:
    """The tables in which something of the person is left."""
    tables = await world.rows(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace"
    )
    hits = []
    for table in (row["relname"] for row in tables):
        text = f"SELECT 1 FROM {table} AS t WHERE t::text ~ 'secret' OR t::text ~ encode('secret', 'hex') LIMIT 1"
        hits += [table] if await world.rows(text) else []
    return hits


async def check_gone(world: World, user_id: UUID) -> None:
    assert await left(world) == []
    assert await world.findings() == []
    moved = await world.rows("SELECT external_user_id, status FROM redemption ORDER BY status, external_user_id")
    assert [(row["external_user_id"], row["status"]) for row in moved] == [
        (f"erased:{user_id}", "cancelled"),
        (f"erased:{user_id}", "cancelled"),
        ("bob", "pending"),
    ]
    ranks = await world.rows("SELECT rank, external_user_id FROM snapshot_entry ORDER BY rank")
    assert [(row["rank"], row["external_user_id"]) for row in ranks] == [(1, f"erased:{user_id}"), (2, "bob")]
    (account,) = await world.rows("SELECT posted, held FROM account WHERE user_id = %s", (user_id,))
    assert (account["posted"], account["held"]) == (100, 0)
    (stock,) = await world.rows("SELECT stock FROM reward")
    assert stock["stock"] == 4


async def test_a_user_is_erased_step_by_step(
    pool: Pool, redis_client: Redis, temporal_env: WorkflowEnvironment, request: pytest.FixtureRequest
) -> None:
    world, user_id = await seed(pool)
    assert "snapshot_entry" in await left(world)
    given, client, queues = await begin(world), temporal_env.client, new_queues()
    handle = client.get_workflow_handle(erase_workflow_id(given.tenant_id, given.user_id))
    async with Worker(
        client, task_queue=queues.chores, workflows=[EraseUserWorkflow], activities=steps_of(activities_of(pool, redis_client))
    ):
        await Relay(pool, client, queues).deliver_batch(workflow_id=handle.id)
        await result_of(temporal_env, handle)
    await check_gone(world, user_id)
    await keep_history(request, "erasure_completed", handle)
    history = await handle.fetch_history()
    assert "secret" not in history.to_json()
    await Replayer(workflows=[EraseUserWorkflow], data_converter=DATA_CONVERTER, debug_mode=True).replay_workflow(history)


async def test_every_step_may_run_again_at_any_time(pool: Pool, redis_client: Redis) -> None:
    world, user_id = await seed(pool)
    given = await begin(world)
    steps = steps_of(activities_of(pool, redis_client))
    for number, step in enumerate(steps):
        for again in (*steps[:number], step, step):
            await ActivityEnvironment().run(again, given)
    for step in steps:
        await ActivityEnvironment().run(step, given)
    await check_gone(world, user_id)
    async with transaction(pool) as connection:
        assert await open_erasure(connection, given) is None


async def test_nobody_is_erased_twice(pool: Pool) -> None:
    world, user_id = await seed(pool)
    await begin(world)
    with pytest.raises(UserNotFound):
        async with transaction(pool) as connection:
            await begin_erasure(connection, world.tenant_id, erased_id(user_id), utc_now())


async def test_what_tells_of_who_has_the_name_since_stays_that_ones(pool: Pool, redis_client: Redis) -> None:
    world, user_id = await seed(pool)
    given, steps = await begin(world), steps_of(activities_of(pool, redis_client))
    await ActivityEnvironment().run(steps[3], given)
    await world.user(PERSON)
    path, tenant = f"POST /v1/admin/users/{PERSON}/adjustments", world.tenant_id
    async with transaction(pool) as connection:
        for scope in (path, f"POST /v1/rewards/purchase/x {PERSON}"):
            answer = StoredAnswer(status=201, body=b"{}")
            await keep_answer(connection, tenant, KeyClaim(scope=scope, key="k", request_hash=b""), answer, now=utc_now())
        await connection.execute(
            "INSERT INTO audit_log (tenant_id, audit_id, actor, action, subject, subject_id, after, created_at)"
            " VALUES (%s, uuidv7(), 'a', 'adjust', 'points', %s, %s, %s)",
            (tenant, PERSON, Jsonb({"external_id": PERSON}), utc_now()),
        )
    listed = {"type": "users", "external_ids": [PERSON]}
    schedule = await add_schedule(world, audience=listed)
    for step in steps:
        await ActivityEnvironment().run(step, given)
    async with transaction(pool) as connection:
        assert await open_erasure(connection, given) is None
        assert await earlier_answer(connection, tenant, KeyClaim(scope=path, key="k", request_hash=b"")) is not None
    scopes = await world.rows("SELECT scope FROM idempotency_record ORDER BY scope")
    names = sorted([PERSON, f"erased:{user_id}"])
    purchases = [f"POST /v1/rewards/purchase/x {name}" for name in names]
    assert sorted(row["scope"] for row in scopes) == sorted([f"POST /v1/admin/users/{name}/adjustments" for name in names] + purchases)
    (line,) = await world.rows("SELECT subject_id, after FROM audit_log WHERE action = 'adjust'")
    assert (line["subject_id"], line["after"]) == (PERSON, {"external_id": PERSON})
    (kept,) = await world.rows("SELECT audience FROM payout_schedule WHERE schedule_id = %s", (schedule.schedule_id,))
    assert kept["audience"] == listed


async def test_the_sweep_starts_what_temporal_has_lost(pool: Pool, temporal_client: Client) -> None:
    world, _ = await seed(pool)
    given, queues = await begin(world), new_queues()
    assert await restart_lost_erasures(pool, temporal_client, idle=timedelta(seconds=-5)) == 1
    await Relay(pool, temporal_client, queues).deliver_batch(workflow_id=erase_workflow_id(given.tenant_id, given.user_id))
    assert await restart_lost_erasures(pool, temporal_client, idle=timedelta(seconds=-5)) == 0


def test_only_whole_words_are_taken_for_the_name() -> None:
    document = {"a": "ann", "b": "anna", "c": ["for ann, today", 1, None], "email": "x", "attributes": {"x": 1}, "ann": True}
    assert scrubbed(document, "ann", "gone") == {
        "a": "gone",
        "b": "anna",
        "c": ["for gone, today", 1, None],
        "email": None,
        "attributes": {},
        "ann": True,
    }
