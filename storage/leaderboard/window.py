"""The life of windows: their rows, the commands to their workflows, their early end, and the barrier that they wait for."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import tuple_row

from domain.leaderboard.definition import LeaderboardConfig, Method, load_config, load_timeline
from domain.leaderboard.window import WindowSpan
from domain.leaderboard.window_messages import CloseNow, WindowStatus, window_workflow_id
from domain.leaderboard.window_sequence import Timeline, in_force, segment_at, segments
from domain.redemption.redemption import HISTORY_NOTE_CHARACTERS, told_by
from runtime.ids import new_id
from runtime.postgres import Connection, acting, notify
from storage import outbox
from storage.outbox import CHANNEL, OutboxCommand
from storage.walk import FIRST, Place, WalkPage, walk_page

WORKFLOW = "LeaderboardWindowWorkflow"
PRIORITY = 3
EVENT_WRITERS = 7201


WINDOW_COLUMNS = """window_id, board_id, window_key, status, starts_at, ends_at, closes_at, closed_at, late_events, total, snapshot_size,
    ranking_method, ranking_min_score, standings_id"""


class BoardWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window that has a row: its first event has come, or its predecessor's workflow has made it.

    What stands from `total` on is None until the window is frozen. A window that got nothing but late events is `paid` without it.
    """

    window_id: UUID
    board_id: UUID
    window_key: str
    status: str
    starts_at: datetime | None
    ends_at: datetime | None
    closes_at: datetime | None
    closed_at: datetime | None
    late_events: int
    total: int | None = None
    snapshot_size: int | None = None
    ranking_method: Method | None = None
    ranking_min_score: int | None = None
    standings_id: UUID | None = None

    @property
    def standings(self) -> UUID:
        """Where its standings stand (`window_id` of the table `standing`), in PostgreSQL and in the rankings."""
        return self.standings_id or self.window_id


class WindowBoard(msgspec.Struct, frozen=True, kw_only=True):
    """A window with what its board is now; `config` is the one in force for this window."""

    window: BoardWindow
    leaderboard_id: str
    board_status: str
    config: LeaderboardConfig
    segments: Timeline


class OpenWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window that has an end and has not been frozen."""

    tenant_id: UUID
    window_id: UUID
    board_id: UUID
    window_key: str


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What the barrier looks at, read in this order: the clock, the event writers at work, the log's head, the slowest cursor and, at the
    same instant, how far the tenants are that are behind one."""

    now: datetime
    writers: frozenset[int]
    head: int
    scored: int
    behind: dict[UUID, int] = {}

    def scored_of(self, tenant_id: UUID) -> int:
        """Up to which position all events of the tenant have been scored."""
        return min(self.scored, self.behind.get(tenant_id, self.scored))


async def enqueue_starts(connection: Connection, windows: Sequence[tuple[UUID, UUID]]) -> None:
    """Write the commands that start the workflows of these (tenant, window)s. Windows without an end get none: nothing ends them."""
    await connection.execute(
        """
        INSERT INTO outbox (tenant_id, kind, workflow_id, name, argument, created_at, due_at)
        SELECT w.tenant_id, 'start', concat('window:', w.tenant_id, ':', w.board_id, ':', w.window_key), %s,
               jsonb_build_object(
                   'argument', jsonb_build_object('tenant_id', w.tenant_id, 'window_id', w.window_id),
                   'attributes', jsonb_build_object('TenantId', w.tenant_id, 'LeaderboardId', b.leaderboard_id, 'WindowStatus', w.status),
                   'page', concat('/console/leaderboards/', b.leaderboard_id),
                   'summary', concat('Window ', w.window_key, ' of leaderboard ', b.leaderboard_id),
                   'task_queue', 'windows',
                   'priority', %s::int),
               clock_timestamp(), clock_timestamp()
        FROM unnest(%s::uuid[], %s::uuid[]) AS given (tenant_id, window_id)
        JOIN leaderboard_window AS w USING (tenant_id, window_id) JOIN leaderboard AS b USING (tenant_id, board_id)
        WHERE w.closes_at IS NOT NULL
        ON CONFLICT (workflow_id, kind, name) DO UPDATE SET sent_at = NULL, due_at = excluded.due_at, tries = 0
            WHERE outbox.sent_at IS NOT NULL
        """,
        (WORKFLOW, PRIORITY, [tenant_id for tenant_id, _ in windows], [window_id for _, window_id in windows]),
    )
    await notify(connection, CHANNEL)


async def window_with_board(connection: Connection, tenant_id: UUID, window_id: UUID) -> WindowBoard | None:
    """The window and its board, or None."""
    cursor = await connection.execute(
        f"SELECT {', '.join('w.' + name.strip() for name in WINDOW_COLUMNS.split(','))}, b.leaderboard_id, b.status AS board_status, "
        "b.config, b.timeline FROM leaderboard_window AS w "
        "JOIN leaderboard AS b USING (tenant_id, board_id) WHERE w.tenant_id = %s AND w.window_id = %s",
        (tenant_id, window_id),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    config = load_config(row["config"])
    line = segments(config, load_timeline(row["timeline"]))
    return WindowBoard(
        window=msgspec.convert(row, BoardWindow),
        leaderboard_id=row["leaderboard_id"],
        board_status=row["board_status"],
        config=in_force(config, segment_at(line, row["starts_at"])),
        segments=line,
    )


async def open_window(connection: Connection, tenant_id: UUID, board_id: UUID, span: WindowSpan, *, closes_at: datetime | None) -> UUID:
    """The window's id; where it had no row it gets one, and its workflow is started at commit."""
    cursor = await connection.execute(
        """
        INSERT INTO leaderboard_window (tenant_id, window_id, board_id, window_key, status, starts_at, ends_at, closes_at, created_at)
        VALUES (%s, %s, %s, %s, 'open', %s, %s, %s, clock_timestamp())
        ON CONFLICT (tenant_id, board_id, window_key) DO NOTHING RETURNING window_id
        """,
        (tenant_id, new_id(), board_id, span.key, span.starts_at, span.ends_at, closes_at),
    )
    made = await cursor.fetchone()
    if made is not None:
        await enqueue_starts(connection, [(tenant_id, made["window_id"])])
        return UUID(str(made["window_id"]))
    cursor = await connection.execute(
        "SELECT window_id FROM leaderboard_window WHERE tenant_id = %s AND board_id = %s AND window_key = %s",
        (tenant_id, board_id, span.key),
    )
    found = await cursor.fetchone()
    assert found is not None
    return UUID(str(found["window_id"]))


async def close_early(
    connection: Connection, tenant_id: UUID, window_id: UUID, *, instant: datetime, reason: str | None = None
) -> BoardWindow | None:
    """Let the window close at `instant` (from `change_instant`, in this transaction), unless it closes before that; None if not open.

    Its workflow is told by an update; where it has none (an all-time window of a board that is archived) it is started.
    """
    cursor = await connection.execute(
        f"UPDATE leaderboard_window SET closes_at = least(closes_at, %s) WHERE tenant_id = %s AND window_id = %s AND status = 'open' "
        f"RETURNING {WINDOW_COLUMNS}",
        (instant, tenant_id, window_id),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    window = msgspec.convert(row, BoardWindow)
    await enqueue_starts(connection, [(tenant_id, window_id)])
    who, why = acting.get() or ("", "")
    told = CloseNow(closes_at=window.closes_at, by=told_by(who) if who else None, reason=(reason or why)[:HISTORY_NOTE_CHARACTERS] or None)
    workflow_id = window_workflow_id(tenant_id, window.board_id, window.window_key)
    entry = OutboxCommand(
        kind="update", workflow_id=workflow_id, name=f"close_now:{instant.timestamp():.6f}", argument=msgspec.to_builtins(told)
    )
    await outbox.enqueue(connection, tenant_id, entry)
    return window


async def untold_closes(connection: Connection, tenant_id: UUID, window: BoardWindow) -> list[CloseNow]:
    """The early closes that the window's workflow has not been told yet."""
    workflow_id = window_workflow_id(tenant_id, window.board_id, window.window_key)
    untold = await outbox.unsent_updates(connection, tenant_id, workflow_id, "close_now")
    return [msgspec.convert(each, CloseNow) for each in untold]


async def close_all_early(connection: Connection, tenant_id: UUID, board_id: UUID, *, instant: datetime) -> None:
    """The same for every open window of a board that is being archived."""
    cursor = await connection.execute(
        "SELECT window_id FROM leaderboard_window WHERE tenant_id = %s AND board_id = %s AND status = 'open' ORDER BY window_id",
        (tenant_id, board_id),
    )
    for row in await cursor.fetchall():
        await close_early(connection, tenant_id, row["window_id"], instant=instant, reason="its leaderboard was archived")


async def begin_closing(connection: Connection, tenant_id: UUID, window_id: UUID) -> tuple[WindowStatus, datetime | None, float]:
    """Move an open window whose time has come to `closing`: how it stands, when it closes, how many seconds are left by this clock.

    From then on `closes_at` is fixed: early closing moves open windows only.
    """
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "UPDATE leaderboard_window SET status = 'closing' "
            "WHERE tenant_id = %s AND window_id = %s AND status = 'open' AND closes_at <= clock_timestamp()",
            (tenant_id, window_id),
        )
        await cursor.execute(
            "SELECT status, closes_at, extract(epoch FROM closes_at - clock_timestamp())::float8 FROM leaderboard_window "
            "WHERE tenant_id = %s AND window_id = %s",
            (tenant_id, window_id),
        )
        row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"there is no window {window_id}")
    return WindowStatus(row[0]), row[1], max(0.0, row[2] or 0.0)


async def look_at_barrier(connection: Connection) -> Sight:
    """One look. Needs a connection outside a transaction: each statement must see what was committed before it."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("SELECT clock_timestamp()")
        now = (await cursor.fetchone() or (None,))[0]
        await cursor.execute(
            "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2 AND granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            (EVENT_WRITERS,),
        )
        writers = frozenset(row[0] for row in await cursor.fetchall())
        await cursor.execute("SELECT last_value FROM event_position")
        head = (await cursor.fetchone() or (0,))[0]
        # In one statement: a tenant is put behind, and its cursor moves on, in one transaction.
        await cursor.execute(
            "SELECT c.scored, b.tenant_id, min(b.position) FROM (SELECT min(position) AS scored FROM scoring_cursor) AS c "
            "LEFT JOIN scoring_backlog AS b ON true GROUP BY c.scored, b.tenant_id"
        )
        rows = await cursor.fetchall()
    assert isinstance(now, datetime)
    behind = {tenant_id: int(position) for _, tenant_id, position in rows if tenant_id is not None}
    return Sight(now=now, writers=writers, head=int(head), scored=int(rows[0][0] or 0), behind=behind)


async def unclosed_windows(connection: Connection, after: Place | None, idle: datetime, limit: int) -> WalkPage[OpenWindow, Place]:
    """Windows with an end that are older than `idle` and not frozen, in the order of (tenant, window)."""
    cursor = await connection.execute(
        """
        SELECT tenant_id, window_id, board_id, window_key FROM leaderboard_window
        WHERE status IN ('open', 'closing') AND closes_at IS NOT NULL AND created_at < %s AND (tenant_id, window_id) > (%s, %s)
        ORDER BY tenant_id, window_id LIMIT %s
        """,
        (idle, *(after or FIRST), limit),
    )
    return walk_page(await cursor.fetchall(), lambda row: OpenWindow(**row), lambda row: (row["tenant_id"], row["window_id"]))


async def windows_without_successor(connection: Connection, after: Place | None, limit: int) -> WalkPage[OpenWindow, Place]:
    """Windows that were closed early, whose end is to come and whose board has none after them, in the order of (tenant, window).

    The workflow of such a window makes the next one when it is time, long after it has frozen its own.
    """
    cursor = await connection.execute(
        """
        SELECT w.tenant_id, w.window_id, w.board_id, w.window_key FROM leaderboard_window AS w
        JOIN leaderboard AS b ON b.tenant_id = w.tenant_id AND b.board_id = w.board_id AND b.status = 'active'
        WHERE w.closed_at < w.ends_at AND w.ends_at > clock_timestamp() AND (w.tenant_id, w.window_id) > (%s, %s)
          AND NOT EXISTS (SELECT FROM leaderboard_window AS next WHERE next.tenant_id = w.tenant_id AND next.board_id = w.board_id
                          AND next.starts_at >= w.ends_at)
        ORDER BY w.tenant_id, w.window_id LIMIT %s
        """,
        (*(after or FIRST), limit),
    )
    return walk_page(await cursor.fetchall(), lambda row: OpenWindow(**row), lambda row: (row["tenant_id"], row["window_id"]))


async def windows_before(
    connection: Connection, tenant_id: UUID, board_id: UUID, *, before: tuple[datetime | None, UUID] | None, limit: int
) -> list[BoardWindow]:
    """The board's windows, newest start first, from the one after `before` (start, window id) on."""
    cursor = await connection.execute(
        f"""
        SELECT {WINDOW_COLUMNS} FROM leaderboard_window
        WHERE tenant_id = %(tenant_id)s AND board_id = %(board_id)s
          AND (NOT %(more)s OR (coalesce(starts_at, '-infinity'), window_id) < (coalesce(%(start)s::timestamptz, '-infinity'), %(last)s))
        ORDER BY coalesce(starts_at, '-infinity') DESC, window_id DESC LIMIT %(limit)s
        """,
        {
            "tenant_id": tenant_id,
            "board_id": board_id,
            "more": before is not None,
            "start": before[0] if before else None,
            "last": before[1] if before else UUID(int=0),
            "limit": limit,
        },
    )
    return [msgspec.convert(row, BoardWindow) for row in await cursor.fetchall()]


async def latest_start(connection: Connection, tenant_id: UUID, board_id: UUID) -> datetime | None:
    """When the latest of the board's windows that are there starts."""
    cursor = await connection.execute(
        "SELECT max(starts_at) AS latest FROM leaderboard_window WHERE tenant_id = %s AND board_id = %s", (tenant_id, board_id)
    )
    row = await cursor.fetchone()
    return row["latest"] if row else None


async def config_at(connection: Connection, tenant_id: UUID, board_id: UUID, instant: datetime) -> LeaderboardConfig:
    """The board's config in force just before `instant`: a window is ranked by it however late it is closed."""
    cursor = await connection.execute(
        """
        SELECT config FROM leaderboard_version WHERE tenant_id = %s AND board_id = %s
        ORDER BY (valid_from < %s) DESC, CASE WHEN valid_from < %s THEN version ELSE -version END DESC LIMIT 1
        """,
        (tenant_id, board_id, instant, instant),
    )
    row = await cursor.fetchone()
    assert row is not None
    return load_config(row["config"])
