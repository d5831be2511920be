"""The redemption's workflow, with real PostgreSQL, a real receiver and Temporal's time-skipping server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
import standardwebhooks
from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from activities.redemption import RedemptionActivities, prepare_delivery
from domain.redemption import messages
from domain.redemption.messages import RedemptionInput
from domain.redemption.redemption import RedemptionState, read_callback
from runtime.crypto import Vault
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.redemption.move import move_redemption
from storage.redemption.without_endpoint import lock_endpoints, resume_without_endpoint
from storage.webhook.due_delivery import hurry_waiting
from storage.webhook.endpoint import (
    SECRET_PURPOSE,
    NewEndpoint,
    archive_endpoint,
    create_endpoint,
    disable_endpoint,
    find_endpoint,
    update_endpoint,
)
from tests.builders.redemption import SECRET, VAULT, Stage, a_stage, workers
from tests.partner import Answer, Received, a_partner
from tests.recording import keep_history


@pytest_asyncio.fixture
async def stage(pool: Pool, temporal_env: WorkflowEnvironment) -> AsyncIterator[Stage]:
    async with a_stage(pool, temporal_env.client, temporal_env) as made:
        yield made


def events(history: Any, kind: str) -> list[Any]:
    return [getattr(event, kind) for event in history.events if event.HasField(kind)]


async def call_back(stage: Stage, redemption: Any, body: dict[str, Any]) -> None:
    async with transaction(stage.pool) as connection:
        move = read_callback(body, "api_key:test")
        await move_redemption(connection, redemption.tenant_id, redemption.redemption_id, move, now=utc_now())


async def until(condition: Any, seconds: float = 60.0) -> Any:
    async with asyncio.timeout(seconds):
        while True:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.05)


async def test_an_accepted_webhook_and_a_callback_spend_the_points(stage, request):
    async with a_partner(200) as partner:
        await stage.endpoint(partner.url)
        redemption = await stage.redeem()
        handle = await stage.start(redemption)

        async def is_processing():
            return (await stage.document(redemption))["status"] == "processing"

        await until(is_processing)
        await call_back(stage, redemption, {"status": "fulfilled", "fulfillment_data": {"code": "A1"}})
        assert await stage.relay.deliver_batch() == 1, "the workflow is told by an update"
        assert await stage.outcome(handle) == "fulfilled"
        await keep_history(request, "redemption_fulfilled_by_callback", handle)
    (webhook,) = partner.received
    assert standardwebhooks.Webhook(SECRET).verify(webhook.body, webhook.headers)["event"] == "reward_redeemed"
    assert webhook.headers["x-gamifyengine-attempt"] == "1"
    assert webhook.headers["user-agent"] == "Laurel-Webhooks/1"
    document = await stage.document(redemption)
    assert document["status"] == "fulfilled"
    assert document["fulfillment_data"] == {"code": "A1"}
    assert [(row["from"], row["to"]) for row in document["timeline"]] == [
        (None, "pending"), ("pending", "processing"), ("processing", "fulfilled"),
    ]  # fmt: skip
    assert [line["state"] for line in document["deliveries"]] == ["delivered"]
    assert await stage.points() == (90, 0, 4)
    assert await stage.world.findings() == []


async def test_four_attempts_are_sent_and_never_a_fifth_then_the_deadline_refunds(stage, request):
    async with a_partner(500) as partner:
        await stage.endpoint(partner.url)
        redemption = await stage.redeem()
        handle = await stage.start(redemption)
        assert await stage.outcome(handle) == "expired"
        await keep_history(request, "redemption_exhausted_then_expired", handle)
    assert [each.headers["x-gamifyengine-attempt"] for each in partner.received] == ["1", "2", "3", "4"]
    assert len({each.headers["webhook-id"] for each in partner.received}) == 1
    assert len({each.body for each in partner.received}) == 1
    history = await handle.fetch_history()
    timers = [fields.start_to_fire_timeout.ToTimedelta().total_seconds() for fields in events(history, "timer_started_event_attributes")]
    ladder = [next(timer for timer in timers if low <= timer <= high) for low, high in ((12, 18), (96, 144), (720, 1080))]
    assert len(ladder) == 3, "the waits are 15, 120 and 900 s, each within a fifth"
    document = await stage.document(redemption)
    assert document["status"] == "expired"
    assert document["flags"] == ["delivery_exhausted"]
    assert document["deliveries"][0] | {"delivery_id": ""} == {
        "delivery_id": "", "state": "exhausted", "attempts": 4, "last_status": 500, "next_attempt_at": None,
    }  # fmt: skip
    assert await stage.points() == (100, 0, 5)
    assert await stage.world.findings() == []


async def test_a_timer_and_an_activity_say_which_attempt_they_are(stage):
    async with a_partner(503, 200) as partner:
        await stage.endpoint(partner.url)
        redemption = await stage.redeem(deadline_seconds=3600)
        handle = await stage.start(redemption)
        await stage.outcome(handle)
    texts = [
        event.user_metadata.summary.data.decode() for event in (await handle.fetch_history()).events if event.user_metadata.summary.data
    ]
    assert any("attempt 2 of 4, in 1" in text for text in texts), texts
    assert any(text.strip('"') == "attempt 2 of 4" for text in texts), texts
    assert len(partner.received) == 2


@pytest.mark.parametrize(("status", "enabled"), [(410, False), (302, True)])
async def test_a_permanent_answer_ends_the_ladder_at_once(stage, status, enabled):
    async with a_partner(status) as partner:
        endpoint_id = await stage.endpoint(partner.url)
        redemption = await stage.redeem(deadline_seconds=3600)
        handle = await stage.start(redemption)
        assert await stage.outcome(handle) == "expired"
    assert len(partner.received) == 1
    rows = await stage.world.rows("SELECT enabled FROM webhook_endpoint WHERE endpoint_id = %s", (endpoint_id,))
    assert rows[0]["enabled"] is enabled
    assert (await stage.document(redemption))["deliveries"][0]["state"] == "exhausted"


async def test_without_an_endpoint_a_flag_is_raised_and_the_deadline_refunds(stage, request):
    redemption = await stage.redeem(deadline_seconds=3600)
    handle = await stage.start(redemption)
    assert await stage.outcome(handle) == "expired"
    await keep_history(request, "redemption_no_endpoint", handle)
    assert (await stage.document(redemption))["flags"] == ["no_endpoint"]
    assert await stage.points() == (100, 0, 5)


async def resumed_by(stage, endpoint_id):
    """What the API does when an endpoint has come, and the relay's part; answers how many redemptions were told."""
    async with transaction(stage.pool) as connection:
        endpoint = await find_endpoint(connection, stage.world.tenant_id, endpoint_id)
        await lock_endpoints(connection, stage.world.tenant_id)
        told = await resume_without_endpoint(connection, stage.world.tenant_id, endpoint)
    await stage.relay.deliver_batch()
    return told


async def test_a_redemption_without_an_endpoint_goes_to_the_one_that_comes(stage, request):
    async with a_partner(200) as partner:
        redemption = await stage.redeem(deadline_seconds=3600)
        handle = await stage.start(redemption)

        async def flags():
            return (await stage.document(redemption))["flags"]

        await until(flags)
        other = await stage.endpoint("http://127.0.0.1:9/", events=["tier_change"])
        assert await resumed_by(stage, other) == 0, "it does not take `reward_redeemed`"
        assert await resumed_by(stage, await stage.endpoint(partner.url)) == 1

        async def is_processing():
            return (await stage.document(redemption))["status"] == "processing"

        await until(is_processing)
        assert await flags() == []
        await call_back(stage, redemption, {"status": "fulfilled"})
        await stage.relay.deliver_batch()
        assert await stage.outcome(handle) == "fulfilled"
        await keep_history(request, "redemption_endpoint_came", handle)
    assert [each.headers["x-gamifyengine-attempt"] for each in partner.received] == ["1"]
    assert await stage.points() == (90, 0, 4)
    assert await stage.world.findings() == []


async def test_an_archived_endpoint_hands_its_redemptions_to_the_next_one_or_leaves_them_flagged(stage):
    from api.webhook.endpoint import resume_deliveries

    async with a_partner(200) as partner:
        first = await stage.endpoint("http://127.0.0.1:9/", enabled=False)
        pinned = await stage.redeem(endpoint_id=str(first), deadline_seconds=3600)
        await stage.world.reward("other", price=10, fulfilment={"type": "webhook", "deadline_seconds": 3600})
        async with transaction(stage.pool) as connection:
            await update_endpoint(connection, stage.world.tenant_id, first, {"enabled": True}, now=utc_now())
        free = await stage.world.redeem("u1", "other")
        async with transaction(stage.pool) as connection:
            await prepare_delivery(connection, free, utc_now())
            await update_endpoint(connection, stage.world.tenant_id, first, {"enabled": False}, now=utc_now())
        assert await stage.relay.deliver_batch() == 2
        await stage.endpoint(partner.url)

        async def held():
            lines = [(await stage.document(each))["deliveries"] for each in (pinned, free)]
            return all(line and line[0]["state"] == "held" for line in lines)

        await until(held)
        async with transaction(stage.pool) as connection:
            await resume_deliveries(connection, stage.world.tenant_id, first)
            await archive_endpoint(connection, stage.world.tenant_id, first, utc_now())
        await stage.relay.deliver_batch()

        async def both():
            documents = [await stage.document(each) for each in (pinned, free)]
            return [(each["status"], each["flags"]) for each in documents] == [("pending", ["no_endpoint"]), ("processing", [])]

        await until(both)
        states = await stage.world.rows("SELECT state, count(*)::int AS n FROM webhook_delivery WHERE due_at IS NULL GROUP BY 1 ORDER BY 1")
        assert [(row["state"], row["n"]) for row in states] == [("cancelled", 2), ("delivered", 1)]
        for each in (pinned, free):
            await stage.handle(each).terminate()
    assert len(partner.received) == 1


async def test_an_endpoint_and_a_redemption_that_come_at_once_always_meet(stage):
    await stage.redeem()
    redemptions = [await stage.world.redeem("u1", "voucher") for _ in range(4)]

    async def begin(redemption):
        await RedemptionActivities(stage.pool).begin(
            RedemptionInput(tenant_id=redemption.tenant_id, redemption_id=redemption.redemption_id)
        )

    async def bring():
        async with transaction(stage.pool) as connection:
            await lock_endpoints(connection, stage.world.tenant_id)
            sealed = VAULT.seal(SECRET, SECRET_PURPOSE)
            new = NewEndpoint(url="http://127.0.0.1:9/", events=["reward_redeemed"])
            made = await create_endpoint(connection, stage.world.tenant_id, new, sealed, now=utc_now())
            await asyncio.sleep(0.02)
            return await resume_without_endpoint(connection, stage.world.tenant_id, made)

    *_, told = await asyncio.gather(*(begin(each) for each in redemptions), bring())
    documents = [await stage.document(each) for each in redemptions]
    assert sum(each["flags"] == ["no_endpoint"] for each in documents) == told
    assert all(each["flags"] == ["no_endpoint"] or each["deliveries"] for each in documents)


async def test_a_callback_while_the_second_attempt_is_under_way_ends_the_ladder(stage):
    async def handler(received: Received) -> Answer:
        if received.headers["x-gamifyengine-attempt"] == "2":
            await call_back(stage, redemption, {"status": "fulfilled", "fulfillment_data": {"code": "A2"}})
            await stage.relay.deliver_batch()
        return 500, {}, b""

    async with a_partner(handler=handler) as partner:
        await stage.endpoint(partner.url)
        redemption = await stage.redeem()
        handle = await stage.start(redemption)
        assert await stage.outcome(handle) == "fulfilled"
    assert [each.headers["x-gamifyengine-attempt"] for each in partner.received] == ["1", "2"]
    document = await stage.document(redemption)
    assert (document["deliveries"][0]["state"], document["flags"]) == ("superseded", [])
    logged = await stage.world.rows("SELECT number, status FROM webhook_attempt ORDER BY number")
    assert [(row["number"], row["status"]) for row in logged] == [(1, 500), (2, 500)]
    assert await stage.points() == (90, 0, 4)
    assert await stage.world.findings() == []


async def test_a_callback_between_attempts_ends_the_ladder(stage, request):
    async with a_partner(500) as partner:
        await stage.endpoint(partner.url, retry_delays_seconds=[3600.0])
        redemption = await stage.redeem()
        handle = await stage.start(redemption)

        async def waits():
            deliveries = (await stage.document(redemption))["deliveries"]
            return deliveries and deliveries[0]["next_attempt_at"]

        assert datetime.fromisoformat(await until(waits)) > utc_now()
        await call_back(stage, redemption, {"status": "failed", "fulfillment_data": {"reason": "Out of stock"}})
        await stage.relay.deliver_batch()
        assert await stage.outcome(handle) == "failed"
        await keep_history(request, "redemption_callback_ends_ladder", handle)
    assert len(partner.received) == 1
    document = await stage.document(redemption)
    assert document["deliveries"][0]["state"] == "superseded"
    assert document["failure_reason"] == "Out of stock"
    assert await stage.points() == (100, 0, 5)


async def test_a_callback_before_the_webhooks_own_answer_wins_and_the_answer_moves_nothing(stage):
    async def handler(received: Received) -> Answer:
        await call_back(stage, redemption, {"status": "fulfilled"})
        await stage.relay.deliver_batch()
        return 500, {}, b"too late"

    async with a_partner(handler=handler) as partner:
        await stage.endpoint(partner.url)
        redemption = await stage.redeem()
        handle = await stage.start(redemption)
        assert await stage.outcome(handle) == "fulfilled"
    assert len(partner.received) == 1
    document = await stage.document(redemption)
    assert [row["to"] for row in document["timeline"]] == ["pending", "fulfilled"]
    assert document["deliveries"][0]["state"] == "superseded"
    logged = await stage.world.rows("SELECT status, answer_head FROM webhook_attempt")
    assert [(row["status"], bytes(row["answer_head"])) for row in logged] == [(500, b"too late")]
    assert await stage.points() == (90, 0, 4)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b'{"status":"fulfilled","fulfillment_data":{"code":"X"}}', "fulfilled"),
        (b"ok", "expired"),
        (b'{"status":"fulfilled","fulfillment_data":{"code":"\\u0000"}}', "expired"),
        (b'{"status":"fulfilled","x":' + b"[" * 4000 + b"]" * 4000 + b"}", "expired"),
        (b'{"status":"fulfilled","x":' + b"[" * 400 + b"]" * 400 + b"}", "expired"),
        (b'{"status":"fulfilled","fulfilled_at":7}', "expired"),
        (b"\xff\xfe", "expired"),
        (b"", "expired"),
    ],
)
async def test_an_answer_counts_as_the_callback_when_the_reward_says_so(stage, answer, status):
    async def handler(_: Received) -> Answer:
        return 200, {}, answer

    async with a_partner(handler=handler) as partner:
        await stage.endpoint(partner.url)
        redemption = await stage.redeem(deadline_seconds=3600, answer_is_callback=True)
        handle = await stage.start(redemption)
        assert await stage.outcome(handle) == status
        assert len(partner.received) == 1, "an answer that we cannot keep is not asked for again"
    assert (await stage.document(redemption))["fulfillment_data"] == ({"code": "X"} if status == "fulfilled" else {})


async def test_deliveries_of_a_disabled_endpoint_are_held_and_go_on_when_it_is_enabled(stage, request):
    from api.webhook.endpoint import resume_deliveries

    async with a_partner(200) as partner:
        endpoint_id = await stage.endpoint(partner.url, enabled=False)
        redemption = await stage.redeem(endpoint_id=str(endpoint_id))
        handle = await stage.start(redemption)

        async def state():
            deliveries = (await stage.document(redemption))["deliveries"]
            return deliveries and deliveries[0]["state"]

        async def is_held():
            details = await handle.fetch_history()
            return "timer_started_event_attributes" in str(details.events) and await state() == "held"

        await until(is_held)
        assert partner.received == []
        async with transaction(stage.pool) as connection:
            await update_endpoint(connection, stage.world.tenant_id, endpoint_id, {"enabled": True}, now=utc_now())
            await resume_deliveries(connection, stage.world.tenant_id, endpoint_id)
        await stage.relay.deliver_batch()

        async def is_delivered():
            return await state() == "delivered"

        await until(is_delivered)
        assert len(partner.received) == 1
        await call_back(stage, redemption, {"status": "fulfilled"})
        await stage.relay.deliver_batch()
        await stage.outcome(handle)
        await keep_history(request, "redemption_held_and_resumed", handle)


async def test_cancelling_the_workflow_in_temporal_gives_the_points_back(stage, request):
    redemption = await stage.redeem()
    handle = await stage.start(redemption)

    async def is_flagged():
        return (await stage.document(redemption))["flags"]

    await until(is_flagged)
    await handle.cancel()
    assert await stage.outcome(handle) == "cancelled"
    await keep_history(request, "redemption_cancelled_in_temporal", handle)
    assert await stage.points() == (100, 0, 5)


async def test_our_own_lasting_fault_uses_no_attempt_and_the_deadline_still_refunds(pool, temporal_env):
    async with (
        a_partner(200) as partner,
        a_stage(pool, temporal_env.client, temporal_env, with_workers=False) as stage,
        workers(temporal_env.client, pool, stage.queues, Vault("another secret key, which opens nothing")),
    ):
        await stage.endpoint(partner.url)
        redemption = await stage.redeem(deadline_seconds=600)
        handle = await stage.start(redemption)
        assert await stage.outcome(handle) == "expired"
    assert partner.received == []
    assert await stage.world.rows("SELECT * FROM webhook_attempt") == []
    assert await stage.points() == (100, 0, 5)


async def test_no_secret_no_body_and_no_personal_data_but_the_external_id_are_in_the_history(stage):
    async with a_partner(500) as partner:
        await stage.endpoint(partner.url)
        redemption = await stage.redeem(deadline_seconds=3600)
        handle = await stage.start(redemption)
        await stage.outcome(handle)
    history = b"".join(event.SerializeToString() for event in (await handle.fetch_history()).events)
    for secret in (SECRET, "fulfillmentData", '"event"', partner.url):
        assert secret.encode() not in history
    assert b"u1" in history
    assert RedemptionState.EXPIRED.encode() in history


async def test_a_resume_ends_the_wait_for_the_next_attempt(stage, request):
    async with a_partner(503, 200) as partner:
        endpoint_id = await stage.endpoint(partner.url, retry_delays_seconds=[86_400.0])
        redemption = await stage.redeem()
        handle = await stage.start(redemption)

        async def hurried():
            async with transaction(stage.pool) as connection:
                since = utc_now() - timedelta(hours=1)
                return await hurry_waiting(connection, stage.world.tenant_id, endpoint_id, since, now=utc_now())

        assert await until(hurried) == 1
        await stage.relay.deliver_batch()

        async def is_processing():
            return (await stage.document(redemption))["status"] == "processing"

        await until(is_processing)
        await call_back(stage, redemption, {"status": "fulfilled"})
        await stage.relay.deliver_batch()
        assert await stage.outcome(handle) == "fulfilled"
        await keep_history(request, "redemption_hurried", handle)
    assert [each.headers["x-gamifyengine-attempt"] for each in partner.received] == ["1", "2"]


async def test_a_run_that_has_gone_round_often_goes_on_in_a_new_one(stage, monkeypatch):
    monkeypatch.setattr(messages, "ROUNDS_IN_A_RUN", 3)
    async with a_partner(500, 200) as partner:
        endpoint_id = await stage.endpoint(partner.url, retry_delays_seconds=[1.0])
        redemption = await stage.redeem()
        handle = await stage.start(redemption)

        async def first_is_answered():
            rows = await stage.world.rows("SELECT 1 FROM webhook_attempt WHERE ended_at IS NOT NULL")
            return len(rows) == 1

        await until(first_is_answered)
        async with transaction(stage.pool) as connection:
            await disable_endpoint(connection, stage.world.tenant_id, endpoint_id, "switched off", now=utc_now())
        first_run = (await handle.describe()).run_id
        number = 0

        async def is_another_run():
            nonlocal number
            number += 1
            await handle.execute_update("resume", id=f"resume:{number}")
            return (await handle.describe()).run_id != first_run

        await until(is_another_run)
        async with transaction(stage.pool) as connection:
            await update_endpoint(connection, stage.world.tenant_id, endpoint_id, {"enabled": True}, now=utc_now())

        async def is_processing():
            with contextlib.suppress(RPCError, WorkflowUpdateFailedError):
                await handle.execute_update("resume", id=f"resume:{uuid4()}")
            return (await stage.document(redemption))["status"] == "processing"

        await until(is_processing)
        await call_back(stage, redemption, {"status": "fulfilled"})
        await stage.relay.deliver_batch()
        assert await stage.outcome(handle) == "fulfilled"
    assert [each.headers["x-gamifyengine-attempt"] for each in partner.received] == ["1", "2"]
