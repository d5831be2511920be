"""Every move has one winner and its ledger effect once (contract 4): races against real PostgreSQL."""

import asyncio

import msgspec
import pytest
import pytest_asyncio

from domain.errors import InvalidState, RedemptionNotFound
from domain.redemption.redemption import Decision, Move, RedemptionFlag, RedemptionState, read_callback
from runtime.ids import new_id, utc_now
from runtime.postgres import transaction
from storage.redemption.listing import RedemptionFilter, list_redemptions
from storage.redemption.move import move_redemption, set_flag
from storage.redemption.redemption import document_of
from tests.builders.store import make_world


@pytest_asyncio.fixture
async def world(pool):
    return await make_world(pool)


async def a_redemption(world, stock=5):
    user = await world.user("u1", 100)
    reward = await world.reward("voucher", price=10, stock=stock)
    return user, reward, await world.redeem("u1", "voucher")


async def move(world, redemption, wanted):
    async with transaction(world.pool) as connection:
        return await move_redemption(connection, world.tenant_id, redemption.redemption_id, wanted, now=utc_now())


def callback(status, **data):
    return read_callback({"status": status, "fulfillment_data": data}, "api_key:test")


async def balance(world, user, reward):
    account = await world.account(user)
    return account.posted, account.held, await world.stock(reward)


@pytest.mark.parametrize(
    ("wanted", "after"),
    [
        (RedemptionState.FULFILLED, (90, 0, 4)),
        (RedemptionState.FAILED, (100, 0, 5)),
        (RedemptionState.CANCELLED, (100, 0, 5)),
        (RedemptionState.EXPIRED, (100, 0, 5)),
        (RedemptionState.PROCESSING, (100, 10, 4)),
    ],
)
async def test_a_move_spends_or_returns_the_points(world, wanted, after):
    user, reward, redemption = await a_redemption(world)
    assert await balance(world, user, reward) == (100, 10, 4)
    moved = await move(world, redemption, Move(to=wanted, by="test"))
    assert moved.decision is Decision.MOVE
    assert await balance(world, user, reward) == after
    assert await world.findings() == []


async def test_a_reversal_refunds_and_leaves_the_stock(world):
    user, reward, redemption = await a_redemption(world)
    await move(world, redemption, callback("fulfilled"))
    await move(world, redemption, Move(to=RedemptionState.REVERSED, by="admin", note="a mistake"))
    assert await balance(world, user, reward) == (100, 0, 4)
    with pytest.raises(InvalidState):
        await move(world, redemption, Move(to=RedemptionState.REVERSED, by="admin", note="again"))
    assert await world.findings() == []


async def test_the_same_callback_again_changes_nothing_and_another_is_refused_and_kept_in_the_timeline(world):
    user, reward, redemption = await a_redemption(world)
    await move(world, redemption, callback("fulfilled", code="first"))
    assert (await move(world, redemption, callback("fulfilled", code="second"))).decision is Decision.UNCHANGED
    for _ in range(3):
        refused = await move(world, redemption, callback("failed"))
        assert (refused.decision, refused.status) == (Decision.REFUSED, RedemptionState.FULFILLED)
    async with transaction(world.pool) as connection:
        document = msgspec.to_builtins(await document_of(connection, world.tenant_id, redemption.redemption_id))
    assert document["fulfillment_data"] == {"code": "first"}
    assert [row["note"] for row in document["timeline"]] == [None, None, "callback 'failed' refused: already fulfilled"]
    assert await balance(world, user, reward) == (90, 0, 4)


async def test_callback_deadline_and_cancel_at_once_have_one_winner(pool):
    for _ in range(5):
        world = await make_world(pool)
        user, reward, redemption = await a_redemption(world)
        before = await balance(world, user, reward)
        wishes = [
            callback("fulfilled"),
            callback("failed"),
            callback("fulfilled"),
            Move(to=RedemptionState.EXPIRED, by="workflow", from_workflow=True),
            Move(to=RedemptionState.CANCELLED, by="admin"),
        ]
        results = await asyncio.gather(*(move(world, redemption, wish) for wish in wishes), return_exceptions=True)
        winners = [each for each in results if not isinstance(each, BaseException) and each.decision is Decision.MOVE]
        assert len(winners) == 1
        assert all(isinstance(each, InvalidState) for each in results if isinstance(each, BaseException))
        spent = 10 if winners[0].status is RedemptionState.FULFILLED else 0
        after = await balance(world, user, reward)
        assert after == (before[0] - spent, before[1] - 10, before[2] + (0 if spent else 1))
        assert await world.findings() == []


async def test_each_outside_move_tells_the_workflow_and_its_own_do_not(world):
    _, _, redemption = await a_redemption(world)
    await move(world, redemption, Move(to=RedemptionState.PROCESSING, by="workflow", from_workflow=True))
    await move(world, redemption, callback("fulfilled"))
    rows = await world.rows("SELECT kind, name, argument FROM outbox ORDER BY outbox_id")
    assert [(row["kind"], row["name"]) for row in rows] == [("start", "RedemptionWorkflow"), ("update", "moved:3")]
    assert rows[1]["argument"] == {"status": "fulfilled", "number": 3, "by": "api_key:test", "note": None, "flags": []}


@pytest.mark.parametrize("flag", RedemptionFlag)
@pytest.mark.parametrize(
    ("outcome", "keeps"),
    [
        (RedemptionState.PROCESSING, True),
        (RedemptionState.FULFILLED, False),
        (RedemptionState.FAILED, False),
        (RedemptionState.CANCELLED, False),
        (RedemptionState.EXPIRED, True),
    ],
)
async def test_an_outcome_that_somebody_brought_about_ends_a_flag_and_an_expiry_keeps_its_reason(world, flag, outcome, keeps):
    _, _, redemption = await a_redemption(world)
    async with transaction(world.pool) as connection:
        await set_flag(connection, world.tenant_id, redemption.redemption_id, flag, now=utc_now())
    await move(world, redemption, Move(to=outcome, by="staff", note="by hand"))
    async with transaction(world.pool) as connection:
        document = msgspec.to_builtins(await document_of(connection, world.tenant_id, redemption.redemption_id))
    assert document["flags"] == ([flag] if keeps else [])
    (told,) = await world.rows("SELECT argument FROM outbox WHERE name LIKE 'moved:%%'")
    assert told["argument"]["flags"] == document["flags"], "its workflow shows the same"


async def test_another_tenants_redemption_looks_like_none(world, pool):
    _, _, redemption = await a_redemption(world)
    other = await make_world(pool)
    with pytest.raises(RedemptionNotFound):
        await move(other, redemption, callback("fulfilled"))
    with pytest.raises(RedemptionNotFound):
        async with transaction(pool) as connection:
            await document_of(connection, world.tenant_id, new_id())


async def test_lists_are_filtered_and_paged(world):
    user, _, first = await a_redemption(world)
    second = await world.redeem("u1", "voucher")
    await move(world, second, callback("failed", reason="none left"))

    async def ids(**wanted):
        async with transaction(world.pool) as connection:
            return [str(each.redemption_id) for each in await list_redemptions(connection, world.tenant_id, RedemptionFilter(**wanted))]

    assert await ids() == [str(second.redemption_id), str(first.redemption_id)]
    assert await ids(status="failed", user_id=user.user_id) == [str(second.redemption_id)]
    assert await ids(limit=1, before=second.redemption_id) == [str(first.redemption_id)]
    assert await ids(created_from=utc_now()) == []
