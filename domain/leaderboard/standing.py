"""A user's line on a board: what must be kept so that any order of arrival gives the same score and the same rank (contract 3)."""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from domain.leaderboard.definition import Aggregation, Method

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HALF = 1 << 63
_PACK = struct.Struct(">QQ")
KEY_LENGTH = _PACK.size
SCORE_LIMIT = _HALF - 1
"""The highest score, in 1/10 000; the lowest is one below its negative. A sum beyond them shows as the nearest, and is kept exactly."""


class Contribution(msgspec.Struct, gc=False):
    """What counted events of one user in one window add up to. Scores are in 1/10 000 point; instants are `occurred_at`. `total` is exact.

    `best`, `best_at` are kept for `max` and `min` only. Not frozen: scoring adds to it in place; `merge` makes a new one.
    """

    total: int
    counted: int
    best: int | None
    best_at: datetime | None
    scored_at: datetime | None
    counted_at: datetime
    position: int = 0


def merge(aggregation: Aggregation, left: Contribution, right: Contribution) -> Contribution:
    """Both together: commutative and associative, so the order of arrival, batches and replay do not matter."""
    best, best_at = _better(aggregation, left, right)
    return Contribution(
        total=left.total + right.total,
        counted=left.counted + right.counted,
        best=best,
        best_at=best_at,
        scored_at=_latest(left.scored_at, right.scored_at),
        counted_at=max(left.counted_at, right.counted_at),
        position=max(left.position, right.position),
    )


def _latest(left: datetime | None, right: datetime | None) -> datetime | None:
    return right if left is None else left if right is None else max(left, right)


def _better(aggregation: Aggregation, left: Contribution, right: Contribution) -> tuple[int | None, datetime | None]:
    if left.best is None or right.best is None:
        return (right.best, right.best_at) if left.best is None else (left.best, left.best_at)
    if left.best == right.best:
        assert left.best_at is not None
        assert right.best_at is not None
        return left.best, min(left.best_at, right.best_at)
    wins = left.best > right.best if aggregation is Aggregation.MAX else left.best < right.best
    return (left.best, left.best_at) if wins else (right.best, right.best_at)


def one_event(aggregation: Aggregation, points: int, occurred_at: datetime, position: int = 0) -> Contribution:
    """The contribution of a single counted event."""
    keeps_best = aggregation in (Aggregation.MAX, Aggregation.MIN)
    return Contribution(
        total=points,
        counted=1,
        best=points if keeps_best else None,
        best_at=occurred_at if keeps_best else None,
        scored_at=occurred_at if points else None,
        counted_at=occurred_at,
        position=position,
    )


def half_even_quotient(dividend: int, divisor: int) -> int:
    """The nearest integer of dividend / divisor (> 0), a tie to the even one."""
    quotient, rest = divmod(dividend, divisor)
    return quotient + (2 * rest > divisor or (2 * rest == divisor and quotient % 2))


def score_of(aggregation: Aggregation, standing: Contribution) -> tuple[int, datetime]:
    """(score in 1/10 000, reached_at) as contract 3 derives them for the aggregation."""
    if aggregation is Aggregation.SUM:
        return max(-SCORE_LIMIT - 1, min(SCORE_LIMIT, standing.total)), standing.scored_at or standing.counted_at
    if aggregation is Aggregation.COUNT:
        return standing.counted * 10_000, standing.counted_at
    if aggregation is Aggregation.AVG:
        return half_even_quotient(standing.total, standing.counted), standing.counted_at
    assert standing.best is not None
    assert standing.best_at is not None
    return standing.best, standing.best_at


def is_ranked(score: int, min_score: int | None) -> bool:
    """Whether a score is on the board: one below `min_score` (1/10 000) is not, whatever the method."""
    return min_score is None or score >= min_score


def order_key(method: Method, score: int, reached_at: datetime) -> bytes:
    """16 bytes; ascending `order_key + external id in UTF-8` is the board's total order, rank 1 first."""
    return _PACK.pack(_unsigned(method, score), (reached_at - _EPOCH) // _MICROSECOND + _HALF)


def order_keys(method: Method, scored: Iterable[tuple[int, int]]) -> list[bytes]:
    """`order_key` of each (score, microseconds since 1970)."""
    if method is Method.SCORE_ASC:
        return [_PACK.pack(score + _HALF, reached + _HALF) for score, reached in scored]
    return [_PACK.pack(_HALF - 1 - score, reached + _HALF) for score, reached in scored]


def _unsigned(method: Method, score: int) -> int:
    return score + _HALF if method is Method.SCORE_ASC else _HALF - 1 - score


def member(method: Method, score: int, reached_at: datetime, external_id: str) -> bytes:
    """The user's member in the sorted set of the window."""
    return order_key(method, score, reached_at) + external_id.encode()


def decode_member(method: Method, value: bytes) -> tuple[int, datetime, str]:
    """(score in 1/10 000, reached_at, external id) of a member."""
    unsigned, microseconds = _PACK.unpack_from(value)
    score = unsigned - _HALF if method is Method.SCORE_ASC else _HALF - 1 - unsigned
    return score, _EPOCH + (microseconds - _HALF) * _MICROSECOND, value[KEY_LENGTH:].decode()
