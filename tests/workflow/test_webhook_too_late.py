"""What was refunded or done must not be fulfilled: one rule, for what is sent again by hand, recovered or claimed."""

import pytest
from temporalio.testing import ActivityEnvironment

from activities.redemption import RedemptionActivities
from domain.redemption.messages import RedemptionInput
from domain.redemption.redemption import FINAL, RedemptionState, is_too_late
from runtime.ids import utc_now
from runtime.postgres import transaction
from storage.redemption.redemption import find_redemption
from storage.webhook.due_delivery import exhausted_since, make_due
from tests.builders.redemption import Stage, new_queues
from tests.builders.store import make_world
from tests.partner import a_partner
from tests.workflow.test_endpoint import lines, pumping, until
from tests.workflow.test_webhook_races import end


async def an_order_and_its_copy(pool, partner):
    """A world with a redemption whose order and whose copy, to another endpoint, have both failed: their rows, the order's first."""
    stage = Stage(await make_world(pool), None, new_queues(), None)
    await stage.endpoint(partner.url)
    await stage.endpoint(partner.url, events=["*"])
    given = await stage.redeem()
    await ActivityEnvironment().run(
        RedemptionActivities(pool).begin, RedemptionInput(tenant_id=given.tenant_id, redemption_id=given.redemption_id)
    )
    await stage.world.rows(
        "UPDATE webhook_delivery SET state = 'exhausted', due_at = NULL, due_trigger = NULL, next_attempt_at = NULL RETURNING 1"
    )
    async with transaction(pool) as connection:
        redemption = await find_redemption(connection, given.tenant_id, given.redemption_id)
    rows = await lines(stage, event="reward_redeemed")
    assert len(rows) == 2
    return stage, sorted(rows, key=lambda row: str(row["delivery_id"]) != redemption.fulfilment["delivery_id"])


@pytest.mark.parametrize("state", RedemptionState)
async def test_what_is_recovered_is_what_the_rule_lets_through(pool, state):
    async with a_partner(500) as partner:
        stage, rows = await an_order_and_its_copy(pool, partner)
    tenant_id, redemption_id = stage.world.tenant_id, rows[0]["redemption_id"]
    async with transaction(pool) as connection:
        await connection.execute("UPDATE redemption SET status = %s WHERE redemption_id = %s", (state.value, redemption_id))
        redemption = await find_redemption(connection, tenant_id, redemption_id)
        recovered = [bool(await exhausted_since(connection, tenant_id, row["endpoint_id"], row["created_at"])) for row in rows]
    assert recovered == [not is_too_late(redemption, row["delivery_id"], by_hand=True) for row in rows]
    assert recovered == [state not in FINAL, state not in FINAL or state is RedemptionState.FULFILLED]
    assert [is_too_late(redemption, row["delivery_id"], by_hand=False) for row in rows] == [state in FINAL, False]


async def test_a_copy_that_is_resent_by_hand_while_its_redemption_is_refunded_is_not_sent(pool):
    async with a_partner(200) as partner:
        stage, (_, copy) = await an_order_and_its_copy(pool, partner)
        await end(stage, copy["redemption_id"])
        async with transaction(pool) as connection:  # as `resend` does that looked before the commit
            await make_due(connection, stage.world.tenant_id, copy["endpoint_id"], [copy["delivery_id"]], now=utc_now())
        async with pumping(stage, copy["endpoint_id"]):

            async def is_withdrawn():
                (row,) = await lines(stage, delivery_id=copy["delivery_id"])
                return row["due_at"] is None

            await until(is_withdrawn)
        assert [
            each.headers["x-gamifyengine-event"] for each in partner.received if "redeemed" in each.headers["x-gamifyengine-event"]
        ] == []
