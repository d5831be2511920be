"""The ledger against a model of a few integers, move by move, on a real PostgreSQL."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from domain.errors import InsufficientPoints, InvalidState
from domain.points.ledger import POINTS, Adjustment, Earning
from domain.redemption.redemption import FINAL, RETURNED, TRANSITIONS, Move, RedemptionState
from domain.reward.reward import parse_reward
from domain.tenant.user import Identify, User
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, connect
from storage.points.adjustment import adjust
from storage.points.audit import verify_ledger
from storage.points.currency import currencies_of
from storage.points.ledger import accounts_of, post_earnings, transactions_of
from storage.redemption.move import move_redemption
from storage.redemption.redeem import RedeemRequest, redeem
from storage.reward.reward import write_reward
from storage.tenant.user import identify
from tests.builders.store import make_tenant
from tests.conftest import empty

PRICES = (0, 1, 7, 40)
USERS = ("ann", "bob", "eve")


class Model(msgspec.Struct):
    """What a user's account should say."""

    posted: int = 0
    held: int = 0
    earned: int = 0
    spent: int = 0
    transfers: int = 0


class Open(msgspec.Struct):
    """A redemption as the model knows it."""

    redemption_id: UUID
    user: str
    price: int
    state: RedemptionState = RedemptionState.PENDING


class Ledger(RuleBasedStateMachine):
    """Earn, redeem, fulfil, fail, expire, reverse, correct, in any order."""

    database_url = ""
    redemptions = Bundle("redemptions")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.connection: Connection = self.run(connect(self.database_url, "property"))
        self.tenant_id: UUID = self.run(make_tenant(self.connection))
        self.users: dict[str, User] = {name: self.run(self._make_user(name)) for name in USERS}
        self.run(self._make_rewards())
        self.models = {name: Model() for name in USERS}
        self.position = 0

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    async def _make_user(self, name: str) -> User:
        user, _ = await identify(self.connection, self.tenant_id, name, Identify(), now=utc_now())
        return user

    async def _make_rewards(self) -> None:
        currencies = await currencies_of(self.connection, self.tenant_id)
        for price in PRICES:
            body = parse_reward({"slug": f"for{price}", "name": "x", "prices": [{"currency": POINTS, "amount": price}]})
            await write_reward(self.connection, self.tenant_id, new_id(), body=body, currencies=currencies, now=utc_now())

    @rule(given=st.lists(st.tuples(st.sampled_from(USERS), st.integers(1, 50)), min_size=1, max_size=5))
    def earn(self, given: list[tuple[str, int]]) -> None:
        """A batch of earnings."""
        earnings = []
        for name, amount in given:
            self.position += 1
            earnings.append(
                Earning(
                    tenant_id=self.tenant_id,
                    user_id=self.users[name].user_id,
                    currency_id=POINTS,
                    amount=amount,
                    position=self.position,
                    rule_id=self.tenant_id,
                )
            )
            model = self.models[name]
            model.posted, model.earned, model.transfers = model.posted + amount, model.earned + amount, model.transfers + 1
        self.run(post_earnings(self.connection, earnings, utc_now()))

    @rule(target=redemptions, name=st.sampled_from(USERS), price=st.sampled_from(PRICES))
    def redeem(self, name: str, price: int) -> Any:
        """Hold points, if there are enough."""
        model = self.models[name]

        async def attempt() -> UUID:
            async with self.connection.transaction():
                order = RedeemRequest(external_user_id=name, slug=f"for{price}", by="test")
                return (await redeem(self.connection, self.tenant_id, order, utc_now())).redemption_id

        if price > model.posted - model.held:
            with pytest.raises(InsufficientPoints):
                self.run(attempt())
            return multiple()
        redemption_id = self.run(attempt())
        model.held += price
        return Open(redemption_id, name, price)

    @rule(known=redemptions, to=st.sampled_from([RedemptionState.PROCESSING, *sorted(FINAL)]))
    def move(self, known: Open, to: RedemptionState) -> None:
        """Settle a hold or refund; an illegal move changes nothing."""

        async def attempt() -> None:
            async with self.connection.transaction():
                await move_redemption(self.connection, self.tenant_id, known.redemption_id, Move(to=to, by="test"), now=utc_now())

        if to not in TRANSITIONS[known.state]:
            with pytest.raises(InvalidState):
                self.run(attempt())
            return
        self.run(attempt())
        known.state = to
        model, moved = self.models[known.user], 1 if known.price else 0
        if to is RedemptionState.FULFILLED:
            model.posted, model.held, model.spent = model.posted - known.price, model.held - known.price, model.spent + known.price
            model.transfers += moved
        elif to is RedemptionState.REVERSED:
            model.posted, model.spent, model.transfers = model.posted + known.price, model.spent - known.price, model.transfers + moved
        elif to in RETURNED:
            model.held -= known.price

    @rule(name=st.sampled_from(USERS), amount=st.integers(-60, 60).filter(bool))
    def correct(self, name: str, amount: int) -> None:
        """An admin's adjustment, never below what is available."""
        model = self.models[name]

        async def attempt() -> None:
            adjustment = Adjustment(
                user_id=self.users[name].user_id, currency_id=POINTS, amount=amount, reason="test", cause_id=str(new_id())
            )
            async with self.connection.transaction():
                await adjust(self.connection, self.tenant_id, adjustment, utc_now())

        if model.posted - model.held + amount < 0:
            with pytest.raises(InsufficientPoints):
                self.run(attempt())
            return
        self.run(attempt())
        model.posted, model.transfers = model.posted + amount, model.transfers + 1

    @invariant()
    def balances_are_those_of_the_model(self) -> None:
        for name, model in self.models.items():
            accounts = self.run(accounts_of(self.connection, self.tenant_id, self.users[name].user_id))
            listed = self.run(transactions_of(self.connection, self.tenant_id, self.users[name].user_id, after=None, limit=1000))
            assert len(listed) == model.transfers
            assert sum(transfer.amount for transfer in listed) == model.posted
            for account in accounts:
                kept = (account.posted, account.held, account.lifetime_earned, account.lifetime_spent)
                assert kept == (model.posted, model.held, model.earned, model.spent)
            assert accounts or model == Model()

    @invariant()
    def the_proof_holds(self) -> None:
        assert self.run(verify_ledger(self.connection)) == []

    def teardown(self) -> None:
        self.run(self.connection.close())
        self.loop.close()


def test_the_ledger_agrees_with_its_model_and_its_proof(postgres_url: str):
    empty(postgres_url)
    machine = type("LedgerHere", (Ledger,), {"database_url": postgres_url})
    limits = settings(max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=limits)
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("SELECT count(*) FROM transfer").fetchone()
    assert row is not None
    assert row[0] > 0
