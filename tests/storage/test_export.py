"""The export of a user: all that is held, in little memory."""

import json
import tracemalloc
from datetime import timedelta

import msgspec

from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.tenant.export import DELIVERIES, everything_about
from storage.webhook.due_delivery import Notice, publish
from storage.webhook.endpoint import NewEndpoint, create_endpoint
from tests.builders.store import make_world

LARGE = 900_000
EVENTS = 40


async def test_an_export_of_any_size_takes_little_memory_and_is_whole(pool: Pool):
    world = await make_world(pool)
    ann = await world.user("ann", 50)
    await world.reward(price=10)
    await world.redeem("ann")
    today = utc_now().date()
    async with transaction(pool) as connection:
        name, following = f"event_log_{today - timedelta(days=3):%Y%m%d}", today - timedelta(days=2)
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF event_log"
            f" FOR VALUES FROM ('{today - timedelta(days=3)} 00:00Z') TO ('{following} 00:00Z')".encode()
        )
        await connection.execute(
            "INSERT INTO event_log (scoring_partition, position, accepted_at, occurred_at, tenant_id, user_id, external_user_id, sender,"
            " event_id, type, body) SELECT 0, 1000000 + n, %s, now(), %s, %s, 'ann', '', 'e' || n, 't',"
            " convert_to(jsonb_build_object('n', n, 'text', repeat('x', %s))::text, 'UTF8') FROM generate_series(1, %s) AS n",
            (f"{today - timedelta(days=3)} 12:00Z", world.tenant_id, ann.user_id, LARGE, EVENTS),
        )
    size, kept = 0, []
    tracemalloc.start()
    try:
        async with transaction(pool) as connection:
            async for piece in everything_about(connection, world.tenant_id, ann):
                size += len(piece)
                kept.append(piece.replace(b"x" * LARGE, b"x"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > LARGE * EVENTS
    assert peak < size
    exported = json.loads(b"".join(kept))
    assert exported["profile"]["external_id"] == "ann"
    assert [row["body"]["n"] for row in exported["events"]] == list(range(1, EVENTS + 1))
    assert len(exported["redemptions"]) == len(exported["transactions"]) == 1
    assert exported["tier_history"] == []


async def test_deliveries_about_a_user_are_found_without_reading_those_about_others(pool: Pool) -> None:
    world = await make_world(pool)
    ann, bob = await world.user("ann", 50), await world.user("bob", 50)
    async with transaction(pool) as connection:
        await create_endpoint(connection, world.tenant_id, NewEndpoint(url="http://127.0.0.1:1/", events=["*"]), b"sealed", now=utc_now())
        for about in (ann.user_id, bob.user_id):
            body = msgspec.json.encode({"user_id": str(about)})
            await publish(connection, world.tenant_id, Notice(event="tier_change", body=body, user_id=about), utc_now())
        of_before = msgspec.json.encode({"user_id": str(ann.user_id), "of": "an earlier release"})
        await publish(connection, world.tenant_id, Notice(event="tier_change", body=of_before), utc_now())
        await connection.execute(
            "INSERT INTO webhook_delivery (tenant_id, delivery_id, endpoint_id, event, user_id, body, state, created_at, updated_at)"
            " SELECT tenant_id, uuidv7(), endpoint_id, event, %(bob)s, body, 'delivered', now(), now() FROM webhook_delivery,"
            " generate_series(1, 3000) WHERE user_id = %(bob)s",
            {"bob": bob.user_id},
        )
    async with pool.connection() as connection:
        await connection.execute("ANALYZE webhook_delivery")
        known = {"tenant": world.tenant_id, "user": ann.user_id, "redemptions": []}
        plan = str(await (await connection.execute("EXPLAIN " + DELIVERIES, known)).fetchall())
    assert "Seq Scan" not in plan
    async with transaction(pool) as connection:
        exported = json.loads(b"".join([piece async for piece in everything_about(connection, world.tenant_id, ann)]))
    assert [each["body"]["user_id"] for each in exported["deliveries"]] == [str(ann.user_id)] * 2
