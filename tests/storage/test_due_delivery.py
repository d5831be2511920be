"""What an endpoint's pump claims: never more than it has room for."""

import pytest

from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.redemption.command import PURCHASE_PRIORITY
from storage.webhook.due_delivery import claim_due, lock_due, publish_test
from storage.webhook.endpoint import NewEndpoint, create_endpoint
from tests.builders.store import make_world

PLANS = {
    "as it comes": "SELECT 1",
    "joined row by row": "; ".join(
        f"SET LOCAL enable_{each} = off" for each in ("hashjoin", "mergejoin", "hashagg", "sort", "material", "seqscan")
    ),
}


@pytest.mark.parametrize("plan", PLANS)
async def test_no_more_is_claimed_than_there_is_room_for_whatever_the_plan(pool: Pool, plan: str) -> None:
    """PostgreSQL may run the part with the limit again for each row of the other, and then it skips what is locked already."""
    world, now = await make_world(pool), utc_now()
    async with transaction(pool) as connection:
        endpoint = await create_endpoint(connection, world.tenant_id, NewEndpoint(url="http://127.0.0.1:1/"), b"sealed", now=now)
        for _ in range(40):
            await publish_test(connection, world.tenant_id, endpoint.endpoint_id, b"{}", now=now)
    async with transaction(pool) as connection:
        await connection.execute(PLANS[plan].encode())
        locked = await lock_due(connection, world.tenant_id, endpoint.endpoint_id, 8, now=now)
        claimed = await claim_due(connection, world.tenant_id, endpoint, locked, now=now)
    assert len({each.delivery.delivery_id for each in claimed}) == len(claimed) == 8


async def test_an_endpoint_gets_its_pump_before_orders_that_queue(pool: Pool) -> None:
    world, now = await make_world(pool), utc_now()
    async with transaction(pool) as connection:
        endpoint = await create_endpoint(connection, world.tenant_id, NewEndpoint(url="http://127.0.0.1:1/"), b"sealed", now=now)
        await publish_test(connection, world.tenant_id, endpoint.endpoint_id, b"{}", now=now)
    (start,) = await world.rows("SELECT (argument ->> 'priority')::int AS priority FROM outbox WHERE name = 'EndpointWorkflow'")
    assert start["priority"] < PURCHASE_PRIORITY  # the lower number goes first
