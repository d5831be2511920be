"""Snapshots: the final standings of a window with their ranks, written once and then only read (contract 3)."""

from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import tuple_row

from domain.leaderboard.definition import Method
from domain.leaderboard.window_messages import WindowStatus
from domain.scoring.rules import min_score_units
from runtime.postgres import Connection, count_changed
from storage.leaderboard.standing import RankedEntry, direction, ranked_total
from storage.leaderboard.window import WINDOW_COLUMNS, BoardWindow, WindowBoard, config_at

FREEZING = 7204


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot was made of: the order, the lowest score (1/10 000) that is ranked, how many are, and how many of them it keeps."""

    method: Method
    min_score: int | None
    total: int
    size: int


async def lock_freezing(connection: Connection, window_id: UUID) -> None:
    """Let one transaction at a time freeze this window. It locks no row, so scoring goes on beside it."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (FREEZING, str(window_id)))


async def write_snapshot(connection: Connection, tenant_id: UUID, found: WindowBoard) -> Snapshot:
    """The final ranks of a closing window in the order of the live board, by the ranking in force when the window closed."""
    window = found.window
    if window.closes_at is None:
        raise RuntimeError(f"window {window.window_key} has no end: it cannot be frozen")
    config = await config_at(connection, tenant_id, window.board_id, window.closes_at)
    method, bound = found.config.ranking.method, min_score_units(config)
    total = await ranked_total(connection, tenant_id, window.standings, bound)
    kept = await _write_entries(connection, tenant_id, window, method=method, min_score=bound, size=config.ranking.size)
    return Snapshot(method=method, min_score=bound, total=total, size=kept)


async def mark_frozen(connection: Connection, tenant_id: UUID, window: BoardWindow, snapshot: Snapshot, *, status: WindowStatus) -> int:
    """Move the window to `status` with what its snapshot says; its late events. From here on its row is locked."""
    cursor = await connection.execute(
        """
        UPDATE leaderboard_window SET status = %(status)s, closed_at = clock_timestamp(), total = %(total)s, snapshot_size = %(size)s,
               ranking_method = %(method)s, ranking_min_score = %(min_score)s
        WHERE tenant_id = %(tenant_id)s AND window_id = %(window_id)s RETURNING late_events
        """,
        {
            "status": status.value,
            "total": snapshot.total,
            "size": snapshot.size,
            "method": snapshot.method.value,
            "min_score": snapshot.min_score,
            "tenant_id": tenant_id,
            "window_id": window.window_id,
        },
    )
    row = await cursor.fetchone()
    return row["late_events"] if row else 0


async def _write_entries(
    connection: Connection, tenant_id: UUID, window: BoardWindow, *, method: Method, min_score: int | None, size: int
) -> int:
    order = f"score {direction(method)}, reached_at, external_user_id"
    return await count_changed(
        connection,
        f"""
        INSERT INTO snapshot_entry (tenant_id, window_id, rank, user_id, external_user_id, score, reached_at)
        SELECT tenant_id, %s, row_number() OVER (ORDER BY {order}), user_id, external_user_id, score, reached_at
        FROM (SELECT * FROM standing WHERE tenant_id = %s AND window_id = %s AND score >= coalesce(%s, score)
              ORDER BY {order} LIMIT %s) AS best
        """,
        (window.window_id, tenant_id, window.standings, min_score, size),
    )


async def snapshot_page(connection: Connection, tenant_id: UUID, window_id: UUID, *, first: int, limit: int) -> list[RankedEntry]:
    """The entries from the 0-based `first` on, in the order of their ranks."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "SELECT external_user_id, score, reached_at FROM snapshot_entry "
            "WHERE tenant_id = %s AND window_id = %s AND rank > %s AND rank <= %s ORDER BY rank",
            (tenant_id, window_id, first, first + limit),
        )
        return [RankedEntry(*row) for row in await cursor.fetchall()]


async def find_snapshot_entry(connection: Connection, tenant_id: UUID, window_id: UUID, external_id: str) -> tuple[int, RankedEntry] | None:
    """A user's 1-based rank and entry in the snapshot, or None."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "SELECT rank, external_user_id, score, reached_at FROM snapshot_entry "
            "WHERE tenant_id = %s AND window_id = %s AND external_user_id = %s",
            (tenant_id, window_id, external_id),
        )
        row = await cursor.fetchone()
    return (row[0], RankedEntry(*row[1:])) if row else None


class SnapshotRange(msgspec.Struct, frozen=True, kw_only=True):
    """Which snapshots a list shows, by their time: `since ≤ time < until`, and before the cursor's (time)."""

    since: datetime | None = None
    until: datetime | None = None
    before: datetime | None = None


async def snapshots_of(connection: Connection, tenant_id: UUID, board_id: UUID, wanted: SnapshotRange, *, limit: int) -> list[BoardWindow]:
    """The frozen windows of a board, newest first. One that got nothing but late events has no snapshot."""
    cursor = await connection.execute(
        f"""
        SELECT {WINDOW_COLUMNS} FROM leaderboard_window
        WHERE tenant_id = %s AND board_id = %s AND status IN ('closed', 'paid') AND total IS NOT NULL AND ends_at IS NOT NULL
          AND ends_at >= coalesce(%s::timestamptz, '-infinity') AND ends_at < coalesce(%s::timestamptz, 'infinity')
          AND ends_at < coalesce(%s::timestamptz, 'infinity')
        ORDER BY starts_at DESC LIMIT %s
        """,
        (tenant_id, board_id, wanted.since, wanted.until, wanted.before, limit),
    )
    return [msgspec.convert(row, BoardWindow) for row in await cursor.fetchall()]


async def snapshot_at(connection: Connection, tenant_id: UUID, board_id: UUID, snapshot_time: datetime) -> BoardWindow | None:
    """The frozen window whose planned end is this instant, or None."""
    cursor = await connection.execute(
        f"SELECT {WINDOW_COLUMNS} FROM leaderboard_window WHERE tenant_id = %s AND board_id = %s AND ends_at = %s "
        "AND status IN ('closed', 'paid') AND total IS NOT NULL",
        (tenant_id, board_id, snapshot_time),
    )
    row = await cursor.fetchone()
    return msgspec.convert(row, BoardWindow) if row else None
