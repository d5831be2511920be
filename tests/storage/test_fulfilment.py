"""The kinds of fulfilment: what each gives, takes back, and never gives twice (contract 4, Store)."""

import asyncio
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest
import pytest_asyncio

from cli.codes import batches
from domain.errors import InsufficientPoints, InvalidState, ValidationError
from domain.points.ledger import Adjustment
from domain.redemption.redemption import Decision, Move, RedemptionState
from domain.reward.reward import RewardFulfilment
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from storage.points.adjustment import adjust
from storage.redemption.fulfilment import KINDS
from storage.redemption.fulfilment.codes import reserve_many
from storage.redemption.move import move_redemption
from storage.redemption.redemption import document_of
from storage.reward.code import add_codes, copy_codes, pool_sizes
from tests.builders.store import World, make_world


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


def test_every_kind_that_a_reward_may_name_is_in_the_registry():
    assert set(get_args(get_type_hints(RewardFulfilment)["type"])) == set(KINDS)


async def with_codes(world: World, *codes: str, **more):
    reward = await world.reward(fulfilment={"type": "codes"}, **more)
    async with transaction(world.pool) as connection:
        await add_codes(connection, world.tenant_id, reward.reward_id, codes, now=utc_now())
    return reward


async def move(world: World, redemption, to: RedemptionState, **more):
    async with transaction(world.pool) as connection:
        return await move_redemption(connection, world.tenant_id, redemption.redemption_id, Move(to=to, by="test", **more), now=utc_now())


async def document(world: World, redemption):
    async with transaction(world.pool) as connection:
        return msgspec.to_builtins(await document_of(connection, world.tenant_id, redemption.redemption_id))


async def sizes(world: World, reward):
    async with world.pool.connection() as connection:
        pool = await pool_sizes(connection, world.tenant_id, reward.reward_id)
    assert pool.left == await world.stock(reward), "the stock is what is left of the pool"
    return pool.total, pool.left


async def test_a_code_is_set_apart_when_redeeming_and_shown_when_fulfilled(world: World):
    await world.user("ann", 100)
    reward = await with_codes(world, "A", "B")
    first = await world.redeem("ann")
    assert await sizes(world, reward) == (2, 1)
    assert (await document(world, first))["fulfillment_data"] == {}
    await move(world, first, RedemptionState.FULFILLED, fulfillment_data={"by": "hand"})
    assert (await document(world, first))["fulfillment_data"] == {"by": "hand", "code": "A"}
    second = await world.redeem("ann")
    assert await world.try_redeem("ann") == "OUT_OF_STOCK"
    await move(world, second, RedemptionState.CANCELLED)
    assert await sizes(world, reward) == (2, 1)
    third = await world.redeem("ann")
    await move(world, third, RedemptionState.FULFILLED)
    assert (await document(world, third))["fulfillment_data"] == {"code": "B"}
    await move(world, third, RedemptionState.REVERSED)
    assert await sizes(world, reward) == (2, 0), "a code that somebody has seen does not come back"
    assert await world.findings() == []


async def test_a_code_is_imported_once_for_ever(world: World):
    await world.user("ann", 100)
    reward = await with_codes(world, "A", "A", "B")
    await move(world, await world.redeem("ann"), RedemptionState.FULFILLED)
    async with transaction(world.pool) as connection:
        assert await add_codes(connection, world.tenant_id, reward.reward_id, ["A", "B", "C"], now=utc_now()) == 1
        assert await copy_codes(connection, world.tenant_id, reward.reward_id, ["A", "C", "D", "D"], now=utc_now()) == 1
    assert await sizes(world, reward) == (4, 3)


async def test_imports_and_sales_at_once_keep_the_stock_equal_to_the_pool(world: World):
    await world.user("ann", 1000)
    reward = await with_codes(world, *(f"C{number:03}" for number in range(20)))

    async def bring(codes: list[str]) -> int:
        async with transaction(world.pool) as connection:
            return await add_codes(connection, world.tenant_id, reward.reward_id, codes, now=utc_now())

    more = [f"D{number:03}" for number in range(200)]
    *sold, first, second = await asyncio.gather(*(world.try_redeem("ann") for _ in range(15)), bring(more), bring(more[::-1]))
    assert sold == ["redeemed"] * 15
    assert first + second == 200
    assert await sizes(world, reward) == (220, 205)


async def test_no_code_goes_to_two_of_60_at_once_and_the_pool_is_given_to_the_last(world: World):
    for number in range(10):
        await world.user(f"u{number}", 1000)
    reward = await with_codes(world, *(f"C{number}" for number in range(25)))
    outcomes = await asyncio.gather(*(world.try_redeem(f"u{turn % 10}") for turn in range(60)))
    assert sorted(outcomes) == ["OUT_OF_STOCK"] * 35 + ["redeemed"] * 25
    assert await sizes(world, reward) == (25, 0)
    rows = await world.rows("SELECT count(DISTINCT redemption_id)::int AS n, count(DISTINCT code)::int AS codes FROM reward_code")
    assert rows == [{"n": 25, "codes": 25}]
    assert await world.findings() == []


async def test_fulfilling_and_cancelling_at_once_give_the_code_to_one_side(world: World):
    await world.user("ann", 1000)
    reward = await with_codes(world, *(f"C{number}" for number in range(8)))
    for _ in range(8):
        redemption = await world.redeem("ann")
        before = await sizes(world, reward)
        wishes = [RedemptionState.FULFILLED, RedemptionState.CANCELLED, RedemptionState.EXPIRED, RedemptionState.FAILED]
        results = await asyncio.gather(*(move(world, redemption, wish) for wish in wishes), return_exceptions=True)
        (winner,) = [each.status for each in results if not isinstance(each, BaseException) and each.decision is Decision.MOVE]
        assert all(isinstance(each, InvalidState) for each in results if isinstance(each, BaseException))
        assert (await sizes(world, reward))[1] == before[1] + (winner is not RedemptionState.FULFILLED)
    assert await world.findings() == []


async def test_a_switch_to_codes_counts_the_pool(world: World):
    from domain.reward.reward import parse_reward
    from domain.reward.reward_wire import reward_body_wire
    from storage.points.currency import currencies_of
    from storage.reward.reward import write_reward

    reward = await with_codes(world, "A", "B")
    async with transaction(world.pool) as connection:
        currencies = await currencies_of(connection, world.tenant_id)
        body = parse_reward({**reward_body_wire(reward, currencies), "name": "Other"})
        written = await write_reward(connection, world.tenant_id, reward.reward_id, body=body, currencies=currencies, now=utc_now())
    assert (written.name, written.stock) == ("Other", 2)


async def test_a_wallet_reward_credits_the_account_once_and_a_reversal_takes_it_back(world: World):
    ann = await world.user("ann", 100)
    await world.reward(price=10, type="points", value=25, fulfilment={"type": "wallet"})
    redemption = await world.redeem("ann")
    await move(world, redemption, RedemptionState.FULFILLED)
    account = await world.account(ann)
    assert (account.posted, account.held, account.lifetime_earned, account.lifetime_spent) == (115, 0, 125, 10)
    assert (await document(world, redemption))["fulfillment_data"] == {"currency": "points", "amount": 25}
    assert await world.findings() == []
    await move(world, redemption, RedemptionState.REVERSED)
    assert (await world.account(ann)).posted == 100
    assert await world.findings() == []


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE reward_code SET redemption_id = NULL RETURNING 1",
        "UPDATE redemption SET status = 'failed' WHERE fulfilment ->> 'type' = 'codes' RETURNING 1",
        "UPDATE transfer SET cause_id = 'other' WHERE kind = 'grant' RETURNING 1",
        "UPDATE redemption SET fulfilment = '{\"type\": \"manual\"}' WHERE fulfilment ->> 'type' = 'wallet' RETURNING 1",
    ],
)
async def test_the_ledgers_proof_sees_what_was_given_wrongly(world: World, tampering: str):
    await world.user("ann", 100)
    await with_codes(world, "A", price=0)
    await world.reward("wallet", price=0, type="points", value=25, fulfilment={"type": "wallet"})
    for slug in ("voucher", "wallet"):
        await move(world, await world.redeem("ann", slug), RedemptionState.FULFILLED)
    assert await world.findings() == []
    await world.rows(tampering)
    assert await world.findings() != []


async def test_what_was_spent_already_cannot_be_taken_back(world: World):
    ann = await world.user("ann", 100)
    await world.reward(price=100, type="points", value=25, fulfilment={"type": "wallet"})
    redemption = await world.redeem("ann")
    await move(world, redemption, RedemptionState.FULFILLED)
    async with transaction(world.pool) as connection:
        spent = Adjustment(user_id=ann.user_id, currency_id="points", amount=-20, reason="spent", cause_id="x")
        await adjust(connection, world.tenant_id, spent, utc_now())
    with pytest.raises(InsufficientPoints):
        await move(world, redemption, RedemptionState.REVERSED)
    assert (await document(world, redemption))["status"] == "fulfilled"
    assert await world.findings() == []


async def test_wallets_fulfilled_and_failed_at_once_credit_or_return(world: World):
    ann = await world.user("ann", 100)
    await world.reward(price=10, type="points", value=25, fulfilment={"type": "wallet"})
    total = 100
    for _ in range(5):
        redemption = await world.redeem("ann")
        wishes = (RedemptionState.FULFILLED, RedemptionState.FAILED, RedemptionState.FULFILLED)
        results = await asyncio.gather(*(move(world, redemption, wish) for wish in wishes), return_exceptions=True)
        (winner,) = [each.status for each in results if not isinstance(each, BaseException)]
        total += 15 if winner is RedemptionState.FULFILLED else 0
        account = await world.account(ann)
        assert (account.posted, account.held) == (total, 0)
    assert await world.findings() == []


def test_a_file_of_codes_is_read_in_batches_and_an_error_names_its_line(tmp_path: Path):
    file = tmp_path / "codes"
    file.write_bytes(b"\xef\xbb\xbfA\r\n\r\nB\n C \n")
    assert list(batches(file)) == [(["A", "B", "C"], file.stat().st_size)]
    file.write_bytes(b"A\nB\x00\n")
    with pytest.raises(ValidationError, match="line 2"):
        list(batches(file))


async def test_a_code_that_somebody_only_held_for_a_moment_is_given(world: World):
    """A recipient that gets none is marked so for good, so it waits for the one that another transaction may yet give back."""
    reward = await world.reward("voucher", price=10, fulfilment={"type": "codes"})
    async with transaction(world.pool) as connection:
        await add_codes(connection, world.tenant_id, reward.reward_id, ["ONLY"], now=utc_now())

    async def serve() -> int:
        async with transaction(world.pool) as connection:
            return await reserve_many(connection, world.tenant_id, reward.reward_id, [new_id()])

    async with world.pool.connection() as holder:
        async with holder.transaction(force_rollback=True):
            await holder.execute("SELECT FROM reward_code WHERE tenant_id = %s FOR UPDATE", (world.tenant_id,))
            waiting = asyncio.create_task(serve())
            while not waiting.done() and not await world.rows("SELECT 1 FROM pg_locks WHERE NOT granted LIMIT 1"):
                await asyncio.sleep(0.02)
        assert await waiting == 1
