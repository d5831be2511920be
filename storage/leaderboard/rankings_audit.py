"""The proof that live boards say what PostgreSQL says: `laurel verify-rankings`. Scoring may go on meanwhile.

A user's entry is comparable once the rankings hold its partition up to the position at which the standing was last changed. Redis is
read first and PostgreSQL after it, so PostgreSQL is never behind: a standing that changed after what Redis holds is looked at again.
The order of a board is the byte order of its members, which are order key + user; the scripts of the rankings see to it that its hash
and its sorted set hold equally many. So a board is right when each user has the right order key, and that member is in the set.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import tuple_row

from domain.leaderboard.standing import KEY_LENGTH, decode_member, is_ranked, order_key
from runtime.postgres import Connection, Pool
from storage.leaderboard.definition import ranked_board_of, window_config
from storage.leaderboard.rankings import Held, RankedBoard, Rankings
from storage.leaderboard.standing import each_standing

CHUNK = 1000
PATIENCE_SECONDS = 15.0
PAUSE_SECONDS = 0.2
LOOKS = 3
"""A difference is told after so many looks: a board may be filled anew or change its rules while it is compared."""


class NamedWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window as people know it, and as the rankings do."""

    leaderboard_id: str
    window_key: str
    board: RankedBoard


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """A user whose live entry is not what PostgreSQL says; `reason` in words."""

    user: str
    reason: str


class AuditVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came out for a window. `complete` is False when its readers are sent to PostgreSQL: there is nothing to compare."""

    complete: bool
    compared: int = 0
    drifts: tuple[Drift, ...] = ()


class AuditedStanding(msgspec.Struct, frozen=True):
    """A standing: its order key (empty when it is not ranked), and which batch of which partition changed it last."""

    key: bytes
    partition: int
    position: int


class Suspect(msgspec.Struct):
    """A user whose entry differed: the position that Redis has to reach, and how often it differed although it had."""

    partition: int
    position: int
    looks: int = 0
    reason: str = ""


class NotComplete(Exception):
    """The board is not complete in the rankings: readers get their answers from PostgreSQL."""


async def ranked_windows(connection: Connection, tenant_id: UUID | None, leaderboard_id: str | None) -> list[NamedWindow]:
    """The windows that the rankings should hold: of one tenant or all (None), of one board or all."""
    cursor = await connection.execute(
        """
        SELECT w.tenant_id, w.board_id, coalesce(w.standings_id, w.window_id) AS standings_id, w.window_key, b.leaderboard_id, b.config,
               b.timeline, w.starts_at
        FROM leaderboard_window AS w
        JOIN leaderboard AS b ON b.tenant_id = w.tenant_id AND b.board_id = w.board_id AND b.status <> 'archived'
        WHERE w.status IN ('open', 'closing') AND w.tenant_id = coalesce(%s, w.tenant_id)
          AND b.leaderboard_id = coalesce(%s, b.leaderboard_id)
        ORDER BY w.tenant_id, b.leaderboard_id, w.starts_at, w.window_id
        """,
        (tenant_id, leaderboard_id),
    )
    return [
        NamedWindow(
            leaderboard_id=row["leaderboard_id"],
            window_key=row["window_key"],
            board=ranked_board_of(row["tenant_id"], row["board_id"], row["standings_id"], window_config(row)),
        )
        for row in await cursor.fetchall()
    ]


async def verify_window(
    pool: Pool,
    rankings: Rankings,
    board: RankedBoard,
    *,
    progress: Callable[[int], None] = lambda _entries: None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> AuditVerdict:
    """Compare every entry; `progress` is told of entries as they are compared. Raises RedisError when Redis is away.

    What differs is looked at again until Redis holds it, at most for `patience_seconds`: a publisher that does not come that far is
    drift too, while one that keeps pace with a user who never rests is none.
    """
    suspects: dict[bytes, Suspect] = {}
    compared = 0
    try:
        async for differing, count in _each_chunk(pool, rankings, board):
            suspects.update(differing)
            compared += count
            progress(count)
        drifts = await _look_again(pool, rankings, board, suspects, seconds=patience_seconds)
        if drifts and not await _is_shown(pool, board):  # the window was closed or rescored meanwhile: nobody reads these entries
            return AuditVerdict(complete=False)
    except NotComplete:
        return AuditVerdict(complete=False)
    return AuditVerdict(complete=True, compared=compared, drifts=tuple(drifts))


async def _is_shown(pool: Pool, board: RankedBoard) -> bool:
    async with pool.connection() as connection:
        return board.window_id in {each.board.window_id for each in await ranked_windows(connection, board.tenant_id, None)}


async def _each_chunk(pool: Pool, rankings: Rankings, board: RankedBoard) -> AsyncIterator[tuple[dict[bytes, Suspect], int]]:
    """All that PostgreSQL has, then all that Redis has: whoever differs, and how many were compared."""
    async with pool.connection() as connection, connection.transaction():
        async for rows in each_standing(connection, board.tenant_id, board.window_id, chunk=CHUNK):
            expected = {row[0].encode(): _key(board, row[1], row[2]) for row in rows}
            held = await _held(rankings, board, list(expected))
            yield {user: Suspect(-1, -1) for user, key in expected.items() if not _agrees(held, user, key)}, len(rows)
    async for found in rankings.users(board, CHUNK):
        for users in _chunks(found):
            yield await _compare(pool, rankings, board, {user: Suspect(-1, -1) for user in users}), 0


async def _look_again(pool: Pool, rankings: Rankings, board: RankedBoard, suspects: dict[bytes, Suspect], *, seconds: float) -> list[Drift]:
    deadline, drifts = time.monotonic() + seconds, list[Drift]()
    while suspects:
        differing: dict[bytes, Suspect] = {}
        for users in _chunks(list(suspects)):
            differing |= await _compare(pool, rankings, board, {user: suspects[user] for user in users})
        over = time.monotonic() >= deadline
        done = {user: suspect for user, suspect in differing.items() if over or suspect.looks >= LOOKS}
        drifts += [Drift(user=user.decode(errors="replace"), reason=suspect.reason) for user, suspect in sorted(done.items())]
        suspects = {user: suspect for user, suspect in differing.items() if user not in done}
        if suspects:
            await asyncio.sleep(PAUSE_SECONDS)
    return drifts


async def _compare(pool: Pool, rankings: Rankings, board: RankedBoard, suspects: dict[bytes, Suspect]) -> dict[bytes, Suspect]:
    """Those of them who (still) differ, at equal positions or because Redis is behind."""
    held = await _held(rankings, board, list(suspects))
    async with pool.connection() as connection:
        lines = await _lines(connection, board, [user.decode(errors="replace") for user in suspects])
    differing: dict[bytes, Suspect] = {}
    for user, suspect in suspects.items():
        line = lines.get(user, AuditedStanding(b"", -1, -1))
        if _agrees(held, user, line.key):
            continue
        if line.position <= (reached := held.marks.get(line.partition, 0)):
            differing[user] = Suspect(line.partition, line.position, suspect.looks + 1, _difference(board, held, user, line))
        elif not 0 <= suspect.position <= reached:  # it is further than when the user was first seen to differ: it keeps pace
            awaited = line.position if suspect.position < 0 else suspect.position
            reason = f"partition {line.partition} is published up to {reached}, the standing changed at {line.position}"
            differing[user] = Suspect(line.partition, awaited, 0, reason)
    return differing


async def _held(rankings: Rankings, board: RankedBoard, users: Sequence[bytes]) -> Held:
    found = await rankings.held(board, users)
    if found is None:
        raise NotComplete
    return found


async def _lines(connection: Connection, board: RankedBoard, users: Sequence[str]) -> dict[bytes, AuditedStanding]:
    async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(
            """
            SELECT s.external_user_id, s.score, s.reached_at, s.scoring_partition, s.position
            FROM app_user AS u JOIN standing AS s ON s.tenant_id = u.tenant_id AND s.user_id = u.user_id AND s.window_id = %s
            WHERE u.tenant_id = %s AND u.external_id = ANY(%s)
            """,
            (board.window_id, board.tenant_id, [user for user in users if "\0" not in user]),
        )
        rows = await cursor.fetchall()
    return {user.encode(): AuditedStanding(_key(board, score, at), partition, position) for user, score, at, partition, position in rows}


def _key(board: RankedBoard, score: int, reached_at: datetime) -> bytes:
    return order_key(board.method, score, reached_at) if is_ranked(score, board.min_score) else b""


def _agrees(held: Held, user: bytes, key: bytes) -> bool:
    """Whether the user has this order key and its member stands in the set, where all have the score 0; or neither."""
    return held.entries[user] == (key, b"0" if key else b"")


def _difference(board: RankedBoard, held: Held, user: bytes, line: AuditedStanding) -> str:
    key, member_score = held.entries[user]
    if key == line.key:
        return "its member is missing in the sorted set" if member_score == b"" else f"its member has the score {member_score.decode()}"
    return f"live {_told(board, key)}, stored {_told(board, line.key)}"


def _told(board: RankedBoard, key: bytes) -> str:
    if len(key) != KEY_LENGTH:
        return "not ranked" if not key else "unreadable"
    score, reached_at, _ = decode_member(board.method, key)
    return f"{score / 10_000:.4f} reached at {reached_at.isoformat()}"


def _chunks(users: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (users[start : start + CHUNK] for start in range(0, len(users), CHUNK))


def drift_lines(window: NamedWindow, drifts: Iterable[Drift]) -> list[str]:
    """The findings as a person reads them, one line each."""
    where = f"tenant {window.board.tenant_id}, board {window.leaderboard_id}, window {window.window_key}"
    return [f"{where}, user {drift.user}: {drift.reason}" for drift in drifts]
