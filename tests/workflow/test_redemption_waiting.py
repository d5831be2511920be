"""Claim, approval and what is fulfilled at once, in the redemption's workflow."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from domain.errors import InvalidState
from domain.redemption.redemption import WAITING, Decision, Move, RedemptionState
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.redemption.move import move_redemption
from storage.reward.code import add_codes
from tests.builders.redemption import Stage, a_stage
from tests.partner import a_partner
from tests.recording import keep_history

APPROVED = Move(to=RedemptionState.PENDING, by="admin", only_from=frozenset({RedemptionState.PENDING_APPROVAL}))
CLAIMED = Move(to=RedemptionState.PENDING, by="gamer", only_from=frozenset({RedemptionState.PENDING_CLAIM}), fields={"size": "M"})


@pytest_asyncio.fixture
async def stage(pool: Pool, temporal_env: WorkflowEnvironment) -> AsyncIterator[Stage]:
    async with a_stage(pool, temporal_env.client, temporal_env) as made:
        yield made


async def redeem(stage: Stage, **reward: Any):
    await stage.world.user("u1", 100)
    await stage.world.reward("voucher", **{"price": 10, "stock": 5, **reward})
    return await stage.world.redeem("u1", "voucher")


async def move(stage: Stage, redemption: Any, wanted: Move) -> Any:
    async with transaction(stage.pool) as connection:
        return await move_redemption(connection, redemption.tenant_id, redemption.redemption_id, wanted, now=utc_now())


async def path(stage: Stage, redemption: Any) -> list[str]:
    return [row["to"] for row in (await stage.document(redemption))["timeline"]]


async def test_a_claimed_and_approved_redemption_is_sent_with_what_the_user_filled_in(stage, request):
    async with a_partner(200) as partner:
        await stage.endpoint(partner.url)
        fields = [{"name": "size", "required": True}]
        redemption = await redeem(stage, fields=fields, requires_claim=True, requires_approval=True)
        assert redemption.status is RedemptionState.PENDING_CLAIM
        handle = await stage.start(redemption)
        to_approval = Move(
            to=RedemptionState.PENDING_APPROVAL, by="gamer", only_from=frozenset({RedemptionState.PENDING_CLAIM}), fields={"size": "M"}
        )
        await move(stage, redemption, to_approval)
        assert partner.received == []
        await move(stage, redemption, APPROVED)
        await stage.relay.deliver_batch()
        await stage.relay.deliver_batch()
        await stage.outcome(handle)
    await keep_history(request, "redemption_claimed_and_approved", handle)
    assert partner.received[0].event["reward"]["fulfillmentData"] == {"size": "M"}
    assert await path(stage, redemption) == ["pending_claim", "pending_approval", "pending", "processing", "expired"]
    document = await stage.document(redemption)
    assert document["fields"] == {"size": "M"}
    assert await stage.points() == (100, 0, 5)
    assert await stage.world.findings() == []


@pytest.mark.parametrize("first", [RedemptionState.PENDING_CLAIM, RedemptionState.PENDING_APPROVAL])
async def test_a_wait_has_a_deadline_of_seven_days_that_returns_the_points(stage, request, first):
    claim = first is RedemptionState.PENDING_CLAIM
    redemption = await redeem(stage, requires_claim=claim, requires_approval=not claim)
    assert redemption.deadline_at == redemption.created_at + timedelta(days=7)
    handle = await stage.start(redemption)
    assert await stage.outcome(handle) == "expired"
    await keep_history(request, f"redemption_{first.value}_expired", handle)
    assert await path(stage, redemption) == [first.value, "expired"]
    assert await stage.points() == (100, 0, 5)


async def test_the_deadline_for_the_fulfilment_counts_from_the_approval(stage):
    redemption = await redeem(stage, requires_approval=True, fulfilment={"type": "manual", "deadline_seconds": 60})
    handle = await stage.start(redemption)
    await move(stage, redemption, APPROVED)
    document = await stage.document(redemption)
    assert document["deadline_at"] < (redemption.created_at + timedelta(hours=1)).isoformat()
    await stage.relay.deliver_batch()
    assert await stage.outcome(handle) == "expired"
    assert await path(stage, redemption) == ["pending_approval", "pending", "expired"]


async def test_a_rejection_returns_the_points_and_ends_the_workflow(stage):
    redemption = await redeem(stage, requires_approval=True)
    handle = await stage.start(redemption)
    await move(stage, redemption, Move(to=RedemptionState.CANCELLED, by="admin", only_from=frozenset({RedemptionState.PENDING_APPROVAL})))
    await stage.relay.deliver_batch()
    assert await stage.outcome(handle) == "cancelled"
    assert await stage.points() == (100, 0, 5)


async def test_a_code_is_given_at_once(stage):
    await stage.world.user("u1", 100)
    reward = await stage.world.reward("voucher", price=10, fulfilment={"type": "codes"})
    async with transaction(stage.pool) as connection:
        await add_codes(connection, stage.world.tenant_id, reward.reward_id, ["SECRET-1", "SECRET-2"], now=utc_now())
    redemption = await stage.world.redeem("u1", "voucher")
    handle = await stage.start(redemption)
    assert await stage.outcome(handle) == "fulfilled"
    assert (await stage.document(redemption))["fulfillment_data"] == {"code": "SECRET-1"}
    assert await stage.points() == (90, 0, 1)
    history = b"".join(event.SerializeToString() for event in (await handle.fetch_history()).events)
    assert b"SECRET" not in history
    assert await stage.world.findings() == []


async def test_a_wallet_is_credited_once_after_the_approval(stage):
    redemption = await redeem(stage, type="points", value=40, fulfilment={"type": "wallet"}, requires_approval=True)
    handle = await stage.start(redemption)
    assert (await stage.points())[:2] == (100, 10)
    await move(stage, redemption, APPROVED)
    await stage.relay.deliver_batch()
    assert await stage.outcome(handle) == "fulfilled"
    assert await stage.points() == (130, 0, 4)
    assert await stage.world.findings() == []


async def test_manual_work_waits_for_a_person(stage):
    async with a_partner(200) as partner:
        await stage.endpoint(partner.url)
        redemption = await redeem(stage, fulfilment={"type": "manual"})
        handle = await stage.start(redemption)
        await move(stage, redemption, Move(to=RedemptionState.FULFILLED, by="admin", note="sent by post"))
        await stage.relay.deliver_batch()
        assert await stage.outcome(handle) == "fulfilled"
    assert partner.received == []
    assert await stage.points() == (90, 0, 4)


async def test_claim_cancel_and_deadline_at_once_have_one_winner(stage):
    for _ in range(6):
        redemption = await redeem_again(stage)
        wishes = [
            CLAIMED,
            Move(to=RedemptionState.CANCELLED, by="gamer", only_from=WAITING),
            Move(to=RedemptionState.EXPIRED, by="workflow", only_from=frozenset({RedemptionState.PENDING_CLAIM})),
            CLAIMED,
        ]
        results = await asyncio.gather(*(move(stage, redemption, wish) for wish in wishes), return_exceptions=True)
        (winner,) = [each.status for each in results if not isinstance(each, BaseException) and each.decision is Decision.MOVE]
        assert all(isinstance(each, InvalidState) for each in results if isinstance(each, BaseException))
        assert (await path(stage, redemption))[-1] == winner
        if winner is RedemptionState.PENDING:
            await move(stage, redemption, Move(to=RedemptionState.FAILED, by="admin"))
        assert await stage.points() == (100, 0, 5)
    assert await stage.world.findings() == []


async def redeem_again(stage: Stage):
    if not await stage.world.rows("SELECT 1 FROM reward"):
        return await redeem(stage, requires_claim=True)
    return await stage.world.redeem("u1", "voucher")


async def test_a_claim_just_before_the_workflows_own_deadline_is_left_alone(stage):
    from activities.redemption import RedemptionActivities
    from domain.redemption.messages import SettleInput

    redemption = await redeem(stage, requires_claim=True)
    await move(stage, redemption, CLAIMED)
    given = SettleInput(
        tenant_id=redemption.tenant_id,
        redemption_id=redemption.redemption_id,
        to=RedemptionState.EXPIRED,
        note="late",
        only_from=RedemptionState.PENDING_CLAIM,
    )
    settled = await RedemptionActivities(stage.pool).settle(given)
    assert (settled.status, settled.number) == (RedemptionState.PENDING, 2)
