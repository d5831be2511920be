"""An auditor finds everything in Temporal's UI: the guide's queries are run, and what they should find is there."""

import asyncio
import base64
import re
from pathlib import Path

import pytest
from temporalio.client import Client

from domain.redemption.redemption import Move, RedemptionState, reversal_workflow_id, workflow_id
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.redemption.move import move_redemption
from tests.builders.redemption import Stage, a_stage, workers
from tests.partner import a_partner
from tests.recording import keep_history

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guide" / "auditing.md"
QUERIES = re.findall(r"```temporal\n(.*?)\n```", GUIDE.read_text(), re.DOTALL)


async def found(client: Client, query: str, count: int = 1) -> list[str]:
    """The ids that a query finds, once there are so many: the list lags behind."""
    async with asyncio.timeout(60):
        while True:
            ids = sorted([each.id async for each in client.list_workflows(query)])
            if len(ids) >= count:
                return ids
            await asyncio.sleep(0.1)


async def move(stage: Stage, redemption, to: RedemptionState, note: str, by: str = "console:lan@example.com") -> None:
    async with transaction(stage.pool) as connection:
        await move_redemption(connection, redemption.tenant_id, redemption.redemption_id, Move(to=to, by=by, note=note), now=utc_now())
    while await stage.relay.deliver_batch():
        pass


@pytest.mark.parametrize("query", QUERIES)
async def test_each_query_of_the_guide_is_understood(temporal_client: Client, query: str) -> None:
    assert len([each.id async for each in temporal_client.list_workflows(query, limit=1)]) <= 1


async def test_a_reversed_order_is_found_with_who_and_why_and_its_fulfilment_too(
    pool: Pool, temporal_client: Client, request: pytest.FixtureRequest
) -> None:
    async with a_stage(pool, temporal_client) as stage:
        redemption = await stage.redeem(type="manual")
        handle = await stage.start(redemption)
        await move(stage, redemption, RedemptionState.FULFILLED, "sent by post")
        await handle.result()
        await move(stage, redemption, RedemptionState.REVERSED, "it came back")
        reversal = reversal_workflow_id(redemption.tenant_id, redemption.redemption_id)
        await temporal_client.get_workflow_handle(reversal).result()
        both = await found(temporal_client, f'RedemptionId = "{redemption.redemption_id}"', 2)
        assert both == sorted([workflow_id(redemption.tenant_id, redemption.redemption_id), reversal])
        named = f'RedemptionStatus = "reversed" AND TenantId = "{redemption.tenant_id}"'
        assert await found(temporal_client, named) == [reversal]
        await keep_history(request, "reversal_shown", temporal_client.get_workflow_handle(reversal))
        await keep_history(request, "redemption_fulfilled_by_hand", handle)
        told = (await temporal_client.get_workflow_handle(reversal).fetch_history()).to_json()
        fulfilled = (await handle.fetch_history()).to_json()
        memo = await (await handle.describe()).memo()
    assert "lan@example.com" not in "".join(map(decoded, (told, fulfilled)))
    assert '"by":"console"' in decoded(told)
    assert "it came back" in decoded(told)
    assert "sent by post" in decoded(fulfilled)
    assert memo["console"] == f"/console/redemptions/{redemption.redemption_id}"
    assert memo["tenant"]


async def test_moves_that_a_workflow_finds_before_it_is_told_of_them_say_who_and_why_too(pool: Pool, temporal_client: Client) -> None:
    """Its activities may be faster than the relay, and once they have seen the end the workflow is over."""
    async with a_stage(pool, temporal_client, with_workers=False) as stage:
        redemption = await stage.redeem(type="manual")
        await stage.world.rows("UPDATE redemption SET status = 'pending_approval' RETURNING status")
        handle = await stage.start(redemption)
        async with transaction(pool) as connection:
            for to, note in ((RedemptionState.PENDING, "she is a member"), (RedemptionState.FULFILLED, "sent by post")):
                step = Move(to=to, by="console:lan@example.com", note=note)
                await move_redemption(connection, redemption.tenant_id, redemption.redemption_id, step, now=utc_now())
        async with workers(temporal_client, pool, stage.queues):
            await handle.result()
            shown = str(await handle.query("__temporal_workflow_metadata"))
        history = decoded((await handle.fetch_history()).to_json())
    for note in ("she is a member", "sent by post"):
        assert f"by console: {note}" in shown
        assert note in history
    assert "lan@example.com" not in history


def decoded(history: str) -> str:
    """Every payload of the history, as text."""
    return "".join(base64.b64decode(each).decode("utf-8", "replace") for each in re.findall(r'"data": ?"([A-Za-z0-9+/=]+)"', history))


async def test_an_order_whose_partner_fails_is_found_by_its_flag(
    pool: Pool, temporal_client: Client, request: pytest.FixtureRequest
) -> None:
    async with a_partner(301) as partner, a_stage(pool, temporal_client) as stage:
        endpoint_id = await stage.endpoint(partner.url)
        redemption = await stage.redeem()
        handle = await stage.start(redemption)
        wanted = f'Flags = "delivery_exhausted" AND RedemptionId = "{redemption.redemption_id}"'
        assert await found(temporal_client, wanted) == [handle.id]
        assert endpoint_id
        await move(stage, redemption, RedemptionState.CANCELLED, "the partner is closed", by="api_key:abcdefgh")
        await handle.result()
        await keep_history(request, "redemption_flagged_then_cancelled", handle)
        history = decoded((await handle.fetch_history()).to_json())
    assert "api_key:abcdefgh" in history
    assert "the partner is closed" in history
