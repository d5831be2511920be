"""What Prometheus is told of the platform is what PostgreSQL holds, read through indexes, and nothing that is old."""

import asyncio
import re

import httpx
import pytest

from loops.gauges import run_gauges
from runtime.metrics import PLATFORM, Reading, Readings, render_metrics
from runtime.postgres import Pool, transaction
from runtime.pulse import HealthServer, Pulse
from storage.platform import gauges
from storage.platform.gauges import GAUGES, read_gauges
from tests.builders.store import make_tenant, make_world

PATIENCE_SECONDS = 60.0


async def told(pool: Pool) -> dict[str, dict[tuple[str, ...], float]]:
    return {reading.name: dict(reading.rows) for reading in await read_gauges(pool)}


async def test_every_gauge_is_read_from_an_empty_platform(pool: Pool) -> None:
    found = await told(pool)
    assert list(found) == [gauge.name for gauge in GAUGES]
    assert found["laurel_redemptions_open"] == {(state,): 0.0 for state in ("pending_claim", "pending_approval", "pending", "processing")}
    assert found["laurel_deliveries_stuck"] == {("exhausted",): 0.0, ("held",): 0.0}


async def test_they_tell_what_waits_and_what_is_stuck(pool: Pool) -> None:
    world = await make_world(pool)
    await world.user("ann", 100)
    await world.reward(price=1, stock=4, fulfilment={"type": "manual"})
    redemption = await world.redeem("ann")
    async with transaction(pool) as connection:
        await connection.execute("UPDATE redemption SET deadline_at = now() - interval '1 hour'")
        await connection.execute("UPDATE outbox SET created_at = now() - interval '1 hour'")
        await connection.execute(
            "INSERT INTO dead_letter (tenant_id, position, event_id, scoring_partition, accepted_at, reason, created_at)"
            " VALUES (%s, 1, 'e', 0, now(), 'broken', now())",
            (world.tenant_id,),
        )
    found = await told(pool)
    assert found["laurel_redemptions_open"][(redemption.status.value,)] == 1
    assert found["laurel_redemptions_overdue"][()] == 1
    assert found["laurel_dead_letters"][()] == 1
    assert found["laurel_outbox_commands"][()] >= 1
    assert 3600 <= found["laurel_outbox_oldest_seconds"][()] < 7200


async def test_unscored_events_are_counted_up_to_a_bound(pool: Pool) -> None:
    async with transaction(pool) as connection:
        tenant_id = await make_tenant(connection)
        await connection.execute("INSERT INTO scoring_cursor (scoring_partition, updated_at) VALUES (0, now()), (1, now())")
        await connection.execute(
            "INSERT INTO event_log (scoring_partition, position, accepted_at, occurred_at, tenant_id, user_id, external_user_id, sender,"
            " event_id, type, body) SELECT 1, n, now() - interval '5 minutes', now(), %s, uuidv7(), 'u', 's', n::text, 't', ''"
            f" FROM generate_series(1, {gauges.COUNTED + 5}) AS n",
            (tenant_id,),
        )
    found = await told(pool)
    assert found["laurel_scoring_unscored_events"] == {("0",): 0, ("1",): gauges.COUNTED}
    assert found["laurel_scoring_oldest_unscored_seconds"][("0",)] == 0
    assert found["laurel_scoring_oldest_unscored_seconds"][("1",)] >= 300


async def test_one_that_cannot_be_read_leaves_the_others_alone(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = gauges.Gauge(name="laurel_slow", help="", sql="SELECT 1 FROM pg_sleep(60)")
    monkeypatch.setattr(gauges, "GAUGES", (slow, *GAUGES))
    monkeypatch.setattr(gauges, "QUESTION_SECONDS", 0.5)
    assert set(await told(pool)) <= {gauge.name for gauge in GAUGES}
    assert "laurel_schema_info" in await told(pool)


async def test_what_is_old_is_not_shown() -> None:
    readings = Readings()
    reading = Reading(name="laurel_x", help="", labels=(), rows=[((), 1.0)])
    readings.put([reading], good_seconds=60)
    assert [family.name for family in readings.collect()] == ["laurel_x"]
    readings.put([reading], good_seconds=0)
    assert list(readings.collect()) == []


async def test_the_health_server_of_a_worker_serves_them(pool: Pool) -> None:
    stop, server = asyncio.Event(), HealthServer({}, Pulse())
    port = await server.start("127.0.0.1", 0)
    running = asyncio.create_task(run_gauges(pool, stop))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
            text = ""
            while "laurel_schema_info" not in text:
                text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            assert (await client.get(f"http://127.0.0.1:{port}/health")).json()["status"] == "ok"
        assert re.search(r"^laurel_dead_letters 0\.0$", text, re.MULTILINE)
        assert "laurel_dead_letters 0.0" in render_metrics().decode()
    finally:
        stop.set()
        await running
        await server.stop()
        PLATFORM.put([], good_seconds=0)
