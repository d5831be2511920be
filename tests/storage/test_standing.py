"""Standings merged in SQL are those of the domain, for every aggregation, sign and order."""

import random
from datetime import timedelta

import pytest

from domain.leaderboard import Aggregation
from domain.standing import Contribution, merge, one_event, score_of
from runtime.ids import new_id
from runtime.postgres import Pool, transaction
from storage.standing import Delta, find_contribution, merge_standings
from tests.scoring_world import NOON


@pytest.mark.parametrize("aggregation", list(Aggregation))
async def test_the_upsert_merges_as_the_domain_does(pool: Pool, aggregation: Aggregation) -> None:
    dice = random.Random(aggregation)
    tenant_id, window_id, users = new_id(), new_id(), [new_id() for _ in range(20)]
    expected: dict[object, Contribution] = {}
    for position in range(1, 9):
        deltas = []
        for user in users:
            points = dice.choice([-25_001, -3, -2, -1, 0, 1, 2, 5, 10_000])
            event = one_event(aggregation, points, NOON + timedelta(seconds=dice.randint(0, 3)), position)
            expected[user] = merge(aggregation, expected[user], event) if user in expected else event
            deltas.append(Delta(tenant_id, window_id, user, str(user), event))
        async with transaction(pool) as connection:
            merged = await merge_standings(connection, aggregation, deltas, partition=0, position=position)
        assert {row[1]: row[2:] for row in merged} == {str(user): score_of(aggregation, expected[user]) for user in users}
    async with pool.connection() as connection:
        for user in users:
            assert await find_contribution(connection, tenant_id, window_id, user) == expected[user]
