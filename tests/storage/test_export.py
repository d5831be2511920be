"""The export of a user: all that is held, in little memory."""

import json
import tracemalloc
from datetime import timedelta

from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.tenant.export import everything_about
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
