import asyncio
from datetime import timedelta

import pytest
import pytest_asyncio

from domain.errors import IdempotencyConflict, InsufficientPoints, UserNotFound
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.idempotency import KeyClaim, StoredAnswer, earlier_answer, forget_answers, keep_answer
from storage.redemption.redeem import redeem
from storage.tenant.erasure import begin_erasure
from tests.builders.store import World, make_world


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


def claim(key: str = "k1", *, body: bytes = b"{}", scope: str = "POST /v1/redemptions", about: str | None = None) -> KeyClaim:
    return KeyClaim(scope=scope, key=key, request_hash=body, external_user_id=about)


async def redeem_once(world: World, given: KeyClaim, external_id: str = "ann") -> tuple[StoredAnswer, bool]:
    """Redeem under a key; the answer, and whether it is a repeat."""
    async with world.pool.connection() as connection, connection.pipeline(), connection.transaction():
        stored = await earlier_answer(connection, world.tenant_id, given)
        if stored is not None:
            return stored, True
        redemption = await redeem(connection, world.tenant_id, world.order(external_id), utc_now())
        answer = StoredAnswer(status=201, body=str(redemption.redemption_id).encode())
        await keep_answer(connection, world.tenant_id, given, answer, now=utc_now())
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
            await keep_answer(connection, world.tenant_id, claim(f"k{number}"), StoredAnswer(status=201, body=b"x"), now=utc_now())
        assert await forget_answers(connection, utc_now() - timedelta(hours=24), 3) == 0
        assert await forget_answers(connection, utc_now() + timedelta(seconds=1), 3) == 3
        assert await forget_answers(connection, utc_now() + timedelta(seconds=1), 3) == 2


async def erase(world: World, external_id: str = "ann") -> None:
    async with transaction(world.pool) as connection:
        await begin_erasure(connection, world.tenant_id, external_id, utc_now())


async def test_a_key_ends_with_the_user_whom_the_request_was_about(world: World):
    await world.user("ann", 100)
    await world.reward(price=10)
    first, _ = await redeem_once(world, claim(about="ann"))
    assert await redeem_once(world, claim(about="ann")) == (first, True)
    await erase(world)  # no step of it has run
    with pytest.raises(UserNotFound):
        await redeem_once(world, claim(about="ann"))
    next_one = await world.user("ann", 100)
    answer, repeat = await redeem_once(world, claim(about="ann"))
    assert (answer == first, repeat) == (False, False)
    assert await redeem_once(world, claim(about="ann")) == (answer, True)
    assert (await world.account(next_one)).held == 10


async def test_an_answer_that_is_under_way_while_its_user_is_erased_is_not_the_next_ones(world: World):
    await world.user("ann", 100)
    await world.reward(price=10)
    given, old = claim(about="ann"), StoredAnswer(status=201, body=b"the erased user's")
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks, transaction(world.pool) as connection:
        assert await earlier_answer(connection, world.tenant_id, given) is None
        erasing = tasks.create_task(erase(world))
        while not await world.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%app_user%%'"):
            assert not erasing.done(), "it waits for what is under way"
        await keep_answer(connection, world.tenant_id, given, old, now=utc_now())
    await world.user("ann", 100)
    answer, repeat = await redeem_once(world, given)
    assert (answer == old, repeat) == (False, False)
