"""Standings: what a user's counted events add up to in a window, and the board's order read from PostgreSQL.

Only the pump that owns a user's partition writes its standings, so rows are merged without a lock between pumps. `updated_at` of an
entry on the wire is its `reached_at`: the instant that the order of the board uses.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import TupleRow, tuple_row

from domain.leaderboard import Aggregation, Method
from domain.standing import Contribution
from runtime.postgres import Connection


class Delta(msgspec.Struct, gc=False):
    """What one batch adds to one user's standing in one window."""

    tenant_id: UUID
    window_id: UUID
    user_id: UUID
    external_user_id: str
    contribution: Contribution


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A line of a board: the external id, the score in 1/10 000 point, and when it was reached."""

    external_user_id: str
    score: int
    reached_at: datetime


# How the derived columns follow from the kept ones, first given and then merged (contract 3; the same as `score_of` in domain/standing.py).


def _half_even(total: str, counted: str) -> str:
    """PostgreSQL divides towards zero and rounds halves away from it: floor and remainder are made by hand."""
    floor = f"({total} / {counted} - (mod({total}, {counted}) < 0)::int)"
    rest = f"mod(mod({total}, {counted}) + {counted}, {counted})"
    return f"({floor} + (2 * {rest} > {counted} OR 2 * {rest} = {counted} AND mod({floor}, 2) <> 0)::int)"


def _score(aggregation: Aggregation, value: dict[str, str]) -> tuple[str, str]:
    if aggregation is Aggregation.SUM:
        return value["total"], f"coalesce({value['scored_at']}, {value['counted_at']})"
    if aggregation is Aggregation.COUNT:
        return f"{value['counted']} * 10000", value["counted_at"]
    if aggregation is Aggregation.AVG:
        return _half_even(value["total"], value["counted"]), value["counted_at"]
    return value["best"], value["best_at"]


def _merge_statement(aggregation: Aggregation) -> str:
    """One upsert of sorted rows. GREATEST and LEAST pass over nulls, as the merge of `domain/standing.py` does."""
    given = {name: f"d.{name}" for name in ("total", "counted", "best", "best_at", "scored_at", "counted_at")}
    merged = {
        "total": "(s.total + excluded.total)",
        "counted": "(s.counted + excluded.counted)",
        "scored_at": "greatest(s.scored_at, excluded.scored_at)",
        "counted_at": "greatest(s.counted_at, excluded.counted_at)",
        "best": "NULL::bigint",
        "best_at": "NULL::timestamptz",
    }
    if aggregation in (Aggregation.MAX, Aggregation.MIN):
        better = ">" if aggregation is Aggregation.MAX else "<"
        merged["best"] = ("greatest" if aggregation is Aggregation.MAX else "least") + "(s.best, excluded.best)"
        merged["best_at"] = (
            f"CASE WHEN excluded.best {better} s.best THEN excluded.best_at WHEN excluded.best = s.best "
            "THEN least(s.best_at, excluded.best_at) ELSE s.best_at END"
        )
    first_score, first_reached = _score(aggregation, given)
    score, reached = _score(aggregation, merged)
    return f"""
        INSERT INTO standing AS s (tenant_id, window_id, user_id, external_user_id, score, reached_at, total, counted, best, best_at,
                                   scored_at, counted_at, scoring_partition, position)
        SELECT d.tenant_id, d.window_id, d.user_id, d.external_user_id, {first_score}, {first_reached}, d.total, d.counted, d.best,
               d.best_at, d.scored_at, d.counted_at, %s::smallint, %s::bigint
        FROM unnest(%b::uuid[], %b::uuid[], %b::uuid[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::timestamptz[],
                    %b::timestamptz[], %b::timestamptz[])
             AS d (tenant_id, window_id, user_id, external_user_id, total, counted, best, best_at, scored_at, counted_at)
        ON CONFLICT (tenant_id, window_id, user_id) DO UPDATE SET
            score = {score}, reached_at = {reached}, total = {merged["total"]}, counted = {merged["counted"]}, best = {merged["best"]},
            best_at = {merged["best_at"]}, scored_at = {merged["scored_at"]}, counted_at = {merged["counted_at"]},
            position = excluded.position
        RETURNING window_id, external_user_id, score, reached_at
    """


_MERGE = {aggregation: _merge_statement(aggregation) for aggregation in Aggregation}


async def merge_standings(
    connection: Connection, aggregation: Aggregation, deltas: Sequence[Delta], *, partition: int, position: int
) -> list[tuple[UUID, str, int, datetime]]:
    """Add what a batch gave to the standings of windows with this aggregation: (window, external id, score, reached_at) as they are now.

    Give the deltas sorted, so that neighbours in the index are written together.
    `position` is the batch's last: rows keep it, so that a gap in the live store can be filled from them.
    """
    parts = [delta.contribution for delta in deltas]
    arguments: list[Any] = [
        partition,
        position,
        [delta.tenant_id for delta in deltas],
        [delta.window_id for delta in deltas],
        [delta.user_id for delta in deltas],
        [delta.external_user_id for delta in deltas],
        [part.total for part in parts],
        [part.counted for part in parts],
        [part.best for part in parts],
        [part.best_at for part in parts],
        [part.scored_at for part in parts],
        [part.counted_at for part in parts],
    ]
    async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(_MERGE[aggregation], arguments)
        return await cursor.fetchall()


def direction(method: Method) -> str:
    """How SQL sorts scores so that rank 1 comes first."""
    return "ASC" if method is Method.SCORE_ASC else "DESC"


async def ranked_total(connection: Connection, tenant_id: UUID, window_id: UUID, min_score: int | None) -> int:
    """How many are ranked in the window."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "SELECT count(*) FROM standing WHERE tenant_id = %s AND window_id = %s AND score >= coalesce(%s, score)",
            (tenant_id, window_id, min_score),
        )
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def standings_page(
    connection: Connection, tenant_id: UUID, window_id: UUID, *, method: Method, min_score: int | None, first: int, limit: int
) -> list[Entry]:
    """The entries from the 0-based `first`, best first, in the total order of contract 3."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            f"""
            SELECT external_user_id, score, reached_at FROM standing
            WHERE tenant_id = %s AND window_id = %s AND score >= coalesce(%s, score)
            ORDER BY score {direction(method)}, reached_at, external_user_id LIMIT %s OFFSET %s
            """,
            (tenant_id, window_id, min_score, limit, first),
        )
        return [Entry(*row) for row in await cursor.fetchall()]


async def find_standing(connection: Connection, tenant_id: UUID, window_id: UUID, external_id: str) -> Entry | None:
    """A user's line in the window, ranked or not."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT s.external_user_id, s.score, s.reached_at
            FROM app_user AS u JOIN standing AS s ON s.tenant_id = u.tenant_id AND s.user_id = u.user_id AND s.window_id = %s
            WHERE u.tenant_id = %s AND u.external_id = %s
            """,
            (window_id, tenant_id, external_id),
        )
        row = await cursor.fetchone()
    return Entry(*row) if row else None


def around_offset(rank: int, total: int, limit: int) -> int:
    """The 0-based first of the `limit` entries around a 0-based rank: the user in the middle where the board's ends allow."""
    return max(0, min(rank - (limit - 1) // 2, total - limit))


async def count_ahead(
    connection: Connection, tenant_id: UUID, window_id: UUID, *, method: Method, min_score: int | None, entry: Entry
) -> int:
    """How many ranked entries stand before this one: its 0-based rank."""
    sign = "" if method is Method.SCORE_ASC else "-"
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            f"""
            SELECT count(*) FROM standing
            WHERE tenant_id = %s AND window_id = %s AND score >= coalesce(%s, score)
              AND ({sign}score, reached_at, external_user_id) < ({sign}(%s::bigint), %s, %s COLLATE "C")
            """,
            (tenant_id, window_id, min_score, entry.score, entry.reached_at, entry.external_user_id),
        )
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def find_contribution(connection: Connection, tenant_id: UUID, window_id: UUID, user_id: UUID) -> Contribution | None:
    """What a user's counted events add up to in the window."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT total, counted, best, best_at, scored_at, counted_at, position FROM standing
            WHERE tenant_id = %s AND window_id = %s AND user_id = %s
            """,
            (tenant_id, window_id, user_id),
        )
        row = await cursor.fetchone()
    return Contribution(*row) if row else None


async def each_standing(connection: Connection, tenant_id: UUID, window_id: UUID, *, chunk: int) -> AsyncIterator[list[TupleRow]]:
    """All (external id, score, reached_at) of a window, in chunks, without holding them all in memory. Needs a transaction."""
    async with connection.cursor(name="each_standing", row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(
            "SELECT external_user_id, score, reached_at FROM standing WHERE tenant_id = %s AND window_id = %s", (tenant_id, window_id)
        )
        while rows := await cursor.fetchmany(chunk):
            yield rows


async def standings_since(connection: Connection, tenant_id: UUID, window_id: UUID, *, partition: int, position: int) -> list[TupleRow]:
    """The (external id, score, reached_at) of one partition's users that a batch after `position` has changed."""
    async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(
            """
            SELECT external_user_id, score, reached_at FROM standing
            WHERE tenant_id = %s AND window_id = %s AND scoring_partition = %s AND position > %s
            """,
            (tenant_id, window_id, partition, position),
        )
        return await cursor.fetchall()
