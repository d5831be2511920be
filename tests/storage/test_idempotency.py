import asyncio
from datetime import timedelta

import pytest
import pytest_asyncio

from domain.error import IdempotencyConflict, InsufficientPoints
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.idempotency import Claim, StoredAnswer, earlier_answer, forget_answers, keep_answer
from storage.store import redeem
from tests.store_world import World, make_world


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


def claim(key: str = "k1", *, body: bytes = b"{}", scope: str = "POST /v1/redemptions") -> Claim:
    return Claim(scope=scope, key=key, request_hash=body)


async def redeem_once(world: World, given: Claim, external_id: str = "ann") -> tuple[StoredAnswer, bool]:
    """Redeem under a key; the answer, and whether it is a repeat."""
    async with world.pool.connection() as connection, connection.pipeline(), connection.transaction():
        stored = await earlier_answer(connection, world.tenant_id, given)
        if stored is not None:
            return stored, True
        redemption = await redeem(connection, world.tenant_id, world.order(external_id), utc_now())
        answer = StoredAnswer(status=201, body=str(redemption.redemption_id).encode())
        await keep_answer(connection, world.tenant_id, given, answer, utc_now())
    return answer, False


async def test_concurrent_requests_with_one_key_have_one_effect_and_one_answer(world: World):
    ann = await world.user("ann", 1000)
    await world.reward(price=10)
    outcomes = await asyncio.gather(*(redeem_once(world, claim()) for _ in range(20)))
    assert len({answer.body for answer, _ in outcomes}) == 1
    assert [repeat for _, repeat in outcomes].count(False) == 1
    assert (await world.account(ann)).held == 10


async def test_another_body_under_the_same_key_is_a_conflict(world: World):
    await world.user("ann", 1000)
    await world.reward(price=10)
    await redeem_once(world, claim())
    with pytest.raises(IdempotencyConflict):
        await redeem_once(world, claim(body=b"{ }"))


async def test_a_key_means_nothing_in_another_scope_or_tenant(world: World, pool: Pool):
    await world.user("ann", 1000)
    await world.reward(price=10)
    other = await make_world(pool)
    await other.user("ann", 1000)
    await other.reward(price=10)
    await redeem_once(world, claim())
    assert not (await redeem_once(world, claim(scope="POST /v1/rewards/purchase/voucher ann")))[1]
    assert not (await redeem_once(other, claim()))[1]


async def test_a_refusal_is_not_kept_so_that_the_same_key_may_succeed_later(world: World):
    ann = await world.user("ann", 5)
    await world.reward(price=10)
    with pytest.raises(InsufficientPoints):
        await redeem_once(world, claim())
    await world.user("ann", 5)
    assert not (await redeem_once(world, claim()))[1]
    assert (await world.account(ann)).held == 10


async def test_old_answers_are_forgotten_in_portions(world: World):
    async with transaction(world.pool) as connection:
        for number in range(5):
            await keep_answer(connection, world.tenant_id, claim(f"k{number}"), StoredAnswer(status=201, body=b"x"), utc_now())
        assert await forget_answers(connection, utc_now() - timedelta(hours=24), 3) == 0
        assert await forget_answers(connection, utc_now() + timedelta(seconds=1), 3) == 3
        assert await forget_answers(connection, utc_now() + timedelta(seconds=1), 3) == 2
