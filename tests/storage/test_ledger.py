import asyncio
from uuid import UUID

import msgspec
import psycopg
import pytest
import pytest_asyncio

from domain.errors import AlreadyExists, InsufficientPoints, InvalidState
from domain.points.ledger import POINTS, POINTS_CURRENCY, Adjustment
from domain.redemption.redemption import Move, RedemptionState
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from storage.points.adjustment import adjust
from storage.points.audit import CHECKS
from storage.points.currency import add_currency
from storage.points.ledger import post_earnings, settle_hold, transactions_of
from storage.redemption.move import move_redemption
from tests.builders.store import World, make_world


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


def correction(user_id: UUID, amount: int) -> Adjustment:
    return Adjustment(user_id=user_id, currency_id=POINTS, amount=amount, reason="test", cause_id=str(new_id()))


async def test_earnings_of_a_batch_are_posted_one_by_one_and_summed_on_the_account(world: World):
    ann, bob = await world.user("ann"), await world.user("bob")
    async with transaction(world.pool) as connection:
        await post_earnings(
            connection, [world.earning(ann, 5), world.earning(bob, 7), world.earning(ann, 6), world.earning(ann, 1)], utc_now()
        )
        listed = await transactions_of(connection, world.tenant_id, ann.user_id, after=None, limit=10)
    assert sorted(transfer.amount for transfer in listed) == [1, 5, 6]
    assert (await world.account(ann)).posted == (await world.account(ann)).lifetime_earned == 12
    assert (await world.account(bob)).available == 7
    assert await world.findings() == []


async def test_the_same_event_and_rule_never_earn_twice(world: World):
    ann = await world.user("ann")
    for expected in ("first", "second"):
        try:
            async with transaction(world.pool) as connection:
                await post_earnings(connection, [world.earning(ann, 5, position=1)], utc_now())
        except psycopg.errors.UniqueViolation:
            assert expected == "second"
    assert (await world.account(ann)).posted == 5
    assert await world.findings() == []


async def test_earnings_of_an_unknown_currency_are_a_loud_error(world: World):
    unknown = msgspec.structs.replace(world.earning(await world.user("ann"), 5), currency_id="gold")
    async with world.pool.connection() as connection:
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            await post_earnings(connection, [unknown], utc_now())


async def test_concurrent_batches_over_the_same_users_do_not_deadlock(world: World):
    users = [await world.user(f"u{number}") for number in range(20)]

    async def batch(turn: int) -> None:
        async with transaction(world.pool) as connection:
            given = users if turn % 2 else users[::-1]
            await post_earnings(connection, [world.earning(user, 1) for user in given], utc_now())

    await asyncio.gather(*(batch(turn) for turn in range(16)))
    assert {(await world.account(user)).posted for user in users} == {16}
    assert await world.findings() == []


async def test_fifty_concurrent_spenders_never_overspend_one_account(world: World):
    ann = await world.user("ann", 100)
    await world.reward(price=10)
    outcomes = await asyncio.gather(*(world.try_redeem("ann") for _ in range(50)))
    assert sorted(outcomes) == ["INSUFFICIENT_POINTS"] * 40 + ["redeemed"] * 10
    account = await world.account(ann)
    assert (account.posted, account.held, account.available) == (100, 100, 0)
    assert await world.findings() == []


async def test_a_correction_takes_no_more_than_is_available(world: World):
    ann = await world.user("ann", 100)
    await world.reward(price=60)
    await world.redeem("ann")
    with pytest.raises(InsufficientPoints) as refused:
        async with transaction(world.pool) as connection:
            await adjust(connection, world.tenant_id, correction(ann.user_id, -41), utc_now())
    assert refused.value.facts == {"available": 40, "required": 41}
    async with transaction(world.pool) as connection:
        account = (await adjust(connection, world.tenant_id, correction(ann.user_id, -40), utc_now())).after
    assert (account.posted, account.lifetime_earned) == (60, 100)
    assert await world.account(ann) == account
    assert await world.findings() == []


@pytest.mark.parametrize(
    ("moves", "posted", "held", "spent"),
    [
        ([], 100, 30, 0),
        ([RedemptionState.FULFILLED], 70, 0, 30),
        ([RedemptionState.FAILED], 100, 0, 0),
        ([RedemptionState.EXPIRED], 100, 0, 0),
        ([RedemptionState.FULFILLED, RedemptionState.REVERSED], 100, 0, 0),
    ],
)
async def test_every_end_of_a_redemption_settles_its_points(world: World, moves: list[RedemptionState], posted: int, held: int, spent: int):
    ann = await world.user("ann", 100)
    await world.reward(price=30)
    redemption = await world.redeem("ann")
    for state in moves:
        async with transaction(world.pool) as connection:
            await move_redemption(connection, world.tenant_id, redemption.redemption_id, Move(to=state, by="test"), now=utc_now())
    account = await world.account(ann)
    assert (account.posted, account.held, account.lifetime_spent, account.lifetime_earned) == (posted, held, spent, 100)
    assert await world.findings() == []


async def test_a_hold_is_settled_once(world: World):
    await world.user("ann", 100)
    await world.reward(price=30)
    redemption = await world.redeem("ann")
    async with transaction(world.pool) as connection:
        await settle_hold(connection, world.tenant_id, redemption.redemption_id, capture=True, now=utc_now())
    for capture in (True, False):
        with pytest.raises(InvalidState):
            async with transaction(world.pool) as connection:
                await settle_hold(connection, world.tenant_id, redemption.redemption_id, capture=capture, now=utc_now())


async def test_a_currency_is_made_once(world: World):
    with pytest.raises(AlreadyExists):
        async with transaction(world.pool) as connection:
            await add_currency(connection, world.tenant_id, POINTS_CURRENCY, utc_now())


TAMPERINGS = {
    "a larger balance": "UPDATE account SET posted = posted + 1",
    "a smaller hold on the account": "UPDATE account SET held = held - 1 WHERE held > 0",
    "another lifetime": "UPDATE account SET lifetime_earned = lifetime_earned + 1",
    "an account of another user": "UPDATE account SET user_id = (SELECT user_id FROM app_user WHERE external_id = 'eve')",
    "a larger transfer": "UPDATE transfer SET amount = amount + 1 WHERE kind = 'earn'",
    "a transfer of another kind": "UPDATE transfer SET kind = 'adjust' WHERE kind = 'earn'",
    "a transfer from another account": "UPDATE transfer SET debit_account_id = gen_random_uuid() WHERE kind = 'earn'",
    "a transfer of another cause": "UPDATE transfer SET cause_id = 'x' WHERE kind = 'redeem'",
    "a transfer taken away": "DELETE FROM transfer WHERE kind = 'redeem'",
    "a transfer added": """
        INSERT INTO transfer SELECT tenant_id, gen_random_uuid(), debit_account_id, credit_account_id, user_account_id, 1, currency_id,
        'earn', 'event', 'forged', NULL, NULL, created_at FROM transfer WHERE kind = 'earn'""",
    "a smaller hold": "UPDATE hold SET amount = amount - 1 WHERE state = 'held'",
    "a hold set free": "UPDATE hold SET state = 'released', settled_at = now() WHERE state = 'held'",
    "a hold taken away": "DELETE FROM hold WHERE state = 'captured'",
    "a hold for nothing": """
        INSERT INTO hold SELECT tenant_id, gen_random_uuid(), account_id, 1, 'released', gen_random_uuid(), created_at, created_at
        FROM hold WHERE state = 'held'""",
    "a currency with another account": "UPDATE currency SET issue_account_id = gen_random_uuid()",
    "a currency of other places": "UPDATE currency SET decimal_places = 2",
    "a redemption that is fulfilled but not paid": "UPDATE redemption SET status = 'fulfilled'",
    "a cheaper redemption": "UPDATE redemption SET points_spent = points_spent - 1",
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_the_proof_sees_tampering(world: World, tampering: str):
    await world.user("ann", 100)
    await world.user("eve")
    await world.reward(price=30)
    await world.redeem("ann")
    spent = await world.redeem("ann")
    async with transaction(world.pool) as connection:
        await move_redemption(
            connection, world.tenant_id, spent.redemption_id, Move(to=RedemptionState.FULFILLED, by="test"), now=utc_now()
        )
    assert await world.findings() == []
    async with world.pool.connection() as connection:
        await connection.execute(TAMPERINGS[tampering].encode())
    found = await world.findings()
    assert found
    assert {finding.promise for finding in found} <= {check.promise for check in CHECKS}
    assert {finding.tenant_id for finding in found} == {world.tenant_id}


async def test_the_database_itself_refuses_a_negative_balance(world: World):
    await world.user("ann", 10)
    for change in ("posted = -1", "held = posted + 1", "held = -1"):
        with pytest.raises(psycopg.errors.CheckViolation):
            await world.rows(f"UPDATE account SET {change} RETURNING 1")
