"""The demo's boards, each beside an independent account of what it must show, in plain Python and exact decimals."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

import msgspec

from demo.play import Result

PLACES = Decimal("0.0001")
POINTS_PER_LEAGUE_POINT = 10


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """A board as Laurel is told of it, and `score`: what one result is worth on it, or None when it does not count."""

    key: str
    name: str
    aggregation: Literal["sum", "count", "max", "min", "avg"]
    expression: str
    score: Callable[[Result], Decimal | None]
    filters: dict[str, Any] = {}
    conditions: dict[str, Any] = {}
    method: Literal["score_desc", "score_asc"] = "score_desc"


class Row(msgspec.Struct, frozen=True):
    """One line of a board."""

    rank: int
    user_id: str
    score: Decimal
    reached_at: datetime


BOARDS = (
    Board(key="league", name="League points", aggregation="sum", expression="attrs.points", score=lambda result: Decimal(result.points)),
    Board(
        key="neutral-ground",
        name="On neutral ground, friendlies aside",
        aggregation="sum",
        expression="attrs.goals * 1.5 - attrs.conceded / 3",
        filters={"attrs.tournament": {"ne": "Friendly"}},
        conditions={"attrs.neutral": {"eq": True}},
        score=lambda result: neutral_score(result) if result.neutral and result.tournament != "Friendly" else None,
    ),
    Board(
        key="clean-sheets",
        name="Clean sheets",
        aggregation="count",
        expression="1",
        conditions={"attrs.conceded": {"eq": 0}},
        score=lambda result: Decimal(1) if result.conceded == 0 else None,
    ),
    Board(
        key="biggest-win",
        name="Biggest win",
        aggregation="max",
        expression="max(attrs.goals - attrs.conceded, 0)",
        conditions={"attrs.victory": {"eq": True}},
        score=lambda result: Decimal(result.goals - result.conceded) if result.goals > result.conceded else None,
    ),
    Board(
        key="worst-day",
        name="Worst day",
        aggregation="min",
        method="score_asc",
        expression="attrs.goals - attrs.conceded",
        score=lambda result: Decimal(result.goals - result.conceded),
    ),
    Board(key="goal-average", name="Goals per match", aggregation="avg", expression="attrs.goals", score=lambda r: Decimal(r.goals)),
)


def neutral_score(result: Result) -> Decimal:
    """`goals * 1.5 - conceded / 3` in doubles, rounded half-even to 4 places (contract 3)."""
    return Decimal(result.goals * 1.5 - result.conceded / 3).quantize(PLACES, ROUND_HALF_EVEN)


def definition(board: Board, run: str) -> dict[str, Any]:
    """The board as the body of `POST /v1/admin/leaderboards`. Filtering by `run` leaves out what other demos play."""
    rule = {"event_type": "match.completed", "points_expression": board.expression, "conditions": board.conditions}
    return {
        "leaderboard_id": f"{run}-{board.key}",
        "name": board.name,
        "config": {
            "scope": {"filters": {"actor.metadata.demo": {"eq": run}, **board.filters}},
            "timeframe": {"type": "all_time"},
            "scoring": {"rules": [rule], "aggregation": board.aggregation},
            "ranking": {"method": board.method},
        },
    }


def reckon(board: Board, results: Iterable[Result]) -> list[Row]:
    """The whole board, best first, by contract 3: score, then `reached_at`, then the user's id in byte order."""
    counted: dict[str, list[tuple[Decimal, datetime]]] = defaultdict(list)
    for result in results:
        score = board.score(result)
        if score is not None:
            counted[result.team].append((score, result.played_at))
    sign = -1 if board.method == "score_desc" else 1
    standings = [(team, *settle(board.aggregation, scores)) for team, scores in counted.items()]
    standings.sort(key=lambda standing: (sign * standing[1], standing[2], standing[0].encode()))
    return [Row(rank, team, score, reached_at) for rank, (team, score, reached_at) in enumerate(standings, 1)]


def settle(aggregation: str, scores: list[tuple[Decimal, datetime]]) -> tuple[Decimal, datetime]:
    """The score of one user and the instant at which it was reached."""
    values = [value for value, _ in scores]
    latest = max(at for _, at in scores)
    if aggregation in ("max", "min"):
        best = max(values) if aggregation == "max" else min(values)
        return best, min(at for value, at in scores if value == best)
    if aggregation == "count":
        return Decimal(len(values)), latest
    if aggregation == "avg":
        return (sum(values, Decimal(0)) / len(values)).quantize(PLACES, ROUND_HALF_EVEN), latest
    return sum(values, Decimal(0)), max((at for value, at in scores if value != 0), default=latest)


def earned(results: Iterable[Result]) -> dict[str, int]:
    """What the demo's earning rule (`attrs.points * 10`) gives each user."""
    points: dict[str, int] = defaultdict(int)
    for result in results:
        points[result.team] += result.points * POINTS_PER_LEAGUE_POINT
    return dict(points)
