"""Points that wait, points that expire, and transfers that are undone, on a real PostgreSQL."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio

from domain.errors import InsufficientPoints, InvalidState, NotEligible, NotFound
from domain.points.ledger import POINTS, Account, Adjustment, CurrencyChange
from domain.points.tier import parse_tier_set
from domain.redemption.redemption import Move, RedemptionState
from domain.tenant.user import User
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from storage.points.adjustment import adjust, adjust_many
from storage.points.audit import CHECKS
from storage.points.currency import change_currency, currencies_of
from storage.points.due import balances_of
from storage.points.ledger import accounts_of, lock_account, post_earnings, transactions_of
from storage.points.reversal import undo_transfer
from storage.points.tier import lock_tier_set, write_tier_set
from storage.redemption.move import move_redemption
from tests.builders.store import World, make_world

DAY = timedelta(days=1)


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await make_world(pool)


async def change(world: World, **given: Any) -> None:
    """The currency is as if it had been changed long ago."""
    async with transaction(world.pool) as connection:
        await change_currency(connection, world.tenant_id, POINTS, change=CurrencyChange(**given), now=utc_now() - 400 * DAY)


async def earn(world: World, user: User, amount: int, *, ago: timedelta = timedelta(0)) -> UUID:
    async with transaction(world.pool) as connection:
        await post_earnings(connection, [world.earning(user, amount)], utc_now() - ago)
        listed = await transactions_of(connection, world.tenant_id, user.user_id, after=None, limit=1)
    return listed[0].transfer_id


async def look(world: World, user: User) -> None:
    async with transaction(world.pool) as connection:
        await lock_account(connection, world.tenant_id, user.user_id, POINTS, now=utc_now())


async def undo(world: World, transfer_id: UUID) -> None:
    async with transaction(world.pool) as connection:
        await undo_transfer(connection, world.tenant_id, transfer_id, reason="a mistake", now=utc_now())


async def figures(world: World, user: User) -> tuple[int, int, int]:
    account = await world.account(user)
    return account.available, account.pending, account.lifetime_earned


async def test_points_that_wait_count_as_earned_but_cannot_be_spent(world: World):
    await change(world, pending_seconds=3600)
    ann = await world.user("ann", 100)
    await world.reward(price=10)
    assert await figures(world, ann) == (0, 100, 100)
    assert await world.try_redeem("ann") == "INSUFFICIENT_POINTS"
    assert await world.findings() == []


async def test_a_spender_whose_points_are_due_can_spend_them_at_once(world: World):
    await change(world, pending_seconds=3600)
    ann = await world.user("ann")
    await earn(world, ann, 100, ago=2 * timedelta(hours=1))
    await world.reward(price=30)
    assert await world.try_redeem("ann") == "redeemed"
    account = await world.account(ann)
    assert (account.posted, account.held, account.pending) == (100, 30, 0)
    assert await world.findings() == []


async def test_corrections_and_refunds_do_not_wait(world: World):
    ann = await world.user("ann", 50)
    await change(world, pending_seconds=3600)
    await world.reward(price=50)
    redemption = await world.redeem("ann")
    for state in (RedemptionState.FULFILLED, RedemptionState.REVERSED):
        async with transaction(world.pool) as connection:
            await move_redemption(connection, world.tenant_id, redemption.redemption_id, Move(to=state, by="test"), now=utc_now())
    wanted = Adjustment(user_id=ann.user_id, currency_id=POINTS, amount=7, reason="x", cause_id="x")
    async with transaction(world.pool) as connection:
        await adjust(connection, world.tenant_id, wanted, utc_now())
    assert await figures(world, ann) == (57, 0, 50)


@pytest.mark.parametrize("due", [False, True], ids=["waiting", "available"])
async def test_a_reversed_credit_takes_back_the_points_and_what_counted_as_earned_once(world: World, due: bool):
    await change(world, pending_seconds=3600)
    ann = await world.user("ann")
    transfer_id = await earn(world, ann, 100, ago=2 * timedelta(hours=1) if due else timedelta(0))
    await undo(world, transfer_id)
    assert await figures(world, ann) == (0, 0, 0)
    with pytest.raises(InvalidState) as refused:
        await undo(world, transfer_id)
    assert "reversed_by" in refused.value.facts
    assert await world.findings() == []


async def test_a_reversal_never_takes_what_is_spent(world: World):
    ann = await world.user("ann")
    transfer_id = await earn(world, ann, 100)
    await world.reward(price=30)
    await world.redeem("ann")
    with pytest.raises(InsufficientPoints) as refused:
        await undo(world, transfer_id)
    assert refused.value.facts == {"available": 70, "required": 100}
    assert await world.findings() == []


async def test_neither_a_redemption_nor_a_reversal_is_undone_by_its_transfer(world: World):
    ann = await world.user("ann", 100)
    await world.reward(price=30)
    redemption = await world.redeem("ann")
    async with transaction(world.pool) as connection:
        await move_redemption(
            connection, world.tenant_id, redemption.redemption_id, Move(to=RedemptionState.FULFILLED, by="test"), now=utc_now()
        )
    (redeemed,) = await world.rows("SELECT transfer_id FROM transfer WHERE kind = 'redeem'")
    with pytest.raises(InvalidState) as refused:
        await undo(world, redeemed["transfer_id"])
    assert refused.value.facts["redemption_id"] == str(redemption.redemption_id)
    await undo(world, await earn(world, ann, 5))
    (reversal,) = await world.rows("SELECT transfer_id FROM transfer WHERE kind = 'reverse'")
    for transfer_id, refusal in ((reversal["transfer_id"], InvalidState), (new_id(), NotFound)):
        with pytest.raises(refusal):
            await undo(world, transfer_id)


async def test_competing_reversals_have_one_winner(world: World):
    ann = await world.user("ann", 100)
    transfer_id = await earn(world, ann, 10)
    outcomes = await asyncio.gather(*(undo(world, transfer_id) for _ in range(8)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["InvalidState"] * 7 + ["NoneType"]
    assert await figures(world, ann) == (100, 0, 100)
    assert await world.findings() == []


async def test_expired_points_that_were_given_back_live_as_long_as_new_ones(world: World):
    await change(world, expires_after_days=10)
    ann = await world.user("ann")
    await earn(world, ann, 100, ago=11 * DAY)
    await look(world, ann)
    assert await figures(world, ann) == (0, 0, 100)
    (expired,) = await world.rows("SELECT transfer_id FROM transfer WHERE kind = 'expire'")
    await undo(world, expired["transfer_id"])
    await look(world, ann)
    assert await figures(world, ann) == (100, 0, 100)
    assert await world.findings() == []


async def test_held_points_do_not_expire_and_released_ones_do_at_once(world: World):
    await change(world, expires_after_days=10)
    ann = await world.user("ann")
    await earn(world, ann, 100, ago=10 * DAY - timedelta(seconds=1.5))
    await world.reward(price=30)
    redemption = await world.redeem("ann")
    await world.rows("UPDATE transfer SET expires_at = now() RETURNING 1")
    await world.rows("UPDATE account SET last_expires_at = t.expires_at, next_expiry_at = t.expires_at FROM transfer AS t RETURNING 1")
    await look(world, ann)
    assert (await world.account(ann)).posted == 30
    async with transaction(world.pool) as connection:
        await move_redemption(
            connection, world.tenant_id, redemption.redemption_id, Move(to=RedemptionState.FAILED, by="test"), now=utc_now()
        )
    await look(world, ann)
    assert await figures(world, ann) == (0, 0, 100)
    assert [row["amount"] for row in await world.rows("SELECT amount FROM transfer WHERE kind = 'expire' ORDER BY transfer_id")] == [70, 30]
    assert await world.findings() == []


async def test_fifty_spenders_at_the_moment_points_become_available_and_others_expire(world: World):
    await change(world, expires_after_days=10, pending_seconds=86400)
    ann = await world.user("ann")
    await earn(world, ann, 55, ago=12 * DAY)  # past its date
    await earn(world, ann, 100, ago=2 * DAY)  # waited long enough
    await earn(world, ann, 500)  # waits
    await world.reward(price=10)
    outcomes = await asyncio.gather(*(world.try_redeem("ann") for _ in range(50)))
    assert sorted(outcomes) == ["INSUFFICIENT_POINTS"] * 40 + ["redeemed"] * 10
    account = await world.account(ann)
    assert (account.posted, account.held, account.pending) == (100, 100, 500)
    assert await world.findings() == []


async def test_a_reversal_of_what_was_earned_no_longer_counts_for_the_period_of_a_tier(world: World):
    tiers = {"basis": "earned_in_period", "period_days": 30, "tiers": [{"name": "gold", "level": 1, "threshold": 100}]}
    async with transaction(world.pool) as connection:
        await lock_tier_set(connection, world.tenant_id, utc_now())
        await write_tier_set(connection, world.tenant_id, parse_tier_set(tiers, 0), utc_now())
    ann = await world.user("ann")
    await undo(world, await earn(world, ann, 90))
    wanted = Adjustment(user_id=ann.user_id, currency_id=POINTS, amount=50, reason="x", cause_id="x")
    async with transaction(world.pool) as connection:
        await adjust(connection, world.tenant_id, wanted, utc_now())
    assert await world.rows("SELECT tier FROM user_tier") == []


async def test_many_corrections_are_made_each_by_itself_and_in_order(world: World):
    ann, bob = await world.user("ann", 10), await world.user("bob")
    given = [(ann, -8), (bob, 5), (ann, -8), (ann, 6), (ann, -8)]
    wanted = [Adjustment(user_id=u.user_id, currency_id=POINTS, amount=a, reason="x", cause_id=str(new_id())) for u, a in given]
    async with transaction(world.pool) as connection:
        outcomes = await adjust_many(connection, world.tenant_id, wanted, utc_now())
    assert [isinstance(outcome, InsufficientPoints) for outcome in outcomes] == [False, False, True, False, False]
    assert (await figures(world, ann))[0] == 0
    assert (await figures(world, bob))[0] == 5
    assert await world.findings() == []


async def test_bulk_corrections_over_the_same_users_do_not_deadlock(world: World):
    users = [await world.user(f"u{number}") for number in range(12)]

    async def batch(turn: int) -> None:
        order = users if turn % 2 else users[::-1]
        wanted = [Adjustment(user_id=u.user_id, currency_id=POINTS, amount=1, reason="x", cause_id=str(new_id())) for u in order]
        async with transaction(world.pool) as connection:
            await adjust_many(connection, world.tenant_id, wanted, utc_now())

    await asyncio.gather(*(batch(turn) for turn in range(8)))
    assert {(await world.account(user)).posted for user in users} == {8}


TAMPERINGS = {
    "points that wait are made available": "UPDATE account SET posted = posted + pending, pending = 0 WHERE pending > 0",
    "more is pending": "UPDATE account SET pending = pending + 1 WHERE pending > 0",
    "a credit that waits is larger": "UPDATE pending_credit SET amount = amount + 1 WHERE state = 'pending'",
    "a credit that waits is taken away": "DELETE FROM pending_credit WHERE state = 'pending'",
    "a credit that waited is taken away": "DELETE FROM pending_credit WHERE state = 'active'",
    "a credit that waits is set active": "UPDATE pending_credit SET state = 'active', settled_at = now() WHERE state = 'pending'",
    "a cancelled credit is set active": "UPDATE pending_credit SET state = 'active', settled_at = available_at WHERE state = 'cancelled'",
    "a credit that waits is cancelled": "UPDATE pending_credit SET state = 'cancelled', settled_at = now() WHERE state = 'pending'",
    "a credit waits longer": "UPDATE pending_credit SET available_at = available_at + interval '1 day'",
    "a credit waits for nothing": """
        INSERT INTO pending_credit SELECT tenant_id, gen_random_uuid(), account_id, 1, now(), 'active', now()
        FROM pending_credit LIMIT 1""",
    "a transfer no longer waits": "UPDATE transfer SET available_at = NULL",
    "a credit expires later": "UPDATE transfer SET expires_at = expires_at + interval '30 days'",
    "an account forgets when its points expire": "UPDATE account SET last_expires_at = NULL",
    "an account is never looked at": "UPDATE account SET next_expiry_at = '9999-01-01Z'",
    "too much has expired": """
        UPDATE transfer SET amount = amount + 1 WHERE kind = 'expire';
        UPDATE transfer SET amount = amount + 1, expires_at = expires_at + interval '1 day' WHERE kind = 'adjust'""",
    "an expiry taken away": "DELETE FROM transfer WHERE kind = 'expire'",
    "a reversal taken away": "DELETE FROM transfer WHERE kind = 'reverse'",
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_the_proof_sees_tampering_with_what_waits_and_expires(world: World, tampering: str):
    await change(world, expires_after_days=10, pending_seconds=3600)
    ann = await world.user("ann")
    await earn(world, ann, 40, ago=12 * DAY)
    await earn(world, ann, 100, ago=DAY)
    await earn(world, ann, 7)
    await undo(world, await earn(world, ann, 5))
    wanted = Adjustment(user_id=ann.user_id, currency_id=POINTS, amount=3, reason="x", cause_id="x")
    async with transaction(world.pool) as connection:
        await adjust(connection, world.tenant_id, wanted, utc_now())
    assert await figures(world, ann) == (103, 7, 147)
    assert await world.findings() == []
    with psycopg.connect(world.pool.conninfo) as connection:
        connection.execute(TAMPERINGS[tampering].encode())
    found = await world.findings()
    assert found
    assert {finding.promise for finding in found} <= {check.promise for check in CHECKS}


async def test_a_currency_that_cannot_be_spent_any_more_buys_nothing(world: World) -> None:
    user = await world.user("ann", 100)
    await world.reward(price=10)
    await change(world, is_spendable=False)
    with pytest.raises(NotEligible):
        await world.redeem("ann")
    assert (await world.account(user)).held == 0
    await change(world, is_spendable=True)
    await world.redeem("ann")


async def test_points_that_wait_longer_than_expiry_lets_them_live_expire_when_they_become_available(world: World):
    now = utc_now()
    async with transaction(world.pool) as connection:
        await change_currency(connection, world.tenant_id, POINTS, change=CurrencyChange(pending_seconds=30 * 86400), now=now - 40 * DAY)
    ann = await world.user("ann")
    await earn(world, ann, 100, ago=20 * DAY)
    async with transaction(world.pool) as connection:
        await change_currency(connection, world.tenant_id, POINTS, change=CurrencyChange(expires_after_days=14), now=now - 20 * DAY)
    await give(world, ann, 50)
    await world.reward(price=50)
    account = await shown(world, ann)
    assert (account.available, account.pending) == (50, 100)
    assert account.next_expiry is not None
    assert account.next_expiry.at > now
    assert await world.try_redeem("ann") == "redeemed"
    assert await world.findings() == []
    later = now + 11 * DAY
    async with transaction(world.pool) as connection:
        settled = await lock_account(connection, world.tenant_id, ann.user_id, POINTS, now=later)
    assert settled is not None
    assert (settled.available, settled.pending, settled.held) == (50, 0, 50)  # what is held counts as the oldest


async def give(world: World, user: User, amount: int, *, ago: timedelta = timedelta(0)) -> None:
    async with transaction(world.pool) as connection:
        wanted = Adjustment(user_id=user.user_id, currency_id=POINTS, amount=amount, reason="x", cause_id=str(new_id()))
        await adjust(connection, world.tenant_id, wanted, utc_now() - ago)


async def shown(world: World, user: User) -> Account:
    async with transaction(world.pool) as connection:
        accounts = await accounts_of(connection, world.tenant_id, user.user_id)
        currencies = await currencies_of(connection, world.tenant_id)
        balances = await balances_of(connection, world.tenant_id, accounts, currencies=currencies, now=utc_now())
    return balances[POINTS]


@pytest.mark.parametrize(("first", "second"), [(365, 10), (20, 10), (10, 30)])
async def test_what_a_balance_shows_can_be_spent_after_expiry_was_switched_off_and_on_with_other_days(
    world: World, first: int, second: int
):
    async def switch(days: int | None, *, ago: timedelta) -> None:
        async with transaction(world.pool) as connection:
            change = CurrencyChange(expires_after_days=days)
            await change_currency(connection, world.tenant_id, POINTS, change=change, now=utc_now() - ago)

    await switch(first, ago=25 * DAY)
    ann = await world.user("ann")
    await give(world, ann, 100, ago=24 * DAY)
    await switch(None, ago=23 * DAY)
    await give(world, ann, 50, ago=22 * DAY)
    await switch(second, ago=21 * DAY)
    before = await shown(world, ann)
    await look(world, ann)
    assert (await world.account(ann)).available == before.available
    assert await world.findings() == []
