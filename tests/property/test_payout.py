"""Who a payout is for: tiers and budgets drawn at random, planned in PostgreSQL and reckoned by hand."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.payout.run import fits, highest_rank, tier_cost, tier_for, total_cost
from domain.reward.config import ConfigTier, RunConfig
from domain.reward.item import ItemCopy
from runtime.ids import new_id
from runtime.postgres import Pool
from storage.payout.audience import Audience
from storage.payout.plan import freezing, selecting_parameters
from tests.builders.payout import item
from tests.builders.store import make_world

Chosen = tuple[str, int | None, int | None]
"""External id, rank, score."""


def some_tier(dice: random.Random, items: list[ItemCopy]) -> ConfigTier:
    given = [each.item_id for each in dice.sample(items, dice.randint(1, 3))]
    low, high = sorted((dice.randint(1, 12), dice.randint(1, 12)))
    kinds = [
        {"min_rank": low, "max_rank": high}, {"min_rank": low}, {"max_rank": high}, {"min_score": dice.randint(-3, 30)},
        {"top_percent": dice.choice([0.1, 1, 33.3, 50, 66.67, 100])}, {},
    ]  # fmt: skip
    return ConfigTier(item_ids=given, **dice.choice(kinds))


def reckoned(config: RunConfig, chosen: list[Chosen], ranked: int) -> tuple[list[tuple[str, int]], int]:
    """(user, tier number) of those who are paid, in order; and how many fit a tier."""
    order = sorted(chosen, key=lambda each: (each[1] is None, each[1] or 0, each[0].encode()))
    fitting = [(name, number) for name, rank, score in order if (number := tier_for(config, rank, score, ranked)) is not None]
    paid: list[tuple[str, int]] = []
    spent: dict[str, int] = {}
    for name, number in fitting:
        for key, amount in tier_cost(config, number).items():
            spent[key] = spent.get(key, 0) + amount
        if any(spent.get(key, 0) > limit for key, limit in config.budget.items()):
            break
        paid.append((name, number))
    return paid, len(fitting)


@pytest.mark.parametrize("seed", range(3))
async def test_planning_chooses_whom_the_reference_chooses(seed: int, pool: Pool) -> None:
    world, dice = await make_world(pool), random.Random(seed)
    for _ in range(60):
        items = [item(), item(), item(amount=7), item(amount=100)]
        budget = {key: dice.randint(0, 300) for key in ("points", str(items[0].item_id), str(items[3].item_id)) if dice.random() < 0.5}
        tiers = [some_tier(dice, items) for _ in range(dice.randint(1, 4))]
        config = RunConfig(tiers=tiers, items={each.item_id: each for each in items}, budget=budget)
        names = [f"u{number}" if dice.random() < 0.9 else f"Ü{number}" for number in range(dice.randint(0, 15))]
        has_ranks = dice.random() < 0.8
        chosen: list[Chosen] = [
            (name, place, dice.randint(-5, 40)) if has_ranks else (name, None, None) for place, name in enumerate(names, 1)
        ]
        ranked, run_id = len(names), new_id()
        audience = Audience(
            query="SELECT * FROM unnest(%(ids)s::uuid[], %(names)s::text[], %(ranks)s::int[], %(scores)s::bigint[]) "
            "AS given (user_id, external_user_id, rank, score)",
            parameters={
                "ids": [new_id() for _ in chosen],
                "names": [each[0] for each in chosen],
                "ranks": [each[1] for each in chosen],
                "scores": [each[2] for each in chosen],
            },
        )
        parameters = {**audience.parameters, **selecting_parameters(config, ranked), "run_tenant_id": world.tenant_id, "run_id": run_id}
        async with pool.connection() as connection:
            row = await (await connection.execute(freezing(audience, config).encode(), parameters)).fetchone()
            cursor = await connection.execute(
                "SELECT external_user_id, tier_number FROM payout_recipient WHERE payout_run_id = %s ORDER BY ordinal", (run_id,)
            )
            frozen = [(each["external_user_id"], each["tier_number"]) for each in await cursor.fetchall()]
        paid, fitting = reckoned(config, chosen, ranked)
        assert frozen == paid
        assert row is not None
        assert row["fitting"] == fitting
        by_tier = {int(number): count for number, count in row["by_tier"].items()}
        total = total_cost(config, by_tier)
        assert all(total.get(key, 0) <= limit for key, limit in budget.items())


@given(percent=st.floats(min_value=0.01, max_value=100), ranked=st.integers(0, 100_000))
def test_top_percent_is_rounded_up_and_never_beyond_the_board(percent: float, ranked: int) -> None:
    last = highest_rank(percent, ranked)
    assert 0 <= last <= ranked
    assert (last == 0) == (ranked == 0)
    tier = ConfigTier(item_ids=[], top_percent=percent)
    assert sum(fits(tier, rank, None, ranked) for rank in range(max(1, last - 2), last + 3)) == min(last, 3)


def test_top_percent_is_reckoned_in_decimals() -> None:
    assert highest_rank(0.1, 1000) == 1
    assert highest_rank(1.1, 1000) == 11
    assert highest_rank(33.3, 10) == 4
