import asyncio

import msgspec
import pytest
import pytest_asyncio

from domain.errors import (
    InsufficientPoints,
    NotEligible,
    OutOfStock,
    RewardNotFound,
    UserNotFound,
    ValidationError,
)
from domain.redemption.redemption import Move, RedemptionState
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.redemption.move import move_redemption
from storage.redemption.redemption import document_of, find_redemption
from storage.reward.reward import archive_reward
from tests.builders.store import World, make_world


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


async def test_redeeming_answers_exactly_what_is_kept(world: World):
    await world.user("ann", 100)
    await world.reward(price=30, stock=5, value=10, type="bonus_credit", fields=[{"name": "phone", "required": True}])
    redemption = await world.redeem("ann", fields={"phone": "0901"})
    async with world.pool.connection() as connection:
        assert await find_redemption(connection, world.tenant_id, redemption.redemption_id) == redemption
        document = msgspec.to_builtins(await document_of(connection, world.tenant_id, redemption.redemption_id))
    assert document["points_spent"] == 30
    assert document["reward"] == redemption.reward
    assert [(row["from"], row["to"], row["by"]) for row in document["timeline"]] == [(None, "pending", "test")]
    (command,) = await world.rows("SELECT kind, workflow_id FROM outbox")
    assert command == {"kind": "start", "workflow_id": document["workflow_id"]}


async def test_nothing_is_written_when_redeeming_is_refused(world: World):
    ann = await world.user("ann", 100)
    empty, dear = await world.reward("empty", price=10, stock=0), await world.reward("dear", price=101, stock=5)
    await world.reward("form", price=10, fields=[{"name": "email", "required": True}])
    await world.reward("off", price=10, active=False)
    gone = await world.reward("gone", price=10)
    async with transaction(world.pool) as connection:
        await archive_reward(connection, world.tenant_id, gone.reward_id, utc_now())
    for slug, refusal in {
        "empty": OutOfStock,
        "dear": InsufficientPoints,
        "form": ValidationError,
        "off": NotEligible,
        "gone": RewardNotFound,
        "none": RewardNotFound,
    }.items():
        with pytest.raises(refusal):
            await world.redeem("ann", slug)
    with pytest.raises(UserNotFound):
        await world.redeem("nobody", "dear")
    with pytest.raises(ValidationError):
        await world.redeem("ann", "dear", currency="gold")
    assert (await world.account(ann)).available == 100
    assert (await world.stock(empty), await world.stock(dear)) == (0, 5)
    for table in ("redemption", "redemption_move", "hold", "outbox"):
        assert await world.rows(f"SELECT * FROM {table}") == []
    assert await world.findings() == []


async def test_200_users_with_too_few_points_leave_the_last_ten_pieces_alone(world: World):
    reward = await world.reward(price=10, stock=10)
    for number in range(20):
        await world.user(f"u{number}", 9)
    outcomes = await asyncio.gather(*(world.try_redeem(f"u{turn % 20}") for turn in range(200)))
    assert set(outcomes) == {"INSUFFICIENT_POINTS"}
    assert await world.stock(reward) == 10
    assert await world.rows("SELECT * FROM redemption") == []
    assert await world.findings() == []


async def test_exactly_ten_of_200_concurrent_redemptions_get_the_last_ten_pieces(world: World):
    reward = await world.reward(price=10, stock=10)
    for number in range(20):
        await world.user(f"u{number}", 1000)
    outcomes = await asyncio.gather(*(world.try_redeem(f"u{turn % 20}") for turn in range(200)))
    assert sorted(outcomes) == ["OUT_OF_STOCK"] * 190 + ["redeemed"] * 10
    assert await world.stock(reward) == 0
    (total,) = await world.rows("SELECT sum(held)::integer AS held FROM account")
    assert total["held"] == 100
    assert await world.findings() == []


async def test_a_piece_comes_back_once_when_a_redemption_fails(world: World):
    await world.user("ann", 100)
    reward = await world.reward(price=10, stock=1)
    redemption = await world.redeem("ann")
    assert await world.try_redeem("ann") == "OUT_OF_STOCK"
    async with transaction(world.pool) as connection:
        await move_redemption(
            connection, world.tenant_id, redemption.redemption_id, Move(to=RedemptionState.FAILED, by="test"), now=utc_now()
        )
    assert await world.stock(reward) == 1
    assert await world.try_redeem("ann") == "redeemed"


async def test_a_free_reward_needs_no_points_and_holds_none(world: World):
    await world.user("ann")
    await world.reward(price=0)
    assert (await world.redeem("ann")).points_spent == 0
    assert await world.rows("SELECT * FROM hold") == []
    assert await world.findings() == []
