"""The stock of a reward whose fulfilment was changed while orders were open: it shows no more than there is."""

from typing import Any

import pytest

from domain.redemption.redemption import Move, RedemptionState
from domain.reward.reward import Reward, parse_reward
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.points.currency import currencies_of
from storage.redemption.move import move_redemption
from storage.reward.code import add_codes
from storage.reward.reward import write_reward
from tests.builders.store import World, make_world

BODY = {"slug": "voucher", "name": "voucher", "prices": [{"currency": "points", "amount": 10}]}


async def rewrite(world: World, reward: Reward, **more: Any) -> None:
    async with transaction(world.pool) as connection:
        currencies = await currencies_of(connection, world.tenant_id)
        body = parse_reward({**BODY, **more})
        await write_reward(connection, world.tenant_id, reward.reward_id, body=body, currencies=currencies, now=utc_now())


@pytest.mark.parametrize("variants", [[], [{"id": "s", "name": "S", "stock": 5}]])
@pytest.mark.parametrize("becomes_codes", [True, False])
async def test_a_piece_goes_back_only_to_a_stock_that_counts_its_like(pool: Pool, becomes_codes: bool, variants: list[dict[str, Any]]):
    world = await make_world(pool)
    variant = "s" if variants else None
    await world.user("ann", 100)
    pieces: dict[str, Any] = {"fulfilment": {"type": "manual"}, "stock": None if variants else 5, "variants": variants}
    codes: dict[str, Any] = {"fulfilment": {"type": "codes"}, "variants": [{"id": each["id"], "name": "S"} for each in variants]}
    first, then = (pieces, codes) if becomes_codes else (codes, pieces)
    reward = await world.reward(**first)
    async with transaction(pool) as connection:
        await add_codes(connection, world.tenant_id, reward.reward_id, ["A", "B"], now=utc_now(), variant_id=variant)
    order = await world.redeem("ann", variant_id=variant)
    await rewrite(world, reward, **then)
    before = await stock(world, variant)
    async with transaction(pool) as connection:
        await move_redemption(
            connection, world.tenant_id, order.redemption_id, Move(to=RedemptionState.CANCELLED, by="test"), now=utc_now()
        )
    assert await stock(world, variant) == before == (2 if becomes_codes else 5)


async def stock(world: World, variant: str | None) -> int:
    table = "reward" if variant is None else "reward_variant"
    (row,) = await world.rows(f"SELECT stock FROM {table} WHERE tenant_id = %s", [world.tenant_id])
    return int(row["stock"])
