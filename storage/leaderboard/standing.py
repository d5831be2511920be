"""Standings: what a user's counted events add up to in a window, and the board's order read from PostgreSQL.

Only the pump that owns a user's partition writes its standings, so rows are merged without a lock between pumps. `updated_at` of an
entry on the wire is its `reached_at`: the instant that the order of the board uses.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import TupleRow, tuple_row

from domain.leaderboard.definition import Aggregation, Method
from domain.leaderboard.standing import Contribution
from runtime.postgres import Connection
from storage import binary_columns


class Delta(msgspec.Struct, gc=False):
    """What one batch adds to one user's standing in one window."""

    tenant_id: UUID
    window_id: UUID
    user_id: UUID
    external_user_id: str
    contribution: Contribution


class WindowDeltas(msgspec.Struct, frozen=True):
    """What one batch adds to the standings of one window. `users` are the integers of their ids, in order: neighbours in the index are
    then written together; `names` their external ids as `binary_columns.text` makes them."""

    tenant_id: UUID
    window_id: UUID
    users: Sequence[int]
    names: Sequence[bytes]
    contributions: Sequence[Contribution]


class RankedEntry(msgspec.Struct, frozen=True, gc=False):
    """A line of a board: the external id, the score in 1/10 000 point, and when it was reached."""

    external_user_id: str
    score: int
    reached_at: datetime


# How the derived columns follow from the kept ones, first given and then merged (contract 3; the same as `score_of` in the domain).


# A total beyond bigint is kept exactly, as `total` and whole `turns` of 2^64: no event breaks a sum, and none is forgotten (decision 25).
_MOST, _LEAST = "9223372036854775807", "'-9223372036854775808'::bigint"
_BEYOND = f"s.total > 0 AND excluded.total > {_MOST} - s.total"
_BELOW = f"s.total < 0 AND excluded.total < {_LEAST} - s.total"
_TOTAL = f"""(CASE WHEN {_BEYOND} THEN (s.total + {_LEAST}) + (excluded.total + {_LEAST})
              WHEN {_BELOW} THEN (s.total + {_MOST}) + (excluded.total + {_MOST}) + 2 ELSE s.total + excluded.total END)"""
_TURNS = f"(s.turns + CASE WHEN {_BEYOND} THEN 1 WHEN {_BELOW} THEN -1 ELSE 0 END)"


def _half_even(total: str, counted: str, quotient: str) -> str:
    """PostgreSQL divides towards zero and rounds halves away from it: floor and remainder are made by hand."""
    floor = f"({quotient} - (mod({total}, {counted}) < 0)::int)"
    rest = f"mod(mod({total}, {counted}) + {counted}, {counted})"
    return f"({floor} + (2 * {rest} > {counted} OR 2 * {rest} = {counted} AND mod({floor}, 2) <> 0)::int)"


def _score(aggregation: Aggregation, value: dict[str, str]) -> tuple[str, str]:
    if aggregation is Aggregation.SUM:
        clamped = f"CASE WHEN {value['turns']} > 0 THEN {_MOST} WHEN {value['turns']} < 0 THEN {_LEAST} ELSE {value['total']} END"
        return clamped, f"coalesce({value['scored_at']}, {value['counted_at']})"
    if aggregation is Aggregation.COUNT:
        return f"{value['counted']} * 10000", value["counted_at"]
    if aggregation is Aggregation.AVG:
        total, counted, turns = value["total"], value["counted"], value["turns"]
        exact = f"({turns} * 18446744073709551616 + {total})"  # numeric: right for both, and too slow for what is usual
        usual, beyond = _half_even(total, counted, f"{total} / {counted}"), _half_even(exact, counted, f"div({exact}, {counted})::bigint")
        return f"CASE WHEN {turns} = 0 THEN {usual} ELSE {beyond} END", value["counted_at"]
    return value["best"], value["best_at"]


def _merge_statement(aggregation: Aggregation) -> str:
    """One upsert of sorted rows. GREATEST and LEAST pass over nulls, as the merge of `domain/leaderboard/standing.py` does."""
    given = {name: f"d.{name}" for name in ("total", "counted", "best", "best_at", "counted_at")}
    given["scored_at"] = "nullif(d.scored, '-infinity')"
    given["turns"] = "0"
    merged = {
        "total": _TOTAL,
        "turns": _TURNS,
        "counted": "(s.counted + excluded.counted)",
        "scored_at": "greatest(s.scored_at, excluded.scored_at)",
        "counted_at": "greatest(s.counted_at, excluded.counted_at)",
        "best": "NULL::bigint",
        "best_at": "NULL::timestamptz",
    }
    if _keeps_best(aggregation):
        better = ">" if aggregation is Aggregation.MAX else "<"
        merged["best"] = ("greatest" if aggregation is Aggregation.MAX else "least") + "(s.best, excluded.best)"
        merged["best_at"] = (
            f"CASE WHEN excluded.best {better} s.best THEN excluded.best_at WHEN excluded.best = s.best "
            "THEN least(s.best_at, excluded.best_at) ELSE s.best_at END"
        )
    columns = ["place", "user_id", "external_user_id", "total", "counted", "counted_at", "scored"]
    types = ["integer", "uuid", "text", "bigint", "bigint", "timestamptz", "timestamptz"]
    best = "NULL::bigint, NULL::timestamptz"
    if _keeps_best(aggregation):
        columns += ["best", "best_at"]
        types += ["bigint", "timestamptz"]
        best = "d.best, d.best_at"
    first_score, first_reached = _score(aggregation, given)
    score, reached = _score(aggregation, merged)
    return f"""
        INSERT INTO standing AS s (tenant_id, window_id, user_id, external_user_id, score, reached_at, total, counted, best, best_at,
                                   scored_at, counted_at, scoring_partition, position)
        SELECT (%b::uuid[])[d.place], (%b::uuid[])[d.place], d.user_id, d.external_user_id, {first_score}, {first_reached}, d.total,
               d.counted, {best}, {given["scored_at"]}, d.counted_at, %s::smallint, %s::bigint
        FROM unnest({", ".join(f"%b::{each}[]" for each in types)}) AS d ({", ".join(columns)})
        ON CONFLICT (tenant_id, window_id, user_id) DO UPDATE SET
            score = {score}, reached_at = {reached}, total = {merged["total"]}, turns = {merged["turns"]}, counted = {merged["counted"]},
            best = {merged["best"]}, best_at = {merged["best_at"]}, scored_at = {merged["scored_at"]},
            counted_at = {merged["counted_at"]},
            position = excluded.position
        RETURNING window_id, external_user_id, score, reached_at
    """


def _keeps_best(aggregation: Aggregation) -> bool:
    return aggregation in (Aggregation.MAX, Aggregation.MIN)


_MERGE = {aggregation: _merge_statement(aggregation) for aggregation in Aggregation}

Merged = tuple[bytes, bytes, int, int]
"""Window, external id, score and PostgreSQL's microseconds of `reached_at`."""


async def merge_windows(
    connection: Connection, aggregation: Aggregation, windows: Sequence[WindowDeltas], *, partition: int, position: int
) -> list[Merged]:
    """Add what a batch gave to the standings of windows with this aggregation: the standings as they are now.

    `position` is the batch's last: rows keep it, so that a gap in the rankings can be filled from them.
    """
    async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        binary_columns.as_packed(cursor)
        await cursor.execute(_MERGE[aggregation], _arguments(aggregation, windows, partition, position))
        return await cursor.fetchall()


def _arguments(aggregation: Aggregation, windows: Sequence[WindowDeltas], partition: int, position: int) -> list[Any]:
    parts = [part for window in windows for part in window.contributions]
    at = binary_columns.Instants()
    arguments: list[Any] = [
        binary_columns.uuids(window.tenant_id.int for window in windows),
        binary_columns.uuids(window.window_id.int for window in windows),
        partition,
        position,
        binary_columns.integers([place for place, window in enumerate(windows, 1) for _ in window.users], width=4),
        binary_columns.uuids([user for window in windows for user in window.users]),
        binary_columns.texts([name for window in windows for name in window.names]),
        binary_columns.integers([part.total for part in parts]),
        binary_columns.integers([part.counted for part in parts]),
        binary_columns.instants([at[part.counted_at] for part in parts]),
        binary_columns.instants([binary_columns.NO_INSTANT if part.scored_at is None else at[part.scored_at] for part in parts]),
    ]
    if _keeps_best(aggregation):  # never None there
        arguments.append(binary_columns.integers([part.best for part in parts]))  # type: ignore[misc]
        arguments.append(binary_columns.instants([at[part.best_at] for part in parts]))  # type: ignore[index]
    return arguments


async def merge_standings(
    connection: Connection, aggregation: Aggregation, deltas: Sequence[Delta], *, partition: int, position: int
) -> list[tuple[UUID, str, int, datetime]]:
    """`merge_windows` of single deltas, sorted by window and user: (window, external id, score, reached_at) as they are now."""
    by_window: dict[tuple[UUID, UUID], list[Delta]] = defaultdict(list)
    for delta in deltas:
        by_window[delta.tenant_id, delta.window_id].append(delta)
    windows = [
        WindowDeltas(
            tenant_id,
            window_id,
            [delta.user_id.int for delta in mine],
            [binary_columns.text(delta.external_user_id) for delta in mine],
            [delta.contribution for delta in mine],
        )
        for (tenant_id, window_id), mine in by_window.items()
    ]
    merged = await merge_windows(connection, aggregation, windows, partition=partition, position=position)
    return [(UUID(bytes=window), name.decode(), score, binary_columns.instant(reached)) for window, name, score, reached in merged]


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
) -> list[RankedEntry]:
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
        return [RankedEntry(*row) for row in await cursor.fetchall()]


async def find_standing(connection: Connection, tenant_id: UUID, window_id: UUID, external_id: str) -> RankedEntry | None:
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
    return RankedEntry(*row) if row else None


def around_offset(rank: int, total: int, limit: int) -> int:
    """The 0-based first of the `limit` entries around a 0-based rank: the user in the middle where the board's ends allow."""
    return max(0, min(rank - (limit - 1) // 2, total - limit))


async def count_ahead(
    connection: Connection, tenant_id: UUID, window_id: UUID, *, method: Method, min_score: int | None, entry: RankedEntry
) -> int:
    """How many ranked entries stand before this one: its 0-based rank."""
    better = "<" if method is Method.SCORE_ASC else ">"  # compared, not negated: the least bigint has no negative
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            f"""
            SELECT count(*) FROM standing
            WHERE tenant_id = %s AND window_id = %s AND score >= coalesce(%s, score)
              AND score {better}= %s AND (score <> %s OR (reached_at, external_user_id) < (%s, %s COLLATE "C"))
            """,
            (tenant_id, window_id, min_score, entry.score, entry.score, entry.reached_at, entry.external_user_id),
        )
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def find_contribution(connection: Connection, tenant_id: UUID, window_id: UUID, user_id: UUID) -> Contribution | None:
    """What a user's counted events add up to in the window."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT total + turns * 18446744073709551616, counted, best, best_at, scored_at, counted_at, position FROM standing
            WHERE tenant_id = %s AND window_id = %s AND user_id = %s
            """,
            (tenant_id, window_id, user_id),
        )
        row = await cursor.fetchone()
    return Contribution(int(row[0]), *row[1:]) if row else None


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
