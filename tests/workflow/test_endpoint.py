"""The endpoints' pumps: ladder, hold and resume, rate, take-over, and that a dead endpoint delays nobody else."""

import asyncio
import contextlib
import time
from datetime import timedelta

from temporalio.worker import Worker

from activities import endpoint as endpoint_pump
from activities.endpoint import EndpointActivities, EndpointPump
from activities.redemption import RedemptionActivities
from domain.redemption.messages import RedemptionInput
from domain.redemption.redemption import Move, RedemptionState
from domain.webhook.body import event_body
from domain.webhook.webhook import EndpointInput, endpoint_workflow_id
from runtime.http import Sender
from runtime.ids import utc_now
from runtime.postgres import transaction
from runtime.resolver import Resolver
from storage.redemption.move import move_redemption
from storage.webhook.delivery import forget_deliveries, release_held
from storage.webhook.due_delivery import Notice, claim_due, lock_due, publish, wake_pump
from storage.webhook.endpoint import archive_endpoint, disable_endpoint, find_endpoint, update_endpoint
from tests.builders.redemption import VAULT, Stage, a_stage, new_queues
from tests.builders.store import make_world
from tests.name_server import a_name_server
from tests.partner import a_partner
from tests.recording import keep_history
from workflows.endpoint import EndpointWorkflow

SENDER = ["127.0.0.0/8"]
TIER = {"user_id": "u", "external_user_id": "x", "previous_tier": None, "new_tier": "gold", "points": 10}


async def until(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
    return found


async def a_world(pool):
    return Stage(await make_world(pool), None, new_queues(), None)


async def tell(stage, times=1, event="tier_change", facts=TIER):
    made = []
    async with transaction(stage.pool) as connection:
        for _ in range(times):
            notice = Notice(event=event, body=event_body(event, facts, utc_now()))
            made += await publish(connection, stage.world.tenant_id, notice, utc_now())
    return made


@contextlib.asynccontextmanager
async def pumping(stage, endpoint_id):
    wake, stop = asyncio.Event(), asyncio.Event()
    given = EndpointInput(tenant_id=stage.world.tenant_id, endpoint_id=endpoint_id)
    pump = EndpointPump(stage.pool, VAULT, Sender(SENDER), given)
    running = asyncio.create_task(pump.run(wake, stop))
    try:
        yield wake
    finally:
        stop.set()
        await running


async def lines(stage, **wanted):
    found = await stage.world.rows("SELECT * FROM webhook_delivery ORDER BY delivery_id")
    return [row for row in found if all(row[name] == value for name, value in wanted.items())]


def delivery_settled(stage, state, count=1):
    async def settled():
        return len(await lines(stage, state=state, due_at=None)) == count

    return settled


async def make_due_now(stage):
    await stage.world.rows("UPDATE webhook_delivery SET due_at = now() WHERE due_at IS NOT NULL RETURNING 1")


async def test_only_those_who_ask_for_an_event_get_it(pool):
    stage = await a_world(pool)
    asks = await stage.endpoint("http://127.0.0.1:9/", events=["tier_change"])
    everything = await stage.endpoint("http://127.0.0.1:9/", events=["*"])
    off = await stage.endpoint("http://127.0.0.1:9/", events=["tier_change"], enabled=False)
    await stage.endpoint("http://127.0.0.1:9/", events=["payout.completed"])
    await tell(stage)
    assert {row["endpoint_id"]: row["state"] for row in await lines(stage)} == {asks: "pending", everything: "pending", off: "held"}


async def test_a_dead_endpoint_gets_four_requests_with_one_id(pool):
    stage = await a_world(pool)
    async with a_partner(500) as partner:
        endpoint = await stage.endpoint(partner.url, events=["*"])
        (delivery,) = await tell(stage)
        async with pumping(stage, endpoint) as wake:
            for number in range(1, 5):
                await until(lambda number=number: waiting_or_over(stage, number))
                await make_due_now(stage)
                wake.set()
            await until(delivery_settled(stage, "exhausted"))
            wake.set()
            await asyncio.sleep(0.1)
    assert [each.headers["x-gamifyengine-attempt"] for each in partner.received] == ["1", "2", "3", "4"]
    assert {each.headers["webhook-id"] for each in partner.received} == {str(delivery)}
    assert len({each.body for each in partner.received}) == 1


async def waiting_or_over(stage, number):
    rows = await stage.world.rows("SELECT number FROM webhook_attempt WHERE ended_at IS NOT NULL")
    return len(rows) >= number


async def test_a_retry_waits_for_its_time(pool):
    stage = await a_world(pool)
    async with a_partner(503, 200) as partner:
        endpoint = await stage.endpoint(partner.url, events=["*"], retry_delays_seconds=[1.0])
        await tell(stage)
        async with pumping(stage, endpoint):
            await until(delivery_settled(stage, "delivered"))
    rows = await stage.world.rows("SELECT started_at, ended_at FROM webhook_attempt ORDER BY number")
    assert (rows[1]["started_at"] - rows[0]["ended_at"]).total_seconds() >= 0.75, "a second, within a fifth"
    assert len(partner.received) == 2


async def test_410_disables_the_endpoint_and_holds_the_rest_until_it_is_enabled(pool):
    stage = await a_world(pool)
    async with a_partner(410, 200) as partner:
        endpoint = await stage.endpoint(partner.url, events=["*"], rate_per_second=0.5)
        await tell(stage, 1)
        async with pumping(stage, endpoint) as wake:
            await until(delivery_settled(stage, "exhausted"))
            await tell(stage, 3)
            wake.set()

            async def held():
                return len(await lines(stage, state="held")) == 3

            await until(held)
            assert len(partner.received) == 1
            async with transaction(pool) as connection:
                changes = {"enabled": True, "rate_per_second": 100.0}
                await update_endpoint(connection, stage.world.tenant_id, endpoint, changes, now=utc_now())
                await release_held(connection, stage.world.tenant_id, endpoint, utc_now())
                await connection.execute("UPDATE webhook_endpoint SET next_turn_at = NULL")
            wake.set()
            await until(delivery_settled(stage, "delivered", 3))


async def test_what_is_due_is_held_when_its_endpoint_is_switched_off(pool):
    stage = await a_world(pool)
    endpoint = await stage.endpoint("http://127.0.0.1:9/", events=["*"])
    await tell(stage, 2)
    async with transaction(pool) as connection:
        await disable_endpoint(connection, stage.world.tenant_id, endpoint, "switched off", now=utc_now())
    assert len(await lines(stage, state="held")) == 2


async def test_sends_keep_to_the_rate(pool):
    stage = await a_world(pool)
    async with a_partner(200) as partner:
        endpoint = await stage.endpoint(partner.url, events=["*"], rate_per_second=10.0)
        await tell(stage, 6)
        began = time.monotonic()
        async with pumping(stage, endpoint):
            await until(delivery_settled(stage, "delivered", 6))
    assert time.monotonic() - began >= 0.5
    assert len(partner.received) == 6


async def test_a_claim_whose_worker_died_is_taken_over_under_the_same_number(pool):
    stage = await a_world(pool)
    async with a_partner(200) as partner:
        endpoint_id = await stage.endpoint(partner.url, events=["*"])
        await tell(stage)
        async with transaction(pool) as connection:
            endpoint = await find_endpoint(connection, stage.world.tenant_id, endpoint_id)
            due = await lock_due(connection, stage.world.tenant_id, endpoint_id, 8, now=utc_now())
            (claimed,) = await claim_due(connection, stage.world.tenant_id, endpoint, due, now=utc_now())
            assert await lock_due(connection, stage.world.tenant_id, endpoint_id, 8, now=utc_now()) == []
        assert claimed.attempt.number == 1
        await make_due_now(stage)
        async with pumping(stage, endpoint_id):
            await until(delivery_settled(stage, "delivered"))
    assert [each.headers["x-gamifyengine-attempt"] for each in partner.received] == ["1"]


async def test_each_move_is_told_to_those_who_ask(pool):
    stage = await a_world(pool)
    fulfils = await stage.endpoint("http://127.0.0.1:9/", events=["reward_redeemed"])
    copies = await stage.endpoint("http://127.0.0.1:9/", events=["reward_redeemed", "redemption_updated"])
    redemption = await stage.redeem()
    given = RedemptionInput(tenant_id=redemption.tenant_id, redemption_id=redemption.redemption_id)
    for _ in range(2):
        await RedemptionActivities(pool).begin(given)
    async with transaction(pool) as connection:
        move = Move(to=RedemptionState.FULFILLED, by="test", is_callback=True, fulfillment_data={"code": "é"})
        await move_redemption(connection, redemption.tenant_id, redemption.redemption_id, move, now=utc_now())
    told = [(row["endpoint_id"], row["event"], row["due_at"] is not None) for row in await lines(stage)]
    assert sorted(told, key=str) == sorted(
        [(fulfils, "reward_redeemed", False), (copies, "reward_redeemed", True), (copies, "redemption_updated", True)], key=str
    )
    (update,) = await lines(stage, event="redemption_updated")
    assert (
        update["body"]
        .decode()
        .startswith(
            f'{{"event":"redemption_updated","redemption_id":"{redemption.redemption_id}","user_id":"{redemption.user_id}",'
            f'"external_user_id":"u1","reward_id":"{redemption.reward_id}","previous_status":"pending","status":"fulfilled",'
            '"fulfillment_data":{"code":"é"},"timestamp":"'
        )
    )


async def test_the_log_forgets_what_is_over_but_nothing_that_is_still_to_be_sent(pool):
    stage = await a_world(pool)
    async with a_partner(200) as partner:
        endpoint = await stage.endpoint(partner.url, events=["*"])
        await tell(stage)
        async with pumping(stage, endpoint):
            await until(delivery_settled(stage, "delivered"))
    await tell(stage)
    async with transaction(pool) as connection:
        assert await forget_deliveries(connection, utc_now() - timedelta(days=30), 10) == 0
        assert await forget_deliveries(connection, utc_now() + timedelta(seconds=1), 10) == 1
    assert [row["state"] for row in await lines(stage)] == ["pending"]


@contextlib.asynccontextmanager
async def pump_worker(stage, database_url, resolver=None):
    """The worker parts that serve endpoints: their workflow, and their pumps on a queue of their own."""
    endpoint = EndpointActivities(stage.pool, VAULT, Sender(SENDER, resolver=resolver), database_url)
    async with Worker(stage.client, task_queue=stage.queues.endpoints, workflows=[EndpointWorkflow], activities=[endpoint.pump]):
        yield


async def test_an_endpoints_workflow_sends_and_ends_when_it_is_archived(pool, postgres_url, temporal_client, request):
    async with a_partner(200) as partner, a_stage(pool, temporal_client) as stage, pump_worker(stage, postgres_url):
        endpoint = await stage.endpoint(partner.url, events=["tier_change"])
        await tell(stage, 3)
        await stage.relay.deliver_batch()
        await until(delivery_settled(stage, "delivered", 3))
        async with transaction(pool) as connection:
            await archive_endpoint(connection, stage.world.tenant_id, endpoint, utc_now())
            await wake_pump(connection, stage.world.tenant_id, endpoint)
        handle = temporal_client.get_workflow_handle(endpoint_workflow_id(stage.world.tenant_id, endpoint))
        await asyncio.wait_for(handle.result(), 20)
        await keep_history(request, "endpoint_archived", handle)
    assert len(partner.received) == 3


async def test_more_endpoints_than_a_worker_has_slots_take_turns(pool, postgres_url, temporal_client, monkeypatch):
    monkeypatch.setattr(endpoint_pump, "STAY_SECONDS", 0.5)
    monkeypatch.setattr(endpoint_pump, "HEARTBEAT_SECONDS", 0.2)
    async with a_partner(200) as partner, a_stage(pool, temporal_client) as stage:
        pumps = EndpointActivities(stage.pool, VAULT, Sender(SENDER), postgres_url, slots=2)
        for _ in range(5):
            await stage.endpoint(partner.url, events=["tier_change"])
        async with Worker(
            stage.client,
            task_queue=stage.queues.endpoints,
            workflows=[EndpointWorkflow],
            activities=[pumps.pump],
            max_concurrent_activities=2,
        ):
            for round_number in (1, 2):  # the second finds slots taken by pumps that have nothing to do
                await tell(stage)
                while await stage.relay.deliver_batch():
                    pass
                await until(delivery_settled(stage, "delivered", 5 * round_number))
            await end_all(stage)


async def end_all(stage):
    async for found in stage.client.list_workflows(f"TenantId = '{stage.world.tenant_id}' AND ExecutionStatus = 'Running'"):
        await stage.client.get_workflow_handle(found.id).terminate()


async def test_an_endpoint_whose_deliveries_fail_is_found_in_temporal(pool, postgres_url, temporal_client, monkeypatch, request):
    monkeypatch.setattr(endpoint_pump, "NEWS_SECONDS", 0.5)
    async with a_partner(400, 200) as partner, a_stage(pool, temporal_client) as stage, pump_worker(stage, postgres_url):
        endpoint = await stage.endpoint(partner.url, events=["tier_change"], retry_delays_seconds=[])
        identity = endpoint_workflow_id(stage.world.tenant_id, endpoint)
        query = f"Flags = 'deliveries_failing' AND ExecutionStatus = 'Running' AND TenantId = '{stage.world.tenant_id}'"

        async def flagged():
            return [each.id async for each in temporal_client.list_workflows(query)]

        async def fine():
            return not await flagged()

        await tell(stage)
        await stage.relay.deliver_batch()
        assert await until(flagged) == [identity]
        await tell(stage)
        await until(fine)
        async with transaction(pool) as connection:
            await archive_endpoint(connection, stage.world.tenant_id, endpoint, utc_now())
            await wake_pump(connection, stage.world.tenant_id, endpoint)
        handle = temporal_client.get_workflow_handle(identity)
        await asyncio.wait_for(handle.result(), 20)
        await keep_history(request, "endpoint_failing", handle)


async def test_a_hanging_endpoint_with_500_deliveries_delays_nobody_else(pool, postgres_url, temporal_client):
    async with (
        a_partner(200) as fine,
        a_stage(pool, temporal_client) as stage,
        pump_worker(stage, postgres_url),
        hanging() as hang,
        a_partner(handler=hang) as dead,
    ):
        other = Stage(await make_world(pool), stage.client, stage.queues, stage.relay)
        await stage.endpoint(dead.url, timeout_seconds=15.0, events=["tier_change"])
        await other.endpoint(fine.url, events=["*"])
        await tell(stage, 500)
        await stage.relay.deliver_batch()
        await until(lambda: asyncio.sleep(0, len(dead.received) >= 8))
        await tell(other, 20)
        redemption = await other.redeem()
        await stage.relay.deliver_batch()

        async def all_there():
            return len(fine.received) >= 21 and (await other.document(redemption))["status"] == "processing"

        await until(all_there)
        assert len(dead.received) < 100, "eight in fifteen seconds: most of them still wait, in front of nobody else"
        for tenant in (stage, other):
            async for found in stage.client.list_workflows(f"TenantId = '{tenant.world.tenant_id}'"):
                if found.status is not None and found.status.name == "RUNNING":
                    await stage.client.get_workflow_handle(found.id).terminate()


async def drip(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def babble(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
        await writer.drain()


async def redirect(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n")


async def say_nothing(reader, writer):
    await reader.read()  # over https this is a handshake that never ends


HOSTILE = {"drip": drip, "babble": babble, "redirect": redirect, "silence": say_nothing, "TLS": say_nothing}


@contextlib.asynccontextmanager
async def hostile_urls():
    """Addresses of everything that a partner can do to who calls it: two of each kind, and names that are never answered."""
    async with contextlib.AsyncExitStack() as stack:
        urls, over = ["http://127.0.0.1:9/"], asyncio.Event()
        serving = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(over.set)
        for kind, serve in HOSTILE.items():

            async def until_over(reader, writer, serve=serve):
                served, ended = asyncio.ensure_future(serve(reader, writer)), asyncio.ensure_future(over.wait())
                await asyncio.wait([served, ended], return_when=asyncio.FIRST_COMPLETED)
                for each in (served, ended):
                    each.cancel()
                await asyncio.gather(served, ended, return_exceptions=True)
                writer.transport.abort() if over.is_set() else writer.close()

            def accept(reader, writer, until_over=until_over):
                serving.create_task(until_over(reader, writer))

            server = await asyncio.start_server(accept, "127.0.0.1", 0)
            stack.callback(server.close)
            scheme = "https" if kind == "TLS" else "http"
            urls += [f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/{number}" for number in range(2)]
        silent = await stack.enter_async_context(a_name_server(lambda _: None))
        yield [*urls, "http://silent.example/", "http://silence.example/"], Resolver([f"127.0.0.1:{silent.port}"])


async def test_a_hostile_tenant_with_many_endpoints_delays_nobody_else(pool, postgres_url, temporal_client):
    async with (
        a_partner(200) as fine,
        hostile_urls() as (urls, resolver),
        a_stage(pool, temporal_client) as stage,
        pump_worker(stage, postgres_url, resolver),
    ):
        other = Stage(await make_world(pool), stage.client, stage.queues, stage.relay)
        await other.endpoint(fine.url, events=["tier_change"])
        for url in urls:
            await stage.endpoint(url, timeout_seconds=15.0, events=["tier_change"], rate_per_second=10_000.0)
        await tell(stage, 200)
        await stage.relay.deliver_batch()

        async def under_way():
            rows = await stage.world.rows("SELECT count(DISTINCT delivery_id) AS sent FROM webhook_attempt")
            return rows[0]["sent"] >= 40

        await until(under_way)
        assert not fine.received
        await tell(other, 20)
        await stage.relay.deliver_batch()
        await until(lambda: asyncio.sleep(0, len(fine.received) == 20))
        rows = await stage.world.rows("SELECT count(*) AS waiting FROM webhook_delivery WHERE due_at IS NOT NULL AND attempts = 0")
        assert rows[0]["waiting"] > 500, "the others still wait, in front of nobody else"
        for tenant in (stage, other):
            async for found in stage.client.list_workflows(f"TenantId = '{tenant.world.tenant_id}'"):
                if found.status is not None and found.status.name == "RUNNING":
                    await stage.client.get_workflow_handle(found.id).terminate()


@contextlib.asynccontextmanager
async def hanging():
    """A partner's handler that answers nobody before the test is over."""
    over = asyncio.Event()

    async def hang(_received):
        await over.wait()
        return 200, {}, b""

    try:
        yield hang
    finally:
        over.set()


async def many(stage, count):
    """Redemptions of one user, the rest bought as the first one was."""
    await stage.world.user("u1", 10 * count)
    return [await stage.redeem(stock=count), *[await stage.world.redeem("u1") for _ in range(count - 1)]]


async def test_a_hanging_partner_with_many_redemptions_delays_no_other_redemption(pool, temporal_client):
    async with (
        a_partner(200) as fine,
        a_stage(pool, temporal_client) as stage,
        hanging() as hang,
        a_partner(handler=hang) as dead,
    ):
        other = Stage(await make_world(pool), stage.client, stage.queues, stage.relay)
        await stage.endpoint(dead.url, timeout_seconds=15.0)
        await other.endpoint(fine.url)
        waiting = await many(stage, 40)
        await stage.relay.deliver_batch()
        await until(lambda: asyncio.sleep(0, len(dead.received) >= 8))
        redemption = await other.redeem()
        await stage.relay.deliver_batch()

        async def is_processing():
            return (await other.document(redemption))["status"] == "processing"

        await until(is_processing)
        assert len(dead.received) < 40, "eight in fifteen seconds: the last of them still wait, in front of nobody else"
        for each in [*waiting, redemption]:
            await stage.handle(each).terminate()


async def test_sends_of_redemptions_keep_to_the_rate(pool, temporal_client):
    async with a_partner(200) as partner, a_stage(pool, temporal_client) as stage:
        await stage.endpoint(partner.url, rate_per_second=4.0)
        redemptions = await many(stage, 6)
        began = time.monotonic()
        await stage.relay.deliver_batch()

        async def all_processing():
            return {(await stage.document(each))["status"] for each in redemptions} == {"processing"}

        await until(all_processing)
        assert time.monotonic() - began >= 1.0
        assert [each.headers["x-gamifyengine-attempt"] for each in partner.received] == ["1"] * 6
        for each in redemptions:
            await stage.handle(each).terminate()
