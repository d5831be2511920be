"""Random boards, events, repeats, orders, batch sizes and crashes: PostgreSQL and Redis equal the ten-line reference, exactly."""

import asyncio
import random

import pytest

from runtime.postgres import Pool
from runtime.redis import Redis
from storage.leaderboard.rankings import Rankings
from tests.builders.scoring import PARTITIONS, Event, World, definition, reference

KINDS = [(aggregation, method) for aggregation in ("sum", "max", "min", "count", "avg") for method in ("score_desc", "score_asc")]


def some_events(dice: random.Random) -> list[Event]:
    """Few users, few values and few moments, so that scores and instants tie often."""
    users = [f"u{n}" for n in range(dice.randint(1, 8))] + ["ü", "U", "u0a"]
    return [
        Event(dice.choice(users), dice.choice([-2.5, -1, 0, 0, 1, 1, 2.5, 0.0001, 1e5]), dice.randint(0, 3), f"e{n:04}")
        for n in range(dice.randint(1, 120))
    ]


async def misbehave(world: World, dice: random.Random, redis_client: Redis) -> None:
    """One of the things that go wrong between two batches."""
    match dice.randint(0, 4):
        case 0:
            await redis_client.flushall()
        case 1:  # an owner commits and dies before it publishes
            await (await world.owner(dice.randrange(PARTITIONS))).score(dice.randint(1, 50))
        case 2:  # an owner publishes long after it was replaced
            publications = (await (await world.owner(dice.randrange(PARTITIONS))).score(dice.randint(1, 50))).publications
            await world.pump()
            await world.rankings.publish(publications)
        case 3:  # two owners at once
            await asyncio.gather(world.pump(), world.pump())
        case _:
            await world.pump()


@pytest.mark.parametrize("seed", range(12))
async def test_boards_equal_the_reference(
    seed: int, pool: Pool, redis_client: Redis, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr("activities.scoring.BATCH_LIMIT", dice.choice([1, 3, 10, 5000]))
    world = await World(pool, Rankings(redis_client), postgres_url).open()
    definitions = [definition(*dice.choice(KINDS), min_score=dice.choice([None, None, 0, 1])) for _ in range(3)]
    boards = [await world.make_board(f"b{n}", what) for n, what in enumerate(definitions)]
    events = some_events(dice)
    arrival = [*events, *dice.choices(events, k=len(events) // 3)]
    dice.shuffle(arrival)
    while arrival:
        size = dice.randint(1, 40)
        await world.send(arrival[:size])
        arrival = arrival[size:]
        await misbehave(world, dice, redis_client)
    await world.pump()
    for board, what in zip(boards, definitions, strict=True):
        expected = reference(what, events)
        assert await world.stored_rows(board) == expected
        assert await world.live_rows(board) == expected
