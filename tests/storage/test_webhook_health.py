"""What the console says of an endpoint: since when the oldest thing that is not through waits."""

from datetime import timedelta

from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from storage.webhook.endpoint import NewEndpoint, create_endpoint
from storage.webhook.health import endpoint_health
from tests.builders.store import make_world

INSERT = """
INSERT INTO webhook_delivery (tenant_id, delivery_id, endpoint_id, event, body, state, due_at, due_trigger, created_at, updated_at)
VALUES (%s, %s, %s, 'tier_change', '{}', %s, %s, %s, %s, %s)
"""


async def test_what_waits_longest_is_the_oldest_not_what_is_due_first(pool: Pool) -> None:
    world, now = await make_world(pool), utc_now()
    async with transaction(pool) as connection:
        made = await create_endpoint(connection, world.tenant_id, NewEndpoint(url="http://127.0.0.1:1/"), b"sealed", now=now)
        wanted, asked = {"since": now - timedelta(days=1), "now": now}, [made.endpoint_id]
        assert (await endpoint_health(connection, world.tenant_id, asked, **wanted))[made.endpoint_id].oldest_waiting_at is None
        for state, due_in, age in (("pending", 3600, 7200), ("pending", 1, 1), ("delivered", None, 9000)):
            due_at, created_at = None if due_in is None else now + timedelta(seconds=due_in), now - timedelta(seconds=age)
            await connection.execute(
                INSERT, (world.tenant_id, new_id(), made.endpoint_id, state, due_at, due_at and "first", created_at, now)
            )
        health = (await endpoint_health(connection, world.tenant_id, asked, **wanted))[made.endpoint_id]
        assert health.oldest_waiting_at == now - timedelta(seconds=7200)
        later = {**wanted, "since": now + timedelta(hours=1)}  # nothing of the last day: what waits is still found
        assert (await endpoint_health(connection, world.tenant_id, asked, **later))[made.endpoint_id].oldest_waiting_at == (
            now - timedelta(seconds=7200)
        )
        ladder = now - timedelta(seconds=8000)  # the workflow of its order sends it: no pump has a time for it
        await connection.execute(INSERT, (world.tenant_id, new_id(), made.endpoint_id, "held", None, None, ladder, now))
        assert (await endpoint_health(connection, world.tenant_id, asked, **wanted))[made.endpoint_id].oldest_waiting_at == ladder
