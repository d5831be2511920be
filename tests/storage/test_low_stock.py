"""Low stock is told once each time that it is crossed, for stock, for variants and for pools of codes."""

import asyncio
import json

import pytest_asyncio

from activities.redemption import RedemptionActivities
from domain.redemption.messages import RedemptionInput
from domain.redemption.redemption import Move, RedemptionState
from loops.sweep import watch_stock
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.redemption.move import move_redemption
from storage.reward.code import add_codes
from storage.reward.low_stock import tell_low_stock
from storage.webhook.endpoint import NewEndpoint, create_endpoint
from tests.builders.store import World, make_world


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    made = await make_world(pool)
    async with transaction(pool) as connection:
        asks = NewEndpoint(url="http://127.0.0.1:9/", events=["reward.low_stock"])
        await create_endpoint(connection, made.tenant_id, asks, b"sealed", now=utc_now())
    await made.user("ann", 1000)
    return made


async def begun(world: World, **more):
    """A sale, and what its workflow does first."""
    redemption = await world.redeem("ann", **more)
    await RedemptionActivities(world.pool).begin(RedemptionInput(tenant_id=world.tenant_id, redemption_id=redemption.redemption_id))
    return redemption


async def told(world: World):
    rows = await world.rows("SELECT body FROM webhook_delivery WHERE event = 'reward.low_stock' ORDER BY delivery_id")
    return [json.loads(row["body"]) for row in rows]


async def test_a_sale_that_comes_down_to_it_is_told_and_the_next_ones_are_not(world: World):
    reward = await world.reward(price=1, stock=4, fulfilment={"type": "manual"}, config={"low_stock": 2})
    await begun(world)
    assert await told(world) == []
    for _ in range(2):
        await begun(world)
    assert await watch_stock(world.pool) == 0
    (notice,) = await told(world)
    assert list(notice) == ["event", "reward_id", "slug", "name", "variant_id", "stock", "low_stock", "timestamp"]
    assert notice | {"timestamp": ""} == {
        "event": "reward.low_stock", "reward_id": str(reward.reward_id), "slug": "voucher", "name": "voucher", "variant_id": None,
        "stock": 2, "low_stock": 2, "timestamp": "",
    }  # fmt: skip


async def test_it_is_told_again_after_there_was_more(world: World):
    await world.reward(price=1, stock=3, fulfilment={"type": "manual"}, config={"low_stock": 2})
    sold = await begun(world)
    async with transaction(world.pool) as connection:
        await move_redemption(connection, world.tenant_id, sold.redemption_id, Move(to=RedemptionState.CANCELLED, by="test"), now=utc_now())
    assert await watch_stock(world.pool) == 0
    await begun(world)
    assert len(await told(world)) == 2


async def test_a_crowd_of_sales_tells_it_once(world: World):
    await world.reward(price=1, stock=30, fulfilment={"type": "manual"}, config={"low_stock": 20})
    await asyncio.gather(*(begun(world) for _ in range(25)))
    (notice,) = await told(world)
    assert notice["stock"] <= 20


async def test_pools_of_codes_and_variants_run_low_on_their_own(world: World):
    codes = await world.reward("codes", price=1, fulfilment={"type": "codes"}, config={"low_stock": 1})
    variants = [{"id": "s", "name": "S", "stock": 5}, {"id": "m", "name": "M", "stock": 2}]
    await world.reward("shirt", price=1, fulfilment={"type": "manual"}, variants=variants, config={"low_stock": 1})
    async with transaction(world.pool) as connection:
        await add_codes(connection, world.tenant_id, codes.reward_id, ["A", "B"], now=utc_now())
    assert await watch_stock(world.pool) == 0
    await begun(world, slug="codes")
    await begun(world, slug="shirt", variant_id="s")
    await begun(world, slug="shirt", variant_id="m")
    assert [(each["slug"], each["variant_id"], each["stock"]) for each in await told(world)] == [("codes", None, 1), ("shirt", "m", 1)]


async def test_what_is_low_without_a_sale_is_found_by_the_sweep(world: World):
    await world.reward(price=1, stock=1, config={"low_stock": 5})
    await world.reward("silent", price=1, stock=0)
    assert await watch_stock(world.pool) == 1
    assert await watch_stock(world.pool) == 0


async def test_what_was_told_takes_no_place_from_what_was_not(world: World):
    for number in range(5):
        await world.reward(f"r{number}", price=1, stock=1, config={"low_stock": 5})
    for expected in (2, 2, 1, 0):
        async with transaction(world.pool) as connection:
            assert await tell_low_stock(connection, utc_now(), limit=2) == expected
    assert len({each["slug"] for each in await told(world)}) == 5
