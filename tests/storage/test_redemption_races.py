"""Every pair of competing moves, at once, on every kind of reward: one outcome, points and stock right, the ledger's proof clean."""

import asyncio
import itertools

import msgspec
import pytest

from domain.errors import DomainError
from domain.redemption.redemption import FINAL, RETURNED, WAITING, Decision, Move, RedemptionState, read_callback
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.redemption.move import move_redemption
from storage.redemption.redemption import document_of
from storage.reward.code import add_codes
from tests.builders.store import World, make_world


def callback(status: str) -> Move:
    return read_callback({"status": status}, "api_key:partner")


def moved(to: RedemptionState, *only_from: RedemptionState) -> Move:
    return Move(to=to, by="test", only_from=frozenset(only_from))


OPEN = {
    "callback fulfilled": callback("fulfilled"),
    "callback failed": callback("failed"),
    "callback processing": callback("processing"),
    "webhook accepted": Move(to=RedemptionState.PROCESSING, by="workflow", from_workflow=True),
    "deadline": Move(to=RedemptionState.EXPIRED, by="workflow", from_workflow=True),
    "cancel": moved(RedemptionState.CANCELLED),
    "fulfil by hand": moved(RedemptionState.FULFILLED),
    "fail by hand": moved(RedemptionState.FAILED),
    "reverse": moved(RedemptionState.REVERSED),
}
CLAIM = {
    "claim": moved(RedemptionState.PENDING_APPROVAL, RedemptionState.PENDING_CLAIM),
    "user's cancel": Move(to=RedemptionState.CANCELLED, by="gamer", only_from=WAITING),
    "own deadline": moved(RedemptionState.EXPIRED, RedemptionState.PENDING_CLAIM),
    "cancel": moved(RedemptionState.CANCELLED),
    "callback fulfilled": callback("fulfilled"),
}
APPROVAL = {
    "approve": moved(RedemptionState.PENDING, RedemptionState.PENDING_APPROVAL),
    "reject": moved(RedemptionState.CANCELLED, RedemptionState.PENDING_APPROVAL),
    "user's cancel": Move(to=RedemptionState.CANCELLED, by="gamer", only_from=WAITING),
    "own deadline": moved(RedemptionState.EXPIRED, RedemptionState.PENDING_APPROVAL),
    "callback failed": callback("failed"),
    "reverse": moved(RedemptionState.REVERSED),
}
STAGES = {"open": OPEN, "claim": CLAIM, "approval": APPROVAL}
REWARDS = {
    "webhook": {"fulfilment": {"type": "webhook"}, "stock": 1000},
    "codes": {"fulfilment": {"type": "codes"}},
    "wallet": {"type": "points", "value": 4, "fulfilment": {"type": "wallet"}, "stock": 1000},
}
STOCK, PRICE = 1000, 10


async def try_move(world: World, redemption, wish: Move) -> RedemptionState | None:
    """The state that this wish brought about, or None when somebody was faster or it is illegal."""
    try:
        async with transaction(world.pool) as connection:
            made = await move_redemption(connection, world.tenant_id, redemption.redemption_id, wish, now=utc_now())
    except DomainError:
        return None
    return made.status if made.decision is Decision.MOVE else None


async def race(world: World, redemption, first: Move, second: Move) -> RedemptionState:
    """The two at once; then how it stands, once the timeline was compared with what the movers were told."""
    told = await asyncio.gather(try_move(world, redemption, first), try_move(world, redemption, second))
    async with transaction(world.pool) as connection:
        document = msgspec.to_builtins(await document_of(connection, world.tenant_id, redemption.redemption_id))
    path = [row["to"] for row in document["timeline"] if row["from"] != row["to"]][1:]
    assert sorted(path) == sorted(state for state in told if state is not None), "each mover was told the truth"
    ends = [state for state in path if state in FINAL and state != RedemptionState.REVERSED]
    assert len(ends) <= 1, "one outcome"
    return RedemptionState(document["status"])


@pytest.mark.parametrize("kind", REWARDS)
@pytest.mark.parametrize("stage", STAGES)
async def test_every_pair_of_moves_has_one_outcome(pool: Pool, stage: str, kind: str):
    world, asked = await make_world(pool), {"requires_claim": stage == "claim", "requires_approval": stage != "open"}
    user = await world.user("u1", 100_000)
    reward = await world.reward("voucher", price=PRICE, **{**REWARDS[kind], **asked})
    async with transaction(pool) as connection:
        if kind == "codes":
            await add_codes(connection, world.tenant_id, reward.reward_id, [f"C{number}" for number in range(STOCK)], now=utc_now())
    pairs = list(itertools.combinations_with_replacement(STAGES[stage].values(), 2))
    stands = [await race(world, await world.redeem("u1"), *pair) for pair in pairs]
    fulfilled = sum(state is RedemptionState.FULFILLED for state in stands)
    waiting = sum(state not in FINAL for state in stands)
    kept = sum(state is RedemptionState.REVERSED or state not in RETURNED for state in stands)
    account = await world.account(user)
    credit = 4 * fulfilled if kind == "wallet" else 0
    assert (account.posted, account.held) == (100_000 - PRICE * fulfilled + credit, PRICE * waiting)
    assert await world.stock(reward) == STOCK - kept
    assert await world.findings() == []
