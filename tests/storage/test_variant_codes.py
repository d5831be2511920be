"""A pool of codes for each variant: its own stock, never another variant's code (contract 4, Store)."""

import asyncio

import msgspec
import pytest
import pytest_asyncio

from domain.errors import ValidationError
from domain.redemption.redemption import Move, RedemptionState
from domain.reward.code import check_pool
from domain.reward.reward import parse_reward
from domain.reward.reward_wire import reward_body_wire
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.points.currency import currencies_of
from storage.redemption.move import move_redemption
from storage.redemption.redemption import document_of
from storage.reward.code import add_codes, copy_codes, pool_sizes
from storage.reward.reward import find_reward, write_reward
from tests.builders.store import World, make_world

VARIANTS = [{"id": "ten", "name": "10 K"}, {"id": "fifty", "name": "50 K", "prices": [{"currency": "points", "amount": 50}]}]


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


async def vouchers(world: World, **pools: list[str]):
    reward = await world.reward(price=10, fulfilment={"type": "codes"}, variants=VARIANTS)
    async with transaction(world.pool) as connection:
        for variant, codes in pools.items():
            await add_codes(connection, world.tenant_id, reward.reward_id, codes, now=utc_now(), variant_id=variant)
    return reward


async def stocks(world: World, reward):
    async with world.pool.connection() as connection:
        found = await find_reward(connection, world.tenant_id, reward_id=reward.reward_id)
        sizes = await pool_sizes(connection, world.tenant_id, reward.reward_id)
    assert found is not None
    assert found.stock is None
    assert {row.variant_id: row.left for row in sizes.variants}.items() <= found.variant_stock.items()
    return found.variant_stock


async def move(world: World, redemption, to: RedemptionState):
    async with transaction(world.pool) as connection:
        await move_redemption(connection, world.tenant_id, redemption.redemption_id, Move(to=to, by="test"), now=utc_now())
        return msgspec.to_builtins(await document_of(connection, world.tenant_id, redemption.redemption_id))


async def test_each_variant_gives_its_own_codes_and_gets_an_unused_one_back(world: World):
    await world.user("ann", 500)
    reward = await vouchers(world, ten=["T1", "T2"], fifty=["F1"])
    assert await stocks(world, reward) == {"ten": 2, "fifty": 1}
    dear = await world.redeem("ann", variant_id="fifty")
    assert await world.try_redeem("ann", variant_id="fifty") == "OUT_OF_STOCK"
    cheap = await world.redeem("ann", variant_id="ten")
    assert (await move(world, cheap, RedemptionState.FULFILLED))["fulfillment_data"] == {"code": "T1"}
    await move(world, dear, RedemptionState.FAILED)
    assert await stocks(world, reward) == {"ten": 1, "fifty": 1}
    again = await world.redeem("ann", variant_id="fifty")
    assert (await move(world, again, RedemptionState.FULFILLED))["fulfillment_data"] == {"code": "F1"}
    assert await world.findings() == []


async def test_a_code_is_in_one_pool_of_its_reward_only(world: World):
    reward = await vouchers(world, ten=["X", "T"])
    async with transaction(world.pool) as connection:
        assert await copy_codes(connection, world.tenant_id, reward.reward_id, ["X", "F"], now=utc_now(), variant_id="fifty") == 1
    assert await stocks(world, reward) == {"ten": 2, "fifty": 1}
    check_pool(reward, "ten")
    for wrong in (None, "hundred"):
        with pytest.raises(ValidationError, match="variant"):
            check_pool(reward, wrong)


async def test_a_change_of_the_reward_keeps_the_pools_and_a_new_variant_begins_empty(world: World):
    await world.user("ann", 500)
    reward = await vouchers(world, ten=["T1", "T2"], fifty=["F1"])
    await world.redeem("ann", variant_id="ten")
    async with transaction(world.pool) as connection:
        present = await find_reward(connection, world.tenant_id, reward_id=reward.reward_id, lock=True)
        assert present is not None
        currencies = await currencies_of(connection, world.tenant_id)
        body = reward_body_wire(present, currencies)
        body["variants"] = [body["variants"][0], {"id": "hundred", "name": "100 K"}]
        await write_reward(connection, world.tenant_id, reward.reward_id, body=parse_reward(body), currencies=currencies, now=utc_now())
    async with world.pool.connection() as connection:
        found = await find_reward(connection, world.tenant_id, reward_id=reward.reward_id)
    assert found is not None
    assert found.variant_stock == {"ten": 1, "hundred": 0}


async def test_a_crowd_never_gets_a_code_of_another_variant_nor_one_twice(world: World):
    for number in range(8):
        await world.user(f"u{number}", 5000)
    reward = await vouchers(world, ten=[f"T{n}" for n in range(12)], fifty=[f"F{n}" for n in range(7)])
    wanted = [("ten", "fifty")[turn % 2] for turn in range(40)]
    outcomes = await asyncio.gather(*(world.try_redeem(f"u{turn % 8}", variant_id=variant) for turn, variant in enumerate(wanted)))
    sold = [variant for variant, outcome in zip(wanted, outcomes, strict=True) if outcome == "redeemed"]
    assert (sold.count("ten"), sold.count("fifty")) == (12, 7)
    assert set(outcomes) == {"redeemed", "OUT_OF_STOCK"}
    rows = await world.rows(
        "SELECT redemption.variant_id AS wanted, reward_code.variant_id AS given, count(DISTINCT code)::int AS n"
        " FROM reward_code JOIN redemption USING (tenant_id, redemption_id) GROUP BY 1, 2 ORDER BY 1"
    )
    assert [(row["wanted"], row["given"], row["n"]) for row in rows] == [("fifty", "fifty", 7), ("ten", "ten", 12)]
    assert await stocks(world, reward) == {"ten": 0, "fifty": 0}
    assert await world.findings() == []
