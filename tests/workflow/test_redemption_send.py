"""A worker that dies between a send and its record: the same attempt number and id are sent again, and never a fifth number."""

import asyncio

import pytest
from temporalio.testing import ActivityEnvironment

from activities.redemption import RedemptionActivities
from activities.webhook import WebhookActivities
from domain.redemption.messages import RedemptionInput, SendInput
from runtime.http import Sender
from tests.builders.redemption import VAULT, Stage, new_queues
from tests.builders.store import make_world
from tests.partner import Answer, Received, a_partner


async def prepare(pool, partner):
    stage = Stage(await make_world(pool), None, new_queues(), None)
    await stage.endpoint(partner.url)
    redemption = await stage.redeem()
    identity = {"tenant_id": redemption.tenant_id, "redemption_id": redemption.redemption_id}
    begin = RedemptionActivities(pool).begin
    begun = await ActivityEnvironment().run(begin, RedemptionInput(**identity))
    assert begun == await ActivityEnvironment().run(begin, RedemptionInput(**identity)), "the delivery is made once"

    def given(attempt):
        return SendInput(
            **identity,
            delivery_id=begun.delivery_id,
            attempt=attempt,
            jitter=0.0,
            retry_delays_seconds=begun.retry_delays_seconds,
            deadline_at=begun.deadline_at,
        )

    return stage, given


@pytest.mark.parametrize("number", [1, 4])
async def test_a_send_whose_worker_died_is_repeated_under_the_same_number_and_id(pool, number):
    asked = asyncio.Event()

    async def handler(received: Received) -> Answer:
        if received.headers["x-gamifyengine-attempt"] == str(number) and not asked.is_set():
            asked.set()
            await asyncio.sleep(3600)
        return 500, {}, b""

    async with a_partner(handler=handler) as partner:
        stage, given = await prepare(pool, partner)
        webhooks = WebhookActivities(pool, VAULT, Sender(["127.0.0.0/8"]))
        for earlier in range(1, number):
            await ActivityEnvironment().run(webhooks.send, given(earlier))
        dying = asyncio.create_task(ActivityEnvironment().run(webhooks.send, given(number)))
        await asyncio.wait_for(asked.wait(), 60)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        sent = await ActivityEnvironment().run(webhooks.send, given(number))
    expected = [str(each) for each in range(1, number + 1)]
    assert [each.headers["x-gamifyengine-attempt"] for each in partner.received] == [*expected, str(number)]
    assert len({each.headers["webhook-id"] for each in partner.received}) == 1
    rows = await stage.world.rows("SELECT number, ended_at FROM webhook_attempt ORDER BY number")
    assert [row["number"] for row in rows] == list(range(1, number + 1))
    assert all(row["ended_at"] for row in rows)
    assert (sent.wait_seconds is None) == (number == 4)


async def test_a_report_that_got_lost_is_given_again_without_a_send(pool):
    async with a_partner(503, headers={"Retry-After": "40"}) as partner:
        _, given = await prepare(pool, partner)
        webhooks = WebhookActivities(pool, VAULT, Sender(["127.0.0.0/8"]))
        first = await ActivityEnvironment().run(webhooks.send, given(1))
        again = await ActivityEnvironment().run(webhooks.send, given(1))
    assert len(partner.received) == 1
    assert first.wait_seconds == 40.0
    assert again.answer == first.answer == "http_503"
    assert 0 < again.wait_seconds <= 40.0, "what is left of it"
