"""The relay while Temporal is away, the real server's search attributes and UI texts, and recovery when Temporal has lost everything."""

import asyncio
import logging
from datetime import timedelta

from temporalio.common import SearchAttributeKey

from domain.redemption.redemption import workflow_id
from loops.relay import Relay, run_relay
from loops.sweep import expire_overdue, restart_lost
from runtime.ids import utc_now
from runtime.settings import Settings
from runtime.temporal import SEARCH_ATTRIBUTES, connect
from stack import processes, temporal
from tests.builders.redemption import a_stage, workers
from tests.conftest import settings_for
from tests.partner import a_partner


async def until(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.05)
    return found


async def test_redemptions_wait_for_temporal_and_are_processed_when_it_comes(pool, postgres_url, redis_url, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="loops.relay")
    asked, deliver_safely = 0, Relay._deliver_safely

    async def counted(relay):
        nonlocal asked
        try:
            return await deliver_safely(relay)
        finally:
            asked += 1

    monkeypatch.setattr(Relay, "_deliver_safely", counted)
    port = processes.free_port()
    settings: Settings = settings_for(postgres_url, redis_url, f"127.0.0.1:{port}")
    client = await connect(settings, lazy=True)
    stop = asyncio.Event()
    async with a_partner(200) as partner, a_stage(pool, client, with_workers=False) as stage:
        await stage.endpoint(partner.url)
        redemption = await stage.redeem()
        relay = asyncio.create_task(run_relay(pool, client, stage.queues, stop))
        Relay(pool, client, stage.queues).try_start(workflow_id(redemption.tenant_id, redemption.redemption_id))

        async def asked_again():
            return asked >= 3

        await until(asked_again)
        said = [record.levelname for record in caplog.records if record.name == "loops.relay"]
        assert said.count("WARNING") == 1, "an outage is said once"
        command = temporal.command(tmp_path / "t.db", port, processes.free_port(), SEARCH_ATTRIBUTES, log=tmp_path / "t.log")
        process = processes.start(command)
        try:
            processes.wait_ready(process, command, lambda: temporal.ready(port))
            async with workers(await connect(settings), pool, stage.queues):

                async def is_processing():
                    return (await stage.document(redemption))["status"] == "processing"

                await until(is_processing)
            stop.set()
            await relay
        finally:
            stop.set()
            processes.stop(process, command)
    assert len(partner.received) == 1
    rows = await stage.world.rows("SELECT sent_at, last_error FROM outbox")
    assert [(row["sent_at"] is not None, row["last_error"]) for row in rows] == [(True, None)]


async def test_temporals_ui_tells_the_story(pool, temporal_client):
    async with a_partner(200) as partner, a_stage(pool, temporal_client) as stage:
        await stage.endpoint(partner.url)
        redemption = await stage.redeem()
        handle = await stage.start(redemption)

        async def is_processing():
            return (await stage.document(redemption))["status"] == "processing"

        await until(is_processing)
        query = (
            f"RedemptionStatus = 'processing' AND TenantId = '{redemption.tenant_id}' AND RewardSlug = 'voucher' AND ExternalUserId = 'u1'"
        )

        async def listed():
            return [found async for found in temporal_client.list_workflows(query)]

        (found,) = await until(listed)
        assert found.id == workflow_id(redemption.tenant_id, redemption.redemption_id)
        described = await handle.describe()
        assert await described.static_summary() == "voucher for u1"

        async def told():
            details = await current_details(handle)
            return "processing" in details and "attempt 1 of 4: http_200" in details

        await until(told)
        await handle.terminate()


async def current_details(handle):
    answer = await handle.query("__temporal_workflow_metadata")
    return answer["currentDetails"] if isinstance(answer, dict) else answer.current_details


async def test_a_workflow_that_temporal_has_lost_is_started_again(pool, temporal_client):
    async with a_stage(pool, temporal_client) as stage:
        redemption = await stage.redeem(type="manual")
        await stage.world.rows("UPDATE outbox SET sent_at = now() RETURNING outbox_id")
        assert await restart_lost(pool, temporal_client, idle=timedelta(seconds=-5)) == 1
        handle = await stage.start(redemption)
        assert (await handle.describe()).id == workflow_id(redemption.tenant_id, redemption.redemption_id)
        assert await restart_lost(pool, temporal_client, idle=timedelta(seconds=-5)) == 0
        await handle.terminate()


async def test_the_sweep_expires_what_is_long_past_its_deadline(pool, temporal_client):
    async with a_stage(pool, temporal_client, with_workers=False) as stage:
        redemption = await stage.redeem()
        assert await expire_overdue(pool) == 0
        past = utc_now() - timedelta(minutes=6)
        await stage.world.rows("UPDATE redemption SET deadline_at = %s RETURNING redemption_id", (past,))
        assert await expire_overdue(pool) == 1
        assert (await stage.document(redemption))["status"] == "expired"
        assert await stage.points() == (100, 0, 5)


async def test_a_user_whose_id_is_longer_than_a_search_attribute_is_served_and_found_by_its_beginning(pool, temporal_client):
    name = "😀" * 255
    async with a_partner(200) as partner, a_stage(pool, temporal_client) as stage:
        await stage.endpoint(partner.url)
        await stage.world.user(name, 100)
        await stage.world.reward("voucher", price=10, stock=5, fulfilment={"type": "webhook", "deadline_seconds": 3600})
        redemption = await stage.world.redeem(name, "voucher")
        handle = await stage.start(redemption)

        async def is_processing():
            return (await stage.document(redemption))["status"] == "processing"

        await until(is_processing)
        described = await handle.describe()
        shown = described.typed_search_attributes[SearchAttributeKey.for_keyword("ExternalUserId")]
        assert name.startswith(shown)
        assert len(shown) > 100
        await handle.terminate()
