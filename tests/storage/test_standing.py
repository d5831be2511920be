"""Standings merged in SQL are those of the domain, for every aggregation, sign and order."""

import random
from datetime import timedelta
from functools import partial, reduce

import pytest

from domain.leaderboard.definition import Aggregation, Method
from domain.leaderboard.standing import SCORE_LIMIT, Contribution, member, merge, one_event, score_of
from runtime.ids import new_id
from runtime.postgres import Pool, transaction
from storage.leaderboard.standing import Delta, RankedEntry, count_ahead, find_contribution, merge_standings
from tests.builders.scoring import NOON


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


@pytest.mark.parametrize("aggregation", list(Aggregation))
async def test_sums_beyond_bigint_are_exact_whatever_the_order(pool: Pool, aggregation: Aggregation) -> None:
    dice = random.Random(aggregation)
    edges = [SCORE_LIMIT, SCORE_LIMIT - 1, -SCORE_LIMIT - 1, -SCORE_LIMIT, 2**62, -(2**62), 1, -1, 0]
    tenant_id, users = new_id(), [new_id() for _ in range(40)]
    given = {user: [one_event(aggregation, dice.choice(edges), NOON + timedelta(seconds=n), n) for n in range(1, 10)] for user in users}
    given[users[0]] = [one_event(aggregation, SCORE_LIMIT, NOON, n) for n in range(1, 10)]
    given[users[1]] = [one_event(aggregation, -SCORE_LIMIT - 1, NOON, n) for n in range(1, 10)]
    expected = {str(user): score_of(aggregation, reduce(partial(merge, aggregation), events)) for user, events in given.items()}
    for _ in range(3):
        window_id = new_id()
        for events in given.values():
            dice.shuffle(events)
        for place in range(9):
            deltas = [Delta(tenant_id, window_id, user, str(user), events[place]) for user, events in given.items()]
            async with transaction(pool) as connection:
                merged = await merge_standings(connection, aggregation, deltas, partition=0, position=place + 1)
        assert {row[1]: row[2:] for row in merged} == expected
        async with pool.connection() as connection:
            for user in users[:5]:
                found = await find_contribution(connection, tenant_id, window_id, user)
                assert found is not None
                assert found.total == sum(event.total for event in given[user])


@pytest.mark.parametrize("method", list(Method))
async def test_ranks_are_told_from_edge_to_edge(pool: Pool, method: Method) -> None:
    tenant_id, window_id = new_id(), new_id()
    scores = {f"u{n}": score for n, score in enumerate([SCORE_LIMIT, 5, 0, -5, -SCORE_LIMIT, -SCORE_LIMIT - 1, -SCORE_LIMIT - 1])}
    events = {name: one_event(Aggregation.SUM, score, NOON) for name, score in scores.items()}
    async with transaction(pool) as connection:
        deltas = [Delta(tenant_id, window_id, new_id(), name, event) for name, event in events.items()]
        await merge_standings(connection, Aggregation.SUM, deltas, partition=0, position=1)
        ranks = {
            name: await count_ahead(connection, tenant_id, window_id, method=method, min_score=None, entry=RankedEntry(name, score, NOON))
            for name, score in scores.items()
        }
    assert sorted(ranks, key=ranks.__getitem__) == sorted(scores, key=lambda name: member(method, scores[name], NOON, name))
    assert sorted(ranks.values()) == list(range(len(scores)))
