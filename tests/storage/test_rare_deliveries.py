"""Deliveries in a rare state are found without reading the many that were delivered."""

import pytest

from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.webhook.delivery import DeliveryFilter, list_deliveries
from storage.webhook.endpoint import NewEndpoint, create_endpoint
from tests.builders.store import make_world

FILL = """
INSERT INTO webhook_delivery (tenant_id, delivery_id, endpoint_id, event, body, state, created_at, updated_at)
SELECT %(tenant_id)s, uuidv7(), %(endpoint_id)s, 'reward_redeemed', '{{}}', %(state)s, %(now)s, %(now)s FROM generate_series(1, {number})
"""
READ = """
SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS n FROM pg_stat_xact_user_tables WHERE relname = 'webhook_delivery'
"""


@pytest.mark.parametrize("state", ["superseded", "cancelled", "exhausted", "held"])
async def test_a_rare_state_is_read_by_its_own_rows(pool: Pool, state: str) -> None:
    world = await make_world(pool)
    now = utc_now()
    async with transaction(pool) as connection:
        made = await create_endpoint(connection, world.tenant_id, NewEndpoint(url="http://127.0.0.1:1/"), b"sealed", now=now)
        for kept, number in ((state, 2), ("delivered", 5000)):
            named = {"tenant_id": world.tenant_id, "endpoint_id": made.endpoint_id, "state": kept, "now": now}
            await connection.execute(FILL.format(number=number).encode(), named)
        await connection.execute("ANALYZE webhook_delivery")
    async with transaction(pool) as connection:
        found = await list_deliveries(connection, world.tenant_id, DeliveryFilter(state=state))
        row = await (await connection.execute(READ)).fetchone()
    assert [each.state.value for each in found] == [state] * 2
    assert row is not None
    assert row["n"] < 100, "the two, not those in front of them"
