"""Two things at once: a delivery is never held for ever, never asks for what was refunded, and a ladder never ends in silence."""

import asyncio
import contextlib
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.testing import ActivityEnvironment

from activities.webhook import WebhookActivities
from domain.redemption.redemption import Move, RedemptionState
from domain.webhook.body import event_body
from domain.webhook.webhook import endpoint_workflow_id
from loops.sweep import end_due_of_archived
from loops.webhook.send_slot import Throttle
from runtime.http import Sender
from runtime.ids import utc_now
from runtime.postgres import transaction
from storage.redemption.move import move_redemption
from storage.redemption.without_endpoint import lock_endpoints
from storage.webhook.delivery import attempts_of, release_held
from storage.webhook.due_delivery import Notice, hurry_waiting, make_due, publish, reserve_send_slots, wake_pump
from storage.webhook.endpoint import archive_endpoint, update_endpoint
from tests.builders.redemption import VAULT
from tests.partner import a_partner
from tests.workflow.test_endpoint import SENDER, TIER, a_world, delivery_settled, lines, pumping, tell, until
from tests.workflow.test_redemption_send import prepare

ON = {"enabled": True, "disabled_reason": None}


async def enable(connection, stage, endpoint_id):
    """What the API does, in its order."""
    await lock_endpoints(connection, stage.world.tenant_id)
    await release_held(connection, stage.world.tenant_id, endpoint_id, utc_now())
    await update_endpoint(connection, stage.world.tenant_id, endpoint_id, ON, now=utc_now())


async def end(stage, redemption_id, to=RedemptionState.CANCELLED):
    async with transaction(stage.pool) as connection:
        await move_redemption(connection, stage.world.tenant_id, redemption_id, Move(to=to, by="test"), now=utc_now())


async def test_what_is_published_while_its_endpoint_is_being_enabled_is_sent(pool):
    stage = await a_world(pool)
    async with a_partner(200) as partner:
        endpoint = await stage.endpoint(partner.url, events=["*"], enabled=False)
        publishing, enabled = asyncio.Event(), asyncio.Event()

        async def a_long_page():
            async with transaction(pool) as connection:
                await tell_in(connection, stage)
                publishing.set()
                await enabled.wait()

        page = asyncio.create_task(a_long_page())
        await publishing.wait()
        async with transaction(pool) as connection:
            await enable(connection, stage, endpoint)
        enabled.set()
        await page
        async with pumping(stage, endpoint):
            await until(delivery_settled(stage, "delivered"))
    assert len(partner.received) == 1


async def tell_in(connection, stage):
    notice = Notice(event="tier_change", body=event_body("tier_change", TIER, utc_now()))
    return await publish(connection, stage.world.tenant_id, notice, utc_now())


async def test_a_fulfilment_that_meets_the_enabling_of_its_endpoint_is_sent(pool):
    async with a_partner(200) as partner:
        stage, given = await prepare(pool, partner)
        (row,) = await lines(stage)
        off = {"enabled": False, "disabled_reason": "switched off"}
        async with transaction(pool) as connection:
            await update_endpoint(connection, stage.world.tenant_id, row["endpoint_id"], off, now=utc_now())
        webhooks = WebhookActivities(pool, VAULT, Sender(SENDER))
        async with transaction(pool) as connection:
            await lock_endpoints(connection, stage.world.tenant_id)
            sending = asyncio.create_task(ActivityEnvironment().run(webhooks.send, given(1)))

            async def waits_or_is_held():
                waiting = await stage.world.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                return waiting or sending.done()

            await until(waits_or_is_held)
            await enable(connection, stage, row["endpoint_id"])
        sent = await sending
    assert not sent.held
    assert len(partner.received) == 1


@pytest.mark.parametrize("enabled", [True, False])
async def test_what_is_published_while_its_endpoint_is_being_archived_is_cancelled(pool, enabled):
    stage = await a_world(pool)
    endpoint = await stage.endpoint("http://127.0.0.1:9/", events=["*"], enabled=enabled)
    async with transaction(pool) as publishing:
        await tell_in(publishing, stage)
        async with transaction(pool) as connection:
            await archive_endpoint(connection, stage.world.tenant_id, endpoint, utc_now())
    async with pumping(stage, endpoint):
        await until(delivery_settled(stage, "cancelled"))


async def test_the_sweep_cancels_what_is_due_to_an_endpoint_that_is_archived(pool):
    stage = await a_world(pool)
    endpoint = await stage.endpoint("http://127.0.0.1:9/", events=["*"])
    async with transaction(pool) as publishing:
        await tell_in(publishing, stage)
        async with transaction(pool) as connection:
            await archive_endpoint(connection, stage.world.tenant_id, endpoint, utc_now())
    await stage.world.rows("UPDATE webhook_delivery SET due_at = now() - interval '1 day' RETURNING 1")
    await end_due_of_archived(pool)
    assert await delivery_settled(stage, "cancelled")()


async def exhausted(stage, given):
    """The first order's ladder is over, without a delivery."""
    webhooks = WebhookActivities(stage.pool, VAULT, Sender(SENDER))
    for number in range(1, 5):
        await ActivityEnvironment().run(webhooks.send, given(number))
    (row,) = await lines(stage)
    assert row["state"] == "exhausted"
    return row


async def test_an_order_that_is_cancelled_while_it_waits_to_be_resent_is_not_sent(pool):
    async with a_partner(500) as partner:
        stage, given = await prepare(pool, partner)
        row = await exhausted(stage, given)
        async with transaction(pool) as connection:
            await make_due(connection, stage.world.tenant_id, row["endpoint_id"], [row["delivery_id"]], now=utc_now())
        await end(stage, row["redemption_id"])
        (row,) = await lines(stage)
        assert (row["state"], row["due_at"]) == ("exhausted", None)
        await asked_no_more(stage, row, partner)


async def test_an_order_that_is_resent_while_it_is_being_cancelled_is_not_sent(pool):
    async with a_partner(500) as partner:
        stage, given = await prepare(pool, partner)
        row = await exhausted(stage, given)
        await end(stage, row["redemption_id"])
        async with transaction(pool) as connection:  # as `recover` does that looked before the commit
            await make_due(connection, stage.world.tenant_id, row["endpoint_id"], [row["delivery_id"]], now=utc_now())
        await asked_no_more(stage, row, partner)
        async with transaction(pool) as connection:
            assert len(await attempts_of(connection, stage.world.tenant_id, row["delivery_id"])) == 4, "nothing was sent: no attempt"


async def test_an_order_that_is_cancelled_while_its_resend_waits_for_its_turn_is_not_sent(pool):
    async with a_partner(500) as partner:
        stage, given = await prepare(pool, partner)
        row = await exhausted(stage, given)
        async with transaction(pool) as connection:
            now, spacing = utc_now(), timedelta(seconds=1.5)
            await connection.execute("UPDATE webhook_endpoint SET next_turn_at = NULL")
            await reserve_send_slots(connection, stage.world.tenant_id, row["endpoint_id"], 1, spacing=spacing, now=now)
            await make_due(connection, stage.world.tenant_id, row["endpoint_id"], [row["delivery_id"]], now=now)
        async with pumping(stage, row["endpoint_id"]):

            async def is_claimed():
                return len(await stage.world.rows("SELECT 1 FROM webhook_attempt WHERE number = 5"))

            await until(is_claimed)
            await end(stage, row["redemption_id"])
        assert len(partner.received) == 4


async def asked_no_more(stage, row, partner):
    async with pumping(stage, row["endpoint_id"]):
        await until(delivery_settled(stage, "exhausted"))
    assert len(partner.received) == 4


async def test_what_waits_for_its_turn_is_not_sent_to_an_endpoint_that_is_disabled_meanwhile(pool):
    stage = await a_world(pool)
    async with a_partner(200) as partner:
        endpoint = await stage.endpoint(partner.url, events=["*"], rate_per_second=1.0)
        await tell(stage, 3)
        async with pumping(stage, endpoint) as wake:
            await until(lambda: asyncio.sleep(0, len(partner.received) == 1))
            async with transaction(pool) as connection:
                await update_endpoint(connection, stage.world.tenant_id, endpoint, {"enabled": False}, now=utc_now())

            async def is_held():
                wake.set()
                return len(await lines(stage, state="held")) == 2

            await until(is_held)
        assert len(partner.received) == 1
        assert len(await stage.world.rows("SELECT 1 FROM webhook_attempt")) == 1


@pytest.mark.parametrize("status", [410, 500])
async def test_an_endpoint_that_is_archived_during_the_send_is_given_up_for_another(pool, status):
    over = asyncio.Event()

    async def answer(_received):
        await over.wait()
        return status, {}, b""

    async with a_partner(handler=answer) as partner:
        stage, given = await prepare(pool, partner)
        (row,) = await lines(stage)
        webhooks = WebhookActivities(pool, VAULT, Sender(SENDER))
        sending = asyncio.create_task(ActivityEnvironment().run(webhooks.send, given(1)))
        await until(lambda: asyncio.sleep(0, partner.received))
        async with transaction(pool) as connection:
            await archive_endpoint(connection, stage.world.tenant_id, row["endpoint_id"], utc_now())
        over.set()
        sent = await sending
        if status != 410:  # it would be tried again: that try finds no endpoint
            sent = await ActivityEnvironment().run(webhooks.send, given(2))
    assert sent.gone, "the workflow begins anew, with the next endpoint"
    (row,) = await lines(stage)
    assert row["state"] == "cancelled"
    assert (await stage.world.rows("SELECT status FROM webhook_attempt"))[0]["status"] == status


async def test_a_copy_whose_endpoint_is_archived_during_the_send_and_gone_is_recorded(pool):
    stage, over = await a_world(pool), asyncio.Event()

    async def gone(_received):
        await over.wait()
        return 410, {}, b""

    async with a_partner(handler=gone) as partner:
        endpoint = await stage.endpoint(partner.url, events=["*"])
        await tell(stage)
        async with pumping(stage, endpoint):
            await until(lambda: asyncio.sleep(0, partner.received))
            async with transaction(pool) as connection:
                await archive_endpoint(connection, stage.world.tenant_id, endpoint, utc_now())
            over.set()
    (attempt,) = await stage.world.rows("SELECT status, ended_at FROM webhook_attempt")
    assert (attempt["status"], attempt["ended_at"] is not None) == (410, True)


async def test_a_locked_row_gives_out_no_turns(pool):
    stage = await a_world(pool)
    async with a_partner(200) as partner:
        endpoint = await stage.endpoint(partner.url, events=["*"], rate_per_second=1.0)
        await tell(stage)
        async with transaction(pool) as connection:
            await connection.execute("SELECT 1 FROM webhook_delivery FOR UPDATE")
            async with pumping(stage, endpoint) as wake:
                for _ in range(10):
                    wake.set()
                    await asyncio.sleep(0.02)
                (row,) = await stage.world.rows("SELECT next_turn_at FROM webhook_endpoint")
                assert row["next_turn_at"] is None
        async with pumping(stage, endpoint):
            await until(delivery_settled(stage, "delivered"))


async def test_another_rate_counts_from_now_on(pool):
    stage = await a_world(pool)
    endpoint = await stage.endpoint("http://127.0.0.1:9/", rate_per_second=0.01)
    async with transaction(pool) as connection:
        tenant_id, now = stage.world.tenant_id, utc_now()
        await reserve_send_slots(connection, tenant_id, endpoint, 8, spacing=timedelta(seconds=100), now=now)
        await update_endpoint(connection, tenant_id, endpoint, {"rate_per_second": 50.0}, now=now)
        assert await reserve_send_slots(connection, tenant_id, endpoint, 1, spacing=timedelta(seconds=1), now=now) == now


@pytest.mark.parametrize("lost_at", [1, 2, 3, 4])
async def test_a_workflow_that_is_made_again_goes_on_where_its_worker_died(pool, lost_at):
    """Temporal has lost the workflow and the worker died in attempt `lost_at`: the new one asks from attempt 1 again."""
    asked = asyncio.Event()

    async def answer(received):
        if received.headers["x-gamifyengine-attempt"] == str(lost_at) and not asked.is_set():
            asked.set()
            await asyncio.sleep(3600)
        return 500, {}, b""

    async with a_partner(handler=answer) as partner:
        stage, given = await prepare(pool, partner)
        webhooks = WebhookActivities(pool, VAULT, Sender(SENDER))
        for number in range(1, lost_at):
            await ActivityEnvironment().run(webhooks.send, given(number))
        dying = asyncio.create_task(ActivityEnvironment().run(webhooks.send, given(lost_at)))
        await asked.wait()
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        number, waits = 1, []
        while True:
            sent = await ActivityEnvironment().run(webhooks.send, given(number))
            waits.append(sent.wait_seconds)
            if sent.wait_seconds is None:
                break
            number += 1
    numbers = [each.headers["x-gamifyengine-attempt"] for each in partner.received]
    assert numbers == sorted(["1", "2", "3", "4", str(lost_at)])
    assert number == 4
    (row,) = await lines(stage)
    assert row["state"] == "exhausted"


async def test_a_workflow_that_is_made_again_finds_a_held_delivery_held(pool):
    async with a_partner(500, 200) as partner:
        stage, given = await prepare(pool, partner)
        (row,) = await lines(stage)
        webhooks = WebhookActivities(pool, VAULT, Sender(SENDER))
        await ActivityEnvironment().run(webhooks.send, given(1))
        async with transaction(pool) as connection:
            await update_endpoint(connection, stage.world.tenant_id, row["endpoint_id"], {"enabled": False}, now=utc_now())
        assert (await ActivityEnvironment().run(webhooks.send, given(2))).held
        again = await ActivityEnvironment().run(webhooks.send, given(1))
        assert again.wait_seconds == 0.0, "the ladder is not over"
        async with transaction(pool) as connection:
            await enable(connection, stage, row["endpoint_id"])
        again = await ActivityEnvironment().run(webhooks.send, given(1))
        assert again.wait_seconds == 0.0
        await ActivityEnvironment().run(webhooks.send, given(2))
    assert [each.headers["x-gamifyengine-attempt"] for each in partner.received] == ["1", "2"]


async def test_two_that_publish_to_two_fresh_endpoints_in_opposite_order_do_not_wait_for_each_other(pool):
    stage = await a_world(pool)
    tenant_id = stage.world.tenant_id
    one, two = [await stage.endpoint("http://127.0.0.1:9/", events=[event]) for event in ("tier_change", "reward_granted")]
    async with asyncio.timeout(60), transaction(pool) as first, transaction(pool) as second:
        for connection, endpoints in ((first, (one,)), (second, (two,)), (first, (two,)), (second, (one,))):
            for endpoint in endpoints:
                await wake_pump(connection, tenant_id, endpoint)
    rows = await stage.world.rows("SELECT workflow_id FROM outbox WHERE name = 'EndpointWorkflow'")
    assert {row["workflow_id"] for row in rows} == {endpoint_workflow_id(tenant_id, each) for each in (one, two)}


async def test_copies_that_wait_for_their_next_attempt_are_hurried_and_get_no_fifth(pool):
    stage = await a_world(pool)
    async with a_partner(500, 500, 200) as partner:
        endpoint = await stage.endpoint(partner.url, events=["*"])
        await tell(stage, 2)
        async with pumping(stage, endpoint) as wake:

            async def waits():
                return len([row for row in await lines(stage) if row["next_attempt_at"]]) == 2

            await until(waits)
            async with transaction(pool) as connection:
                hurried = await hurry_waiting(connection, stage.world.tenant_id, endpoint, utc_now() - timedelta(hours=1), now=utc_now())
            wake.set()
            await until(delivery_settled(stage, "delivered", 2))
        assert hurried == 2
    assert sorted(each.headers["x-gamifyengine-attempt"] for each in partner.received) == ["1", "1", "2", "2"]


def test_a_tenant_has_a_bounded_share_and_each_of_its_endpoints_one_send():
    throttle, tenant, other = Throttle(), uuid4(), uuid4()
    endpoints = [uuid4() for _ in range(50)]
    with contextlib.ExitStack() as under_way:
        for endpoint in endpoints:
            while throttle.room(tenant, endpoint):
                under_way.enter_context(throttle.taken(tenant, endpoint))
        assert sum(throttle.room(tenant, endpoint) for endpoint in endpoints) == 0
        assert throttle.room(tenant, uuid4()) == 1, "an endpoint with nothing under way waits for none of the others"
        assert throttle.room(other, uuid4()) == 8
    assert [throttle.room(tenant, endpoint) for endpoint in endpoints] == [8] * 50
