"""The demo's own account of a board, by hand, and its partner's check of signatures, by the vectors."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from demo.boards import BOARDS, Row, reckon
from demo.play import Result, events_of, make_results, user_id_of
from demo.receiver import ReceivingPartner

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent.parent / "vectors/webhook.json").read_text())
NOON = datetime(1969, 12, 31, 12, tzinfo=UTC)
BOARD = {board.key: board for board in BOARDS}


def result(team: str, goals: int, conceded: int, day: int, *, tournament: str = "Cup", neutral: bool = True) -> Result:
    played_at = NOON + timedelta(days=day)
    return Result(team=team, played_at=played_at, goals=goals, conceded=conceded, tournament=tournament, neutral=neutral)


PLAY = [result("b", 2, 1, 0), result("a", 1, 2, 0), result("a", 3, 0, 1), result("é", 1, 0, 1), result("a", 0, 4, 2), result("c", 0, 4, 2)]


def rows(key: str) -> list[tuple[str, Decimal, int]]:
    return [(row.user_id, row.score, (row.reached_at - NOON).days) for row in reckon(BOARD[key], PLAY)]


def test_sums_tie_by_the_day_of_the_last_points_then_by_bytes() -> None:
    assert rows("league") == [("b", 3, 0), ("a", 3, 1), ("é", 3, 1), ("c", 0, 2)]


def test_counts_and_averages_are_reached_with_the_latest_that_counts() -> None:
    assert rows("clean-sheets") == [("a", 1, 1), ("é", 1, 1)]
    assert rows("goal-average") == [("b", 2, 0), ("a", Decimal("1.3333"), 2), ("é", 1, 1), ("c", 0, 2)]


def test_extremes_are_reached_with_the_first_that_gave_them() -> None:
    assert rows("biggest-win") == [("a", 3, 1), ("b", 1, 0), ("é", 1, 1)]
    assert [(user, score) for user, score, _ in rows("worst-day")] == [("a", -4), ("c", -4), ("b", 1), ("é", 1)]


def test_ranks_are_distinct_and_start_at_one() -> None:
    board: list[Row] = reckon(BOARD["league"], PLAY)
    assert [row.rank for row in board] == [1, 2, 3, 4]


def test_generated_play_is_the_same_at_every_run_but_for_its_time() -> None:
    first, second = make_results(31, NOON), make_results(31, NOON)
    assert first == second
    assert len(first) == 31
    events = list(events_of(first, "demo-1"))
    assert len({event["event_id"] for event in events}) == 31


def test_team_names_become_ids_that_a_path_can_hold() -> None:
    assert user_id_of("Côte d'Ivoire") == "Côte d'Ivoire"
    assert user_id_of("Bosnia/Herzegovina\n") == "Bosnia-Herzegovina-"
    with pytest.raises(ValueError, match="cannot be a user id"):
        user_id_of("me")


@pytest.mark.parametrize("vector", [each for each in VECTORS if "webhook_signature" in each], ids=lambda each: each["name"])
def test_the_partner_accepts_the_vectors_and_nothing_else(vector: dict[str, Any]) -> None:
    partner = ReceivingPartner(vector["secret"], "", "")
    headers = {
        "X-GamifyEngine-Timestamp": str(vector["timestamp"]),
        "X-GamifyEngine-Signature": vector["x_gamifyengine_signature"],
        "webhook-id": vector["delivery_id"],
        "webhook-timestamp": str(vector["timestamp"]),
        "webhook-signature": f"v1,AAAA {vector['webhook_signature']}",
    }
    body = vector["body"].encode()
    assert partner.check(headers, body) | {"recent": True} == {"seed_signature": True, "standard_signature": True, "recent": True}
    assert partner.check(headers, body + b" ") == {"seed_signature": False, "standard_signature": False, "recent": False}
