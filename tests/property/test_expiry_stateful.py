"""Points that wait and expire, against the contract's own sentence: due = credits past their date − all that was spent, held or expired."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from domain.errors import InsufficientPoints
from domain.points.ledger import POINTS, Account, Adjustment, CurrencyChange, Earning
from domain.redemption.redemption import Move, RedemptionState
from domain.reward.reward import parse_reward
from domain.tenant.user import Identify, User
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, connect
from storage.points.adjustment import adjust
from storage.points.audit import verify_ledger
from storage.points.currency import change_currency, currencies_of
from storage.points.due import balances_of
from storage.points.ledger import accounts_of, lock_account, post_earnings, transactions_of
from storage.points.reversal import undo_transfer
from storage.redemption.move import move_redemption
from storage.redemption.redeem import RedeemRequest, redeem
from storage.reward.reward import write_reward
from storage.tenant.user import identify
from tests.builders.store import make_tenant
from tests.conftest import empty

WAITS = (timedelta(0), timedelta(days=2), timedelta(days=25))


class Given(msgspec.Struct):
    """A credit. `at` None: without a date."""

    amount: int
    at: datetime | None
    available_at: datetime | None
    transfer_id: UUID | None = None


class Model(msgspec.Struct):
    """One account, as the contract speaks of it."""

    credits: list[Given] = []
    gone: int = 0
    held: int = 0
    is_new: bool = False
    undated_at: datetime | None = None

    def date_of(self, credit: Given) -> datetime | None:
        """When the credit expires: one without a date with the others, but not while it waits."""
        if credit.at or self.undated_at is None:
            return credit.at
        return max(self.undated_at, credit.available_at or self.undated_at)

    def past(self, instant: datetime) -> int:
        return sum(each.amount for each in self.credits if (at := self.date_of(each)) and at <= instant)

    def expire(self, now: datetime) -> None:
        self.gone += max(0, self.past(now) - self.gone - self.held)

    def pending(self, now: datetime) -> int:
        return sum(each.amount for each in self.credits if each.available_at and each.available_at > now)

    def available(self, now: datetime) -> int:
        return sum(each.amount for each in self.credits) - self.gone - self.held - self.pending(now)

    def next_expiry(self, now: datetime) -> tuple[datetime, int] | None:
        dates = sorted(at for each in self.credits if (at := self.date_of(each)) and at > now)
        for at in dates:
            if (amount := self.past(at) - self.gone - self.held) > 0:
                return at, amount
        return None


class Open(msgspec.Struct):
    """A redemption as the model knows it."""

    redemption_id: UUID
    price: int
    state: RedemptionState = RedemptionState.PENDING


class Expiry(RuleBasedStateMachine):
    """One user; time passes between its moves."""

    database_url = ""
    redemptions = Bundle("redemptions")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.connection: Connection = self.run(connect(self.database_url, "property"))
        self.tenant_id: UUID = self.run(make_tenant(self.connection))
        self.now = utc_now() - timedelta(days=900)
        self.user: User = self.run(self._make())
        self.model = Model()
        self.days: int | None = None
        self.position = 0
        self.undone: set[UUID | None] = set()

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    async def _make(self) -> User:
        user, _ = await identify(self.connection, self.tenant_id, "ann", Identify(), now=self.now)
        currencies = await currencies_of(self.connection, self.tenant_id)
        for price in (1, 7, 40):
            body = parse_reward({"slug": f"for{price}", "name": "x", "prices": [{"currency": POINTS, "amount": price}]})
            await write_reward(self.connection, self.tenant_id, new_id(), body=body, currencies=currencies, now=self.now)
        return user

    def tick(self) -> None:
        if self.days is not None:
            self.model.expire(self.now)

    def change(self, **change: Any) -> None:
        self.run(change_currency(self.connection, self.tenant_id, POINTS, change=CurrencyChange(**change), now=self.now))

    def credit(self, amount: int, *, waits: bool) -> None:
        wait = self.wait_time if waits else timedelta(0)
        at = None
        if self.days is not None:
            earlier = [each.at or self.model.undated_at for each in self.model.credits]
            at = max([self.now + timedelta(days=self.days) + self.wait_time, *(e for e in earlier + self.dates if e)])
            self.dates.append(at)
        self.had_account = True
        listed = self.run(transactions_of(self.connection, self.tenant_id, self.user.user_id, after=None, limit=1))
        self.model.credits.append(Given(amount, at, self.now + wait if wait else None, listed[0].transfer_id))

    @initialize(wait_time=st.sampled_from(WAITS), days=st.sampled_from([None, 10]))
    def begin(self, wait_time: timedelta, days: int | None) -> None:
        """With or without waiting, shorter and longer than points live; expiry from the beginning, or later."""
        self.wait_time, self.dates, self.had_account = wait_time, [], False
        if wait_time:
            self.change(pending_seconds=int(wait_time.total_seconds()))
        if days:
            self.switch(days)

    @rule(days=st.sampled_from([3, 10, 30]))
    def switch(self, days: int) -> None:
        """On: what was credited without a date counts from now. On already: other days for what is credited from now on."""
        self.tick()
        self.change(expires_after_days=days)
        if self.days is None:
            self.model.undated_at = max(self.model.undated_at or self.now, self.now + timedelta(days=days))
            if self.had_account:
                self.dates.append(self.model.undated_at)
        self.days = days

    @precondition(lambda self: self.days is not None)
    @rule()
    def switch_off(self) -> None:
        """Nothing expires any more; what is due goes before."""
        self.look()
        self.change(expires_after_days=None)
        self.days = None

    @rule(hours=st.sampled_from([1, 20, 60, 130]))
    def wait(self, hours: int) -> None:
        """Time passes."""
        self.now += timedelta(hours=hours)

    @rule(amount=st.integers(1, 50))
    def earn(self, amount: int) -> None:
        """A rule gives points, which wait."""
        self.tick()
        self.position += 1
        earning = Earning(
            tenant_id=self.tenant_id,
            user_id=self.user.user_id,
            currency_id=POINTS,
            amount=amount,
            position=self.position,
            rule_id=self.tenant_id,
        )
        self.run(post_earnings(self.connection, [earning], self.now))
        self.credit(amount, waits=True)

    async def _attempt(self, work: Any) -> Any:
        async with self.connection.transaction():
            return await work

    @rule(amount=st.integers(-40, 40).filter(bool))
    def correct(self, amount: int) -> None:
        """An admin gives or takes, at once."""
        self.tick()
        wanted = Adjustment(user_id=self.user.user_id, currency_id=POINTS, amount=amount, reason="x", cause_id=str(new_id()))
        work = self._attempt(adjust(self.connection, self.tenant_id, wanted, self.now))
        if self.model.available(self.now) + amount < 0:
            with pytest.raises(InsufficientPoints):
                self.run(work)
        elif amount > 0:
            self.run(work)
            self.credit(amount, waits=False)
        else:
            self.run(work)
            self.model.gone -= amount

    @rule(target=redemptions, price=st.sampled_from([1, 7, 40]))
    def hold(self, price: int) -> Any:
        """Redeem, if there are enough: points that became available a moment ago count."""
        self.tick()
        order = RedeemRequest(external_user_id="ann", slug=f"for{price}", by="test")
        work = self._attempt(redeem(self.connection, self.tenant_id, order, self.now))
        if price > self.model.available(self.now):
            with pytest.raises(InsufficientPoints):
                self.run(work)
            return multiple()
        self.model.held += price
        return Open(self.run(work).redemption_id, price)

    @rule(known=redemptions, to=st.sampled_from([RedemptionState.FULFILLED, RedemptionState.FAILED, RedemptionState.REVERSED]))
    def settle(self, known: Open, to: RedemptionState) -> None:
        """Spend, release, or refund."""
        if (known.state, to) not in [
            (RedemptionState.PENDING, RedemptionState.FULFILLED),
            (RedemptionState.PENDING, RedemptionState.FAILED),
            (RedemptionState.FULFILLED, RedemptionState.REVERSED),
        ]:
            return
        self.tick()
        move = Move(to=to, by="test")
        self.run(self._attempt(move_redemption(self.connection, self.tenant_id, known.redemption_id, move, now=self.now)))
        known.state = to
        if to is RedemptionState.REVERSED:
            self.credit(known.price, waits=False)
        else:
            self.model.held -= known.price
            self.model.gone += known.price if to is RedemptionState.FULFILLED else 0

    @precondition(lambda self: self.model.credits)
    @rule(number=st.integers(0, 20))
    def reverse(self, number: int) -> None:
        """Undo a credit that was a mistake: one that waits is cancelled, another needs its points."""
        self.tick()
        first = self.model.credits[number % len(self.model.credits)]
        listed = self.run(transactions_of(self.connection, self.tenant_id, self.user.user_id, after=None, limit=1000))
        if (
            next(each.kind for each in listed if each.transfer_id == first.transfer_id) not in ("earn", "adjust")
            or first.transfer_id in self.undone
        ):
            return
        work = self._attempt(undo_transfer(self.connection, self.tenant_id, first.transfer_id, reason="x", now=self.now))
        waits = first.available_at is not None and first.available_at > self.now
        if not waits and self.model.available(self.now) < first.amount:
            with pytest.raises(InsufficientPoints):
                self.run(work)
            return
        self.run(work)
        if (self.model.date_of(first) or self.now + self.wait_time) <= self.now:
            self.model.gone += first.amount  # it is past its date: the points that go are others
            self.undone.add(first.transfer_id)
        else:
            self.model.credits.remove(first)

    @rule()
    def look(self) -> None:
        """The schedule comes by."""
        self.tick()
        self.run(self._attempt(lock_account(self.connection, self.tenant_id, self.user.user_id, POINTS, now=self.now)))

    @invariant()
    def the_balance_is_that_of_the_model(self) -> None:
        self.tick()
        accounts = self.run(accounts_of(self.connection, self.tenant_id, self.user.user_id))
        currencies = self.run(currencies_of(self.connection, self.tenant_id))
        for account in self.run(balances_of(self.connection, self.tenant_id, accounts, currencies=currencies, now=self.now)).values():
            following = account.next_expiry and (account.next_expiry.at, account.next_expiry.amount)
            shown = (account.available, account.held, account.pending, following)
            model = self.model
            expected = model.next_expiry(self.now) if self.days is not None else None
            assert shown == (model.available(self.now), model.held, model.pending(self.now), expected)
            self._what_is_shown_can_be_spent(account)

    def _what_is_shown_can_be_spent(self, shown: Account) -> None:
        """Whoever locks the account finds in it what the balance said, without leaving a trace here."""

        async def locked() -> Account | None:
            async with self.connection.transaction(force_rollback=True):
                return await lock_account(self.connection, self.tenant_id, self.user.user_id, POINTS, now=self.now)

        found = self.run(locked())
        assert (found.available, found.pending) == (shown.available, shown.pending)

    @invariant()
    def the_proof_holds(self) -> None:
        assert [found for found in self.run(verify_ledger(self.connection)) if found.tenant_id == self.tenant_id] == []

    def teardown(self) -> None:
        self.run(self.connection.close())
        self.loop.close()


def test_what_waits_and_what_expires_agrees_with_the_contract(postgres_url: str):
    empty(postgres_url)
    machine = type("ExpiryHere", (Expiry,), {"database_url": postgres_url})
    limits = settings(max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=limits)
