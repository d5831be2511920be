"""A balance has at most what a JSON number carries: what would give more gives what there is room for, skips the user, or is refused."""

import random

import pytest
import pytest_asyncio

from domain.errors import LimitReached
from domain.points.ledger import POINTS, Adjustment, GrantCredit
from domain.tenant.user import User
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from storage.points.adjustment import adjust
from storage.points.ledger import post_earnings, post_grants
from tests.builders.payout import closed_window, config, grants, item, make_run, pay_all, the_run, tier
from tests.builders.store import World, make_world

MOST = 2**53 - 1


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


async def filled(world: World, name: str, room: int) -> User:
    """A user whose balance has room for so much."""
    user = await world.user(name)
    async with transaction(world.pool) as connection:
        given = Adjustment(user_id=user.user_id, currency_id=POINTS, amount=MOST - room, reason="x", cause_id=str(new_id()))
        await adjust(connection, world.tenant_id, given, utc_now())
    return user


async def test_earnings_fill_a_balance_and_the_others_of_the_batch_get_theirs(world: World) -> None:
    dice = random.Random(11)
    for turn in range(12):
        rooms = {f"u{turn}-{number}": dice.choice([0, 1, 5, 30, 10**9]) for number in range(3)}
        users = {name: await filled(world, name, room) for name, room in rooms.items()}
        batch = [(dice.choice(list(users)), dice.choice([1, 2, 7, 10**9, 10**13])) for _ in range(dice.randint(1, 12))]
        async with transaction(world.pool) as connection:
            await post_earnings(connection, [world.earning(users[name], amount) for name, amount in batch], utc_now())
        for name, user in users.items():
            wished = sum(amount for whose, amount in batch if whose == name)
            account = await world.account(user)
            assert account.posted == MOST - rooms[name] + min(wished, rooms[name])
            assert account.lifetime_earned == min(wished, rooms[name])
    assert await world.findings() == []


async def test_points_that_wait_count_as_well(world: World) -> None:
    ann = await filled(world, "ann", 10)
    await world.rows("UPDATE currency SET pending_seconds = 3600 WHERE tenant_id = %s RETURNING 1", (world.tenant_id,))
    async with transaction(world.pool) as connection:
        await post_earnings(connection, [world.earning(ann, 8), world.earning(ann, 8)], utc_now())
    account = await world.account(ann)
    assert (account.posted, account.pending) == (MOST - 10, 10)
    assert await world.findings() == []


async def test_grants_beyond_are_refused_and_nobody_gets_one(world: World) -> None:
    ann, bob = await filled(world, "ann", 5), await world.user("bob", 1)
    given = [GrantCredit(user_id=user.user_id, currency_id=POINTS, amount=6, grant_id=new_id(), note="n") for user in (bob, ann)]
    async with transaction(world.pool) as connection:
        with pytest.raises(LimitReached):
            await post_grants(connection, world.tenant_id, given, utc_now())
    assert ((await world.account(ann)).posted, (await world.account(bob)).posted) == (MOST - 5, 1)
    assert await world.findings() == []


async def test_a_payout_skips_those_whose_balance_is_full_and_pays_all_others(world: World) -> None:
    users = [await filled(world, name, room) for name, room in (("a", 6), ("b", 7), ("c", 0), ("d", 100))] + [await world.user("e")]
    coins, badge = item(amount=7), item()
    run_id = await make_run(world, await closed_window(world, users), config((tier(), [coins, badge])))
    ended = await pay_all(world, run_id, size=5)
    assert (ended.status, ended.paid, ended.skipped) == ("completed", 3, 2)
    reasons = await world.rows("SELECT external_user_id, reason FROM payout_recipient WHERE state = 'skipped' ORDER BY 1")
    assert [(row["external_user_id"], row["reason"]) for row in reasons] == [("a", "balance_full"), ("c", "balance_full")]
    assert sorted({user for user, _ in await grants(world)}) == ["b", "d", "e"]
    assert (await world.account(users[1])).posted == MOST
    assert await world.findings() == []


async def test_a_payout_gives_no_more_of_a_currency_than_a_json_number_carries(world: World) -> None:
    users = [await world.user(f"u{number}") for number in range(4)]
    large = item(amount=MOST // 3)
    run_id = await make_run(world, await closed_window(world, users), config((tier(), [large])))
    assert (await pay_all(world, run_id)).status == "completed"
    run = await the_run(world, run_id)
    assert (run.recipients, run.not_covered, run.total["points"]) == (3, 1, MOST // 3 * 3)
