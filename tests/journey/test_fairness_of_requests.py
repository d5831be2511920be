"""Console, lists, exports, definitions and tokens: a hostile tenant's requests beside a good tenant slow it within bounds."""

import itertools
import threading
from collections.abc import Callable

import pytest

from tests.fairness import Action, Pair, asks, hold_fair, sends
from tests.journey.programme import post

CLIENTS = 12
"""More than the process has connections to PostgreSQL."""


def flood(pair: Pair, make: Callable[[int], Action]) -> list[Action]:
    """So many clients at once."""
    return [make(number) for number in range(CLIENTS)]


@pytest.fixture
def reads(pair: Pair) -> Action:
    """What a player's page asks for."""
    post(pair.good, "/v1/users", {"external_id": "ann"})
    return asks(pair.good, "/v1/users/ann/points", {200})


def many_users(pair: Pair, count: int = 600) -> None:
    """The hostile tenant has something to list, and to write into its audit log."""
    foe = pair.foe()
    for start in range(0, count, 100):
        names = [f"u{n}" for n in range(start, start + 100)]
        for name in names:
            post(foe, "/v1/users", {"external_id": name, "attributes": {"of": "no use", "at": [1, 2, 3]}})


def test_long_lists_slow_no_request(pair: Pair, reads: Action) -> None:
    many_users(pair)
    paths = ("/v1/admin/audit-log?limit=500", "/v1/admin/events?limit=500&type=none", "/v1/admin/redemptions?limit=500&source_type=tier")
    hold_fair(reads, *flood(pair, lambda number: asks(pair.foe(), paths[number % len(paths)], {200, 429})))


def test_changed_definitions_slow_no_request(pair: Pair, reads: Action) -> None:
    numbers = itertools.count()
    lock = threading.Lock()

    def rule() -> dict[str, object]:
        with lock:
            number = next(numbers)
        return {"name": f"r{number}", "event_type": "goal", "points_expression": "1"}

    hold_fair(reads, *flood(pair, lambda _: sends(pair.foe(), "/v1/admin/earning-rules", rule, {201, 409, 429})))


def test_tokens_and_users_by_the_thousand_slow_no_request(pair: Pair, reads: Action) -> None:
    numbers = itertools.count()

    def token() -> dict[str, object]:
        return {"user_id": f"t{next(numbers)}"}

    def user() -> dict[str, object]:
        return {"external_id": f"n{next(numbers)}"}

    hold_fair(
        reads,
        *flood(
            pair,
            lambda number: (
                sends(pair.foe(), "/v1/users", user, {201, 429})
                if number % 2
                else sends(pair.foe(), "/v1/auth/gamer-token", token, {201, 429})
            ),
        ),
    )
