"""The sweep finds everything, whatever stands in front of it, and goes on when a part of it cannot."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from domain.payout.schedule import temporal_schedule_id
from domain.redemption.redemption import workflow_id
from domain.webhook.webhook import endpoint_workflow_id
from loops import sweep
from loops.one_by_one import is_away
from loops.relay import Relay
from loops.schedule_sync import PAGE as SCHEDULES_PAGE
from loops.schedule_sync import reconcile, settle_schedules
from loops.sweep import expire_overdue, restart_lost, restart_lost_erasures, restart_pumps, sweep_once
from loops.workflow_state import STATES, WorkflowState, state_of
from runtime.ids import new_id, utc_now
from runtime.metrics import UNREADABLE_ROWS
from runtime.postgres import Pool, transaction
from runtime.schedules import drop_schedule, find_schedule
from runtime.temporal import connect
from stack import processes
from storage.payout.schedule_run import claim_instant
from storage.platform.lease import take_lease
from storage.webhook.endpoint import NewEndpoint, create_endpoint
from tests.builders.redemption import SECRET, SECRET_PURPOSE, VAULT, a_stage, new_queues
from tests.builders.schedule import add_schedule, runs
from tests.builders.store import World, make_world
from tests.conftest import settings_for
from tests.temporal_server import TemporalServer

AT_ONCE = timedelta(seconds=-5)
EVERY_MINUTE = {"every_seconds": 60}


async def status_of(client: Client, identity: str) -> WorkflowExecutionStatus | None:
    return (await client.get_workflow_handle(identity).describe()).status


async def test_overdue_redemptions_are_expired_without_temporal(pool: Pool, postgres_url: str, redis_url: str) -> None:
    nowhere = await connect(settings_for(postgres_url, redis_url, f"127.0.0.1:{processes.free_port()}"), lazy=True)
    async with a_stage(pool, nowhere, with_workers=False) as stage:
        redemption = await stage.redeem()
        await stage.world.rows("UPDATE redemption SET deadline_at = now() - interval '6 minutes' RETURNING redemption_id")
        await sweep_once(pool, nowhere, new_queues())
        assert (await stage.document(redemption))["status"] == "expired"


async def test_a_redemption_that_cannot_be_expired_keeps_no_other_from_its_points(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hold was tampered with, so that moving it breaks a rule of the database."""
    monkeypatch.setattr(sweep, "PAGE", 1)
    broken, sound = await make_world(pool), await make_world(pool)
    for world in (broken, sound):
        await world.user("u1", 100)
        await world.reward("voucher", price=10, stock=5)
    first, second = await broken.redeem("u1", "voucher"), await sound.redeem("u1", "voucher")
    for number, each in ((9, first), (8, second)):
        await sound.rows(
            "UPDATE redemption SET deadline_at = now() - make_interval(mins => %s) WHERE redemption_id = %s RETURNING 1",
            (number, each.redemption_id),
        )
    await broken.rows("UPDATE account SET held = 0 WHERE tenant_id = %s AND held > 0 RETURNING 1", (broken.tenant_id,))
    assert await expire_overdue(pool) == 1
    rows = await sound.rows("SELECT status FROM redemption WHERE redemption_id = %s", (second.redemption_id,))
    assert rows == [{"status": "expired"}]


async def test_a_redemption_whose_workflow_was_terminated_goes_on(pool: Pool, temporal_client: Client) -> None:
    async with a_stage(pool, temporal_client) as stage:
        redemption = await stage.redeem(type="manual")
        handle = await stage.start(redemption)
        await handle.terminate()
        assert await restart_lost(pool, temporal_client, idle=AT_ONCE) == 1
        assert await stage.relay.deliver_batch() == 1
        identity = workflow_id(redemption.tenant_id, redemption.redemption_id)
        assert await status_of(temporal_client, identity) is WorkflowExecutionStatus.RUNNING
        assert await restart_lost(pool, temporal_client, idle=AT_ONCE) == 0
        await temporal_client.get_workflow_handle(identity).terminate()


REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE check_violation USING MESSAGE = 'no'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON outbox FOR EACH ROW WHEN (NEW.tenant_id = '{}') EXECUTE FUNCTION refuse()
"""


async def test_what_is_wrong_with_one_tenant_keeps_no_other_from_its_pumps(
    pool: Pool, temporal_client: Client, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in its page nor behind it."""
    monkeypatch.setattr(sweep, "PAGE", 2)
    broken, *sound = [await make_world(pool) for _ in range(4)]
    for world in (broken, *sound):
        await an_endpoint_with_an_overdue_delivery(world)
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(REFUSE.format(broken.tenant_id).encode())
        try:
            assert await restart_pumps(pool, temporal_client) == 3
        finally:
            owner.execute("DROP FUNCTION refuse CASCADE")
    started = await broken.rows("SELECT tenant_id FROM outbox WHERE name = 'EndpointWorkflow' ORDER BY outbox_id")
    assert {row["tenant_id"] for row in started} == {world.tenant_id for world in sound}


def test_every_way_in_which_a_workflow_can_be_is_thought_of() -> None:
    assert set(STATES) == set(Status.values()) - {Status.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED}


def test_what_temporal_holds_against_one_thing_is_no_absence() -> None:
    about_one = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.NOT_FOUND, RPCStatusCode.ALREADY_EXISTS, RPCStatusCode.FAILED_PRECONDITION)
    assert not [each for each in about_one if is_away(RPCError("", each, b""))]
    away = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.RESOURCE_EXHAUSTED, RPCStatusCode.PERMISSION_DENIED)
    assert all(is_away(RPCError("", each, b"")) for each in away)


async def test_a_workflow_that_somebody_has_paused_is_left_alone_and_keeps_no_other_from_coming_back(
    pool: Pool, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    server = TemporalServer(tmp_path, "frontend.WorkflowPauseEnabled=true")
    server.start()
    try:
        client = await connect(settings_for(postgres_url, redis_url, server.address))
        queues = new_queues()
        relay = Relay(pool, client, queues)
        world = await make_world(pool)
        endpoints = sorted([await an_endpoint_with_an_overdue_delivery(world) for _ in range(3)])
        await restart_pumps(pool, client)
        while await relay.deliver_batch():
            pass
        paused, terminated, _ = (endpoint_workflow_id(world.tenant_id, each) for each in endpoints)
        pause = PauseWorkflowExecutionRequest(namespace=client.namespace, workflow_id=paused, request_id="once")
        await client.workflow_service.pause_workflow_execution(pause)
        await client.get_workflow_handle(terminated).terminate()
        assert await state_of(client, paused) is WorkflowState.AT_WORK
        assert await restart_pumps(pool, client) == 1
    finally:
        server.stop()


async def test_a_row_that_cannot_be_read_keeps_no_other_from_its_turn(
    pool: Pool, temporal_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be of a newer release. All pages of one row are walked, those of it alone too."""
    monkeypatch.setattr(sweep, "PAGE", 1)
    broken, sound = await make_world(pool), await make_world(pool)
    before = UNREADABLE_ROWS._value.get()
    for world in (broken, sound):
        await world.user("u1", 100)
        await world.reward("voucher", price=10, stock=5)
        await world.redeem("u1", "voucher")
    await broken.rows("UPDATE redemption SET reward = '[]' WHERE tenant_id = %s RETURNING 1", (broken.tenant_id,))
    assert await restart_lost(pool, temporal_client, idle=AT_ONCE) == 1
    await sound.rows("UPDATE redemption SET deadline_at = now() - interval '9 minutes' RETURNING 1")
    assert await expire_overdue(pool) == 1
    assert UNREADABLE_ROWS._value.get() > before


@pytest.mark.parametrize("damage", ["budget = '[]'", "due = '{}'"])
async def test_a_schedule_that_cannot_be_read_stands_in_no_others_way_and_stays_in_temporal(
    pool: Pool, temporal_client: Client, damage: str
) -> None:
    broken, sound = await make_world(pool), await make_world(pool)
    queues = new_queues()
    first, second = [await add_schedule(world, when=EVERY_MINUTE) for world in (broken, sound)]
    await reconcile(pool, temporal_client, queues, full=True)
    await broken.rows(f"UPDATE payout_schedule SET {damage} WHERE tenant_id = %s RETURNING 1", (broken.tenant_id,))
    await drop_schedule(temporal_client, temporal_schedule_id(second.tenant_id, second.schedule_id))
    assert await reconcile(pool, temporal_client, queues, full=True) == 1
    for each in (first, second):
        identity = temporal_schedule_id(each.tenant_id, each.schedule_id)
        assert await find_schedule(temporal_client, identity) is not None
        await drop_schedule(temporal_client, identity)


async def an_endpoint_with_an_overdue_delivery(world: World) -> UUID:
    async with transaction(world.pool) as connection:
        new = NewEndpoint(url="http://127.0.0.1:1/hook", events=["*"])
        endpoint_id = (
            await create_endpoint(connection, world.tenant_id, new, VAULT.seal(SECRET, SECRET_PURPOSE), now=utc_now())
        ).endpoint_id
    await world.rows(
        """
        INSERT INTO webhook_delivery (tenant_id, delivery_id, endpoint_id, event, body, state, due_at, due_trigger, created_at, updated_at)
        VALUES (%s, %s, %s, 'tier_change', '{}', 'pending', now() - interval '10 minutes', 'scheduled', now(), now()) RETURNING 1
        """,
        (world.tenant_id, new_id(), endpoint_id),
    )
    return endpoint_id


async def test_an_endpoints_workflow_that_was_terminated_comes_back_behind_any_number_of_others(
    pool: Pool, temporal_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "PAGE", 2)
    queues = new_queues()
    relay = Relay(pool, temporal_client, queues)
    world = await make_world(pool)
    endpoints = [await an_endpoint_with_an_overdue_delivery(world) for _ in range(5)]
    assert await restart_pumps(pool, temporal_client) == 5
    while await relay.deliver_batch():
        pass
    identities = [endpoint_workflow_id(world.tenant_id, each) for each in endpoints]
    last = max(identities)
    await temporal_client.get_workflow_handle(last).terminate()
    assert await restart_pumps(pool, temporal_client) == 1
    while await relay.deliver_batch():
        pass
    assert await status_of(temporal_client, last) is WorkflowExecutionStatus.RUNNING
    for identity in identities:
        await temporal_client.get_workflow_handle(identity).terminate()


async def test_every_page_of_lost_erasures_is_walked(pool: Pool, temporal_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAGE", 2)
    world = await make_world(pool)
    for number in range(5):
        user = await world.user(f"u{number}")
        await world.rows(
            "INSERT INTO erasure (tenant_id, user_id, external_id, requested_at) VALUES (%s, %s, %s, now()) RETURNING 1",
            (world.tenant_id, user.user_id, f"u{number}"),
        )
    assert await restart_lost_erasures(pool, temporal_client, idle=AT_ONCE) == 5


async def test_schedules_whose_catch_up_is_over_keep_no_other_tenant_from_its_runs(pool: Pool) -> None:
    hostile, good = await make_world(pool), await make_world(pool)
    now = utc_now()
    await hostile.user("u1")
    await good.user("u1")
    for _ in range(SCHEDULES_PAGE):
        await add_schedule(hostile, when=EVERY_MINUTE, catchup_seconds=10, at=now - timedelta(days=2))
    schedule = await add_schedule(good, when=EVERY_MINUTE, at=now - timedelta(minutes=5))
    assert await settle_schedules(pool) >= 3
    assert len(await runs(good, schedule)) >= 3


async def test_a_suspended_tenants_schedules_wait_and_catch_up_once_it_is_active(pool: Pool) -> None:
    world = await make_world(pool)
    await world.user("u1")
    schedule = await add_schedule(world, when=EVERY_MINUTE, at=utc_now() - timedelta(minutes=5))

    async def now_is(status: str) -> None:
        await world.rows("UPDATE tenant SET status = %s WHERE tenant_id = %s RETURNING 1", (status, world.tenant_id))

    await now_is("suspended")
    await settle_schedules(pool)
    async with transaction(pool) as connection:
        instant = (utc_now() - timedelta(minutes=1)).replace(second=0, microsecond=0)
        claim = await claim_instant(connection, world.tenant_id, schedule.schedule_id, instant, now=utc_now())
    assert claim.run_id is None
    assert "suspended" in (claim.reason or "")
    assert await runs(world, schedule) == []
    await now_is("active")
    await settle_schedules(pool)
    assert len(await runs(world, schedule)) >= 3


async def test_what_fails_in_one_step_stops_no_other(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def step(name: str, error: Exception | None = None) -> Callable[..., Awaitable[int]]:
        async def run(*_: Any) -> int:
            done.append(name)
            if error is not None:
                raise error
            return 0

        return run

    names = [name for name in vars(sweep) if name.startswith("restart_")] + ["expire_overdue", "watch_stock", "end_due_of_archived"]
    for number, name in enumerate(names):
        monkeypatch.setattr(sweep, name, step(name, [None, RuntimeError("away"), ValueError("a defect")][number % 3]))
    await sweep_once(pool, None, new_queues())  # type: ignore[arg-type]
    assert sorted(done) == sorted(names)


async def test_of_several_sweeps_one_works_at_a_time(pool: Pool) -> None:
    async def take() -> bool:
        async with transaction(pool) as connection:
            return await take_lease(connection, f"test:{name}", 60.0)

    name = new_id()
    assert sorted(await asyncio.gather(*(take() for _ in range(8)))) == [False] * 7 + [True]
    async with transaction(pool) as connection:
        await connection.execute("UPDATE lease SET held_until = now() WHERE name = %s", (f"test:{name}",))
    assert await take(), "it runs out by itself"
