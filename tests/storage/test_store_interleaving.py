"""Random sales and moves of every kind of reward at once: whoever wins, the ledger, the stock and the pools are right at the end."""

import asyncio
import random

import pytest

from domain.errors import DomainError
from domain.redemption.redemption import RETURNED, Move, RedemptionState
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.redemption.move import move_redemption
from storage.reward.code import add_codes
from tests.builders.store import World, make_world

KINDS = {
    "posted": {"fulfilment": {"type": "manual"}, "stock": 12, "requires_claim": True, "requires_approval": True},
    "credit": {"type": "points", "value": 15, "fulfilment": {"type": "wallet"}, "stock": 12},
    "voucher": {"fulfilment": {"type": "codes"}},
    "shirt": {"fulfilment": {"type": "webhook"}, "stock": 12, "variants": [{"id": "m", "name": "M", "stock": 6}, {"id": "l", "name": "L"}]},
    "once": {"fulfilment": {"type": "manual"}, "stock": 12, "max_per_user": 1},
}
WISHES = [state for state in RedemptionState if state is not RedemptionState.PENDING_CLAIM] * 2


async def play(world: World, dice: random.Random) -> None:
    """One user redeems something, and three wishes about it are made at once, several times."""
    slug = dice.choice(list(KINDS))
    variant = dice.choice(["m", "l"]) if slug == "shirt" else None
    try:
        redemption = await world.redeem(f"u{dice.randrange(4)}", slug, variant_id=variant)
    except DomainError:
        return

    async def wish(state: RedemptionState) -> None:
        try:
            async with transaction(world.pool) as connection:
                await move_redemption(connection, world.tenant_id, redemption.redemption_id, Move(to=state, by="test"), now=utc_now())
        except DomainError:
            return

    for _ in range(4):
        await asyncio.gather(*(wish(state) for state in dice.sample(WISHES, 3)))


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_wins_points_stock_and_codes_are_right(pool: Pool, seed: int):
    world, dice = await make_world(pool), random.Random(seed)
    for number in range(4):
        await world.user(f"u{number}", 120)
    rewards = {slug: await world.reward(slug, price=10, **more) for slug, more in KINDS.items()}
    async with transaction(pool) as connection:
        codes = [f"C{number}" for number in range(12)]
        await add_codes(connection, world.tenant_id, rewards["voucher"].reward_id, codes, now=utc_now())
    await asyncio.gather(*(play(world, random.Random(dice.random())) for _ in range(60)))
    assert await world.findings() == []
    # A reversed redemption keeps its piece: what was handed over is not in the shelf again.
    back = [state.value for state in RETURNED if state is not RedemptionState.REVERSED]
    taken = await world.rows(
        "SELECT reward ->> 'slug' AS slug, stock_variant_id AS variant, count(*)::int AS n FROM redemption"
        " WHERE status <> ALL(%s) GROUP BY 1, 2",
        (back,),
    )
    gone = {(row["slug"], row["variant"]): row["n"] for row in taken}
    for slug, reward in rewards.items():
        assert await world.stock(reward) == 12 - gone.get((slug, None), 0), slug
    (medium,) = await world.rows("SELECT stock FROM reward_variant")
    assert medium["stock"] == 6 - gone.get(("shirt", "m"), 0)
    (free,) = await world.rows("SELECT count(*)::int AS n FROM reward_code WHERE redemption_id IS NULL")
    assert free["n"] == await world.stock(rewards["voucher"])
    most = await world.rows(
        "SELECT count(*)::int AS n FROM redemption WHERE reward ->> 'slug' = 'once' AND status <> ALL(%s) GROUP BY user_id",
        ([state.value for state in RETURNED],),
    )
    assert all(row["n"] == 1 for row in most)
