"""Limits, variants, windows of time and eligibility, in the redeem transaction (contract 4, Store)."""

import asyncio
from datetime import timedelta

import pytest
import pytest_asyncio

from domain.errors import NotEligible, UserLimitReached
from domain.redemption.redemption import RETURNED, Move, RedemptionState
from domain.reward.reward import parse_reward
from domain.reward.reward_wire import reward_body_wire
from domain.tenant.user import Identify
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.points.currency import currencies_of
from storage.redemption.move import move_redemption
from storage.redemption.redemption import document_of
from storage.reward.reward import find_reward, rewards_on_sale, write_reward
from storage.tenant.user import identify
from tests.builders.store import World, make_world


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


async def move(world: World, redemption, *states: RedemptionState) -> None:
    for state in states:
        async with transaction(world.pool) as connection:
            await move_redemption(connection, world.tenant_id, redemption.redemption_id, Move(to=state, by="test"), now=utc_now())


async def test_a_user_gets_no_more_than_the_limit_and_another_user_has_its_own(world: World):
    await world.user("ann", 100)
    await world.user("bob", 100)
    await world.reward(price=1, max_per_user=2)
    assert [await world.try_redeem("ann") for _ in range(3)] == ["redeemed", "redeemed", "USER_LIMIT_REACHED"]
    assert await world.try_redeem("bob") == "redeemed"
    assert await world.findings() == []


@pytest.mark.parametrize("state", sorted(RETURNED))
async def test_what_came_back_does_not_count_towards_the_limit(world: World, state: RedemptionState):
    await world.user("ann", 100)
    await world.reward(price=1, max_per_user=1)
    redemption = await world.redeem("ann")
    assert await world.try_redeem("ann") == "USER_LIMIT_REACHED"
    await move(world, redemption, *([RedemptionState.FULFILLED] if state is RedemptionState.REVERSED else []), state)
    assert await world.try_redeem("ann") == "redeemed"


async def test_a_limit_begins_anew_with_the_tenants_day(world: World):
    await world.user("ann", 100)
    await world.reward(price=1, max_per_user=1, per_user_period="day")
    redemption = await world.redeem("ann")
    assert await world.try_redeem("ann") == "USER_LIMIT_REACHED"
    async with transaction(world.pool) as connection:
        await connection.execute(
            "UPDATE redemption SET created_at = created_at - %s WHERE redemption_id = %s", (timedelta(days=1), redemption.redemption_id)
        )
    assert await world.try_redeem("ann") == "redeemed"


@pytest.mark.parametrize("price", [0, 1])
async def test_redeeming_20_times_at_once_never_exceeds_the_limit(world: World, price: int):
    await world.user("ann", 100)
    reward = await world.reward(price=price, max_per_user=3, stock=50)
    outcomes = await asyncio.gather(*(world.try_redeem("ann") for _ in range(20)))
    assert sorted(outcomes) == ["USER_LIMIT_REACHED"] * 17 + ["redeemed"] * 3
    assert await world.stock(reward) == 47
    assert await world.findings() == []


async def test_the_refusal_says_the_limit(world: World):
    await world.user("ann", 100)
    await world.reward(price=1, max_per_user=1)
    await world.redeem("ann")
    with pytest.raises(UserLimitReached) as refused:
        await world.redeem("ann")
    assert refused.value.facts == {"limit": 1}


async def test_a_variant_has_its_own_price_stock_and_value(world: World):
    ann = await world.user("ann", 100)
    large = {"id": "l", "name": "L", "prices": [{"currency": "points", "amount": 30}], "stock": 1, "value": "large"}
    reward = await world.reward(price=10, stock=5, value="any", variants=[{"id": "s", "name": "S"}, large])
    assert await world.try_redeem("ann") == "VALIDATION_ERROR"
    redemption = await world.redeem("ann", variant_id="l")
    assert (redemption.points_spent, redemption.reward["value"], redemption.variant_id) == (30, "large", "l")
    assert await world.try_redeem("ann", variant_id="l") == "OUT_OF_STOCK"
    await world.redeem("ann", variant_id="s")
    assert (await world.account(ann)).held == 40
    assert await stocks(world, reward) == (4, {"l": 0})
    await move(world, redemption, RedemptionState.FAILED)
    assert await stocks(world, reward) == (4, {"l": 1})
    async with transaction(world.pool) as connection:
        assert (await document_of(connection, world.tenant_id, redemption.redemption_id)).variant_id == "l"
    assert await world.findings() == []


async def stocks(world: World, reward):
    async with world.pool.connection() as connection:
        found = await find_reward(connection, world.tenant_id, reward_id=reward.reward_id)
    assert found is not None
    return found.stock, found.variant_stock


async def test_a_change_of_the_reward_loses_no_sale_of_a_variant(world: World):
    await world.user("ann", 100)
    reward = await world.reward(price=1, stock=9, variants=[{"id": "s", "name": "S", "stock": 5}, {"id": "m", "name": "M"}])
    async with transaction(world.pool) as connection:
        present = await find_reward(connection, world.tenant_id, reward_id=reward.reward_id, lock=True)
        assert present is not None
        sales = [asyncio.create_task(world.try_redeem("ann", variant_id=name)) for name in ("s", "m")]
        await asyncio.wait(sales, timeout=0.5)
        currencies = await currencies_of(connection, world.tenant_id)
        body = parse_reward(reward_body_wire(present, currencies))
        await write_reward(connection, world.tenant_id, reward.reward_id, body=body, currencies=currencies, now=utc_now())
    assert await asyncio.gather(*sales) == ["redeemed", "redeemed"]
    assert await stocks(world, reward) == (8, {"s": 4})


async def test_the_last_three_pieces_of_a_variant_go_to_three_of_30(world: World):
    for number in range(10):
        await world.user(f"u{number}", 100)
    reward = await world.reward(price=1, variants=[{"id": "s", "name": "S", "stock": 3}])
    outcomes = await asyncio.gather(*(world.try_redeem(f"u{turn % 10}", variant_id="s") for turn in range(30)))
    assert sorted(outcomes) == ["OUT_OF_STOCK"] * 27 + ["redeemed"] * 3
    assert await stocks(world, reward) == (None, {"s": 0})
    assert await world.findings() == []


async def test_availability_and_eligibility_are_checked(world: World):
    await world.user("ann", 100)
    later = (utc_now() + timedelta(hours=1)).isoformat()
    await world.reward("later", available_from=later)
    await world.reward("over", available_until=(utc_now() - timedelta(hours=1)).isoformat())
    await world.reward("local", eligibility={"attributes": {"country": {"eq": "VN"}}})
    for slug in ("later", "over", "local"):
        with pytest.raises(NotEligible):
            await world.redeem("ann", slug)
    async with transaction(world.pool) as connection:
        await identify(connection, world.tenant_id, "ann", Identify(attributes={"country": "VN"}), now=utc_now())
    assert await world.try_redeem("ann", "local") == "redeemed"


async def test_the_catalog_shows_what_is_visible_and_can_be_bought(world: World):
    hour = timedelta(hours=1)
    await world.reward("plain")
    await world.reward("hidden", visible_until=(utc_now() - hour).isoformat())
    await world.reward("later", available_from=(utc_now() + hour).isoformat())
    await world.reward("sold-out", variants=[{"id": "s", "name": "S", "stock": 0}])
    await world.reward("some-left", stock=0, variants=[{"id": "s", "name": "S", "stock": 0}, {"id": "m", "name": "M", "stock": 2}])
    await world.reward("by-variant", prices=[], variants=[{"id": "s", "name": "S", "prices": [{"currency": "points", "amount": 1}]}])

    async def slugs(**more):
        wanted = {"currency": None, "purchasable": False, "now": utc_now(), "after": None, "limit": 50} | more
        async with world.pool.connection() as connection:
            return {reward.slug for reward in await rewards_on_sale(connection, world.tenant_id, **wanted)}

    assert await slugs() == {"plain", "later", "sold-out", "some-left", "by-variant"}
    assert await slugs(purchasable=True) == {"plain", "some-left", "by-variant"}
    assert await slugs(currency="points") == await slugs()
    assert await slugs(currency="gold") == set()
