"""Rescores: their rows, the part of the log that each reads again, and the switch of a window to its new standings."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from psycopg.errors import UniqueViolation
from psycopg.rows import tuple_row

from domain.errors import EventsExpired, InvalidState
from domain.leaderboard.rescore import RescoreProgress, RescoreStatus, rescore_workflow_id
from domain.leaderboard.window_messages import WindowStatus
from runtime.ids import new_id
from runtime.postgres import Connection, count_changed
from storage import outbox
from storage.leaderboard.definition import Leaderboard
from storage.leaderboard.window import BoardWindow
from storage.outbox import OutboxCommand
from storage.scoring.pump import LoggedEvent
from storage.walk import FIRST, Place, WalkPage, walk_page

WORKFLOW = "RescoreWorkflow"
PRIORITY = 4
AHEAD = timedelta(hours=1)
"""A window takes events from an hour before its start (contract 3)."""
ERASED_FROM, ERASED_UNTIL = "erased:", "erased;"
"""External ids of users who have been erased, in byte order."""

COLUMNS = (
    "tenant_id, rescore_id, board_id, window_id, window_key, status, valid_from, version, reads_from, reason, created_at, completed_at"
)


class Rescore(msgspec.Struct, frozen=True, kw_only=True):
    """A rescore. Its standings stand under `rescore_id`; `version` is that of the rules by which it counts."""

    tenant_id: UUID
    rescore_id: UUID
    board_id: UUID
    window_id: UUID
    window_key: str
    status: RescoreStatus
    valid_from: datetime
    version: int
    reads_from: datetime
    reason: str | None
    created_at: datetime
    completed_at: datetime | None


class RunningRescore(msgspec.Struct, frozen=True, kw_only=True):
    """What a pump must know of a rescore at work: it writes what it scores in this window to the new standings too."""

    tenant_id: UUID
    rescore_id: UUID
    board_id: UUID
    window_key: str
    valid_from: datetime
    closes_at: datetime | None


class Lane(msgspec.Struct, frozen=True):
    """How far a rescore has read one partition of the log."""

    scoring_partition: int
    position: int
    until_position: int


async def start_rescore(connection: Connection, board: Leaderboard, window: BoardWindow, instant: datetime) -> Rescore:
    """Begin to build the window anew; its workflow starts at commit. `instant` is from `change_instant`, in this transaction.

    No pump is in a transaction with events of the tenant now, so the cursors divide the log: what is behind them the rescore reads, what
    follows the pumps write to both generations. InvalidState unless the window is open and no other rescore of it is at work;
    EventsExpired when its events are gone.
    """
    cursor = await connection.execute(
        "SELECT status, closes_at FROM leaderboard_window WHERE tenant_id = %s AND window_id = %s FOR NO KEY UPDATE",
        (board.tenant_id, window.window_id),
    )
    row = await cursor.fetchone()
    if row is None or row["status"] != WindowStatus.OPEN or (row["closes_at"] is not None and row["closes_at"] <= instant):
        raise InvalidState(f"Window '{window.window_key}' of leaderboard '{board.leaderboard_id}' is no longer open")
    reads_from = board.created_at if window.starts_at is None else max(board.created_at, window.starts_at - AHEAD)
    await refuse_expired(connection, reads_from)
    rescore_id = new_id()
    try:
        async with connection.transaction():
            cursor = await connection.execute(
                f"INSERT INTO rescore ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, 'running', %s, %s, %s, NULL, %s, NULL) RETURNING {COLUMNS}",
                (
                    board.tenant_id,
                    rescore_id,
                    board.board_id,
                    window.window_id,
                    window.window_key,
                    instant,
                    board.version,
                    reads_from,
                    instant,
                ),
            )
    except UniqueViolation:
        refused = f"Window '{window.window_key}' of leaderboard '{board.leaderboard_id}' is being rescored already"
        raise InvalidState(refused) from None
    made = await cursor.fetchone()
    assert made is not None
    await connection.execute(
        "INSERT INTO rescore_partition (tenant_id, rescore_id, scoring_partition, until_position) "
        "SELECT %s, %s, c.scoring_partition, coalesce(b.position, c.position) FROM scoring_cursor AS c "
        "LEFT JOIN scoring_backlog AS b ON b.scoring_partition = c.scoring_partition AND b.tenant_id = %s",
        (board.tenant_id, rescore_id, board.tenant_id),
    )
    found = msgspec.convert(made, Rescore)
    await outbox.enqueue(connection, board.tenant_id, start_entry(found, board.leaderboard_id))
    return found


def start_entry(rescore: Rescore, leaderboard_id: str) -> OutboxCommand:
    """The command that starts the rescore's workflow."""
    argument = {
        "argument": {"tenant_id": str(rescore.tenant_id), "rescore_id": str(rescore.rescore_id)},
        "attributes": {"TenantId": str(rescore.tenant_id), "LeaderboardId": leaderboard_id},
        "summary": f"Rescore of window {rescore.window_key} of leaderboard {leaderboard_id}",
        "task_queue": "windows",
        "priority": PRIORITY,
    }
    return OutboxCommand(
        kind="start", workflow_id=rescore_workflow_id(rescore.tenant_id, rescore.rescore_id), name=WORKFLOW, argument=argument
    )


async def refuse_expired(connection: Connection, reads_from: datetime) -> None:
    """EventsExpired when retention has dropped days of the log in which events from `reads_from` on may have stood."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            r"""
            SELECT min(to_timestamp(substring(c.relname FROM '\d{8}$') || ' +00', 'YYYYMMDD TZH'))
            FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'event_log'::regclass AND c.relname ~ '^event_log_\d{8}$'
            """
        )
        row = await cursor.fetchone()
    if row is not None and row[0] is not None and reads_from < row[0]:
        raise EventsExpired(f"Events accepted before {row[0]:%Y-%m-%d} are no longer kept, and some of them may count in this window")


async def find_rescore(connection: Connection, tenant_id: UUID, rescore_id: UUID, *, lock: bool = False) -> Rescore | None:
    """The rescore, or None; `lock` keeps it until the end of the transaction."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM rescore WHERE tenant_id = %s AND rescore_id = %s" + (" FOR UPDATE" if lock else ""), (tenant_id, rescore_id)
    )
    row = await cursor.fetchone()
    return msgspec.convert(row, Rescore) if row else None


async def rescores_before(connection: Connection, tenant_id: UUID, board_id: UUID, *, before: UUID | None, limit: int) -> list[Rescore]:
    """The board's rescores, newest first, from the one after `before` on."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM rescore WHERE tenant_id = %s AND board_id = %s AND (%s::uuid IS NULL OR rescore_id < %s) "
        "ORDER BY rescore_id DESC LIMIT %s",
        (tenant_id, board_id, before, before, limit),
    )
    return [msgspec.convert(row, Rescore) for row in await cursor.fetchall()]


async def progress_of(connection: Connection, rescore: Rescore) -> RescoreProgress:
    """How far the rescore is."""
    cursor = await connection.execute(
        """
        SELECT coalesce(sum(position - coalesce(first_position, 0)), 0)::bigint AS positions_read,
               coalesce(sum(until_position - coalesce(first_position, 0)), 0)::bigint AS positions,
               coalesce(sum(events_read), 0)::bigint AS events_read, bool_and(position >= until_position) AS all_read
        FROM rescore_partition WHERE tenant_id = %s AND rescore_id = %s
        """,
        (rescore.tenant_id, rescore.rescore_id),
    )
    row = await cursor.fetchone()
    assert row is not None
    return RescoreProgress(status=rescore.status, reason=rescore.reason, **{**row, "all_read": bool(row["all_read"])})


async def running_rescores(connection: Connection, tenant_ids: Sequence[UUID]) -> list[RunningRescore]:
    """The rescores that are at work in these tenants."""
    cursor = await connection.execute(
        """
        SELECT r.tenant_id, r.rescore_id, r.board_id, r.window_key, r.valid_from, w.closes_at
        FROM rescore AS r JOIN leaderboard_window AS w USING (tenant_id, window_id)
        WHERE r.status = 'running' AND r.tenant_id = ANY(%s)
        """,
        (list(tenant_ids),),
    )
    return [RunningRescore(**row) for row in await cursor.fetchall()]


async def is_being_rescored(connection: Connection, tenant_id: UUID, window_id: UUID) -> bool:
    """Whether a rescore of the window is at work."""
    cursor = await connection.execute(
        "SELECT FROM rescore WHERE tenant_id = %s AND window_id = %s AND status = 'running'", (tenant_id, window_id)
    )
    return await cursor.fetchone() is not None


async def next_lane(connection: Connection, rescore: Rescore) -> Lane | None:
    """A partition that has not been read to its end, locked until the end of the transaction; None when all have been."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT scoring_partition, position, until_position FROM rescore_partition
            WHERE tenant_id = %s AND rescore_id = %s AND position < until_position ORDER BY scoring_partition LIMIT 1 FOR UPDATE
            """,
            (rescore.tenant_id, rescore.rescore_id),
        )
        row = await cursor.fetchone()
    return Lane(*row) if row else None


async def lane_events(connection: Connection, rescore: Rescore, lane: Lane, *, limit: int) -> tuple[int, int, list[LoggedEvent]]:
    """The next `limit` rows of the lane: the first position, the last one (the lane's end when there are no more), and those of them
    that are events of the tenant's present users and no dead letters, by their present external ids."""
    async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(
            """
            WITH next AS MATERIALIZED (
                SELECT position, accepted_at, occurred_at, tenant_id, user_id, event_id, type, body FROM event_log
                WHERE scoring_partition = %(partition)s AND position > %(position)s AND position <= %(until)s
                  AND accepted_at >= %(from)s AND accepted_at <= %(to)s
                ORDER BY position LIMIT %(limit)s
            ), bounds AS (SELECT min(position) AS first, max(position) AS last, count(*) AS rows FROM next)
            SELECT bounds.first, bounds.last, bounds.rows, n.position, n.accepted_at, n.occurred_at, n.tenant_id, n.user_id, u.external_id,
                   n.event_id, n.type, n.body
            FROM bounds LEFT JOIN (next AS n JOIN app_user AS u USING (tenant_id, user_id))
                ON n.tenant_id = %(tenant_id)s AND NOT (u.external_id >= %(erased)s AND u.external_id < %(unerased)s)
               AND NOT EXISTS (SELECT FROM dead_letter AS d WHERE d.tenant_id = n.tenant_id AND d.position = n.position)
            ORDER BY n.position
            """,
            {
                "partition": lane.scoring_partition,
                "position": lane.position,
                "until": lane.until_position,
                "from": rescore.reads_from,
                "to": rescore.valid_from,
                "limit": limit,
                "tenant_id": rescore.tenant_id,
                "erased": ERASED_FROM,
                "unerased": ERASED_UNTIL,
            },
        )
        rows = await cursor.fetchall()
    first, last, count = rows[0][:3]
    end = last if count == limit else lane.until_position
    return (first if first is not None else lane.until_position), end, [LoggedEvent(*row[3:]) for row in rows if row[3] is not None]


async def advance_lane(connection: Connection, rescore: Rescore, lane: Lane, *, first: int, position: int, events: int) -> None:
    """Say that the lane has been read up to `position`."""
    await connection.execute(
        """
        UPDATE rescore_partition SET first_position = coalesce(first_position, %s), position = %s, events_read = events_read + %s
        WHERE tenant_id = %s AND rescore_id = %s AND scoring_partition = %s
        """,
        (first - 1, position, events, rescore.tenant_id, rescore.rescore_id, lane.scoring_partition),
    )


async def switch_standings(connection: Connection, rescore: Rescore) -> bool:
    """Let the window's standings be the new ones; False when the window is frozen. Call it after `change_instant` of the transaction:
    no pump is between its read and its commit, and each one reads afresh after it."""
    await connection.execute(
        "DELETE FROM standing AS s USING app_user AS u WHERE u.tenant_id = %(tenant)s AND u.external_id >= %(from)s "
        "AND u.external_id < %(until)s AND s.tenant_id = %(tenant)s AND s.window_id = %(rescore)s AND s.user_id = u.user_id",
        {"tenant": rescore.tenant_id, "from": ERASED_FROM, "until": ERASED_UNTIL, "rescore": rescore.rescore_id},
    )
    changed = await count_changed(
        connection,
        """
        WITH switched AS (
            UPDATE leaderboard_window SET standings_id = %(rescore)s
            WHERE tenant_id = %(tenant)s AND window_id = %(window)s AND status IN ('open', 'closing')
            RETURNING coalesce(old.standings_id, old.window_id) AS replaced_id
        )
        UPDATE rescore SET status = 'completed', completed_at = clock_timestamp(), replaced_id = switched.replaced_id FROM switched
        WHERE tenant_id = %(tenant)s AND rescore_id = %(rescore)s AND status = 'running'
        """,
        {"tenant": rescore.tenant_id, "rescore": rescore.rescore_id, "window": rescore.window_id},
    )
    return changed == 1


async def fail_rescore(connection: Connection, rescore: Rescore, reason: str) -> None:
    """Give the rescore up: the window stays as it is, and what was built goes. Call it after `change_instant`."""
    await connection.execute(
        "UPDATE rescore SET status = 'failed', reason = %s, completed_at = clock_timestamp(), replaced_id = rescore_id "
        "WHERE tenant_id = %s AND rescore_id = %s AND status = 'running'",
        (reason[:2000], rescore.tenant_id, rescore.rescore_id),
    )


async def replaced_standings(connection: Connection, tenant_id: UUID, rescore_id: UUID) -> UUID | None:
    """Where the standings stand that nobody reads since this rescore has ended."""
    cursor = await connection.execute("SELECT replaced_id FROM rescore WHERE tenant_id = %s AND rescore_id = %s", (tenant_id, rescore_id))
    row = await cursor.fetchone()
    return row["replaced_id"] if row else None


async def delete_standings(connection: Connection, tenant_id: UUID, standings_id: UUID, limit: int) -> int:
    """Delete up to `limit` standings that stand there, and then the positions: how many went."""
    changed = await count_changed(
        connection,
        "DELETE FROM standing WHERE tenant_id = %(t)s AND window_id = %(s)s AND user_id IN "
        "(SELECT user_id FROM standing WHERE tenant_id = %(t)s AND window_id = %(s)s LIMIT %(limit)s)",
        {"t": tenant_id, "s": standings_id, "limit": limit},
    )
    if changed < limit:
        await connection.execute("DELETE FROM live_position WHERE tenant_id = %s AND window_id = %s", (tenant_id, standings_id))
    return changed


async def unfinished_rescores(
    connection: Connection, idle: datetime, after: Place | None, limit: int
) -> WalkPage[tuple[Rescore, str], Place]:
    """A page of the rescores of all tenants older than `idle` that are at work, or over for a day at most and not cleared, with the
    leaderboard's id, by (tenant, rescore)."""
    cursor = await connection.execute(
        f"SELECT {', '.join('r.' + name for name in COLUMNS.split(', '))}, b.leaderboard_id FROM rescore AS r "
        "JOIN leaderboard AS b USING (tenant_id, board_id) WHERE (r.status = 'running' AND r.created_at < %(idle)s"
        " OR r.completed_at BETWEEN %(idle)s - interval '1 day' AND %(idle)s AND EXISTS ("
        "  SELECT FROM standing AS s WHERE s.tenant_id = r.tenant_id AND s.window_id = r.replaced_id))"
        " AND (r.tenant_id, r.rescore_id) > (%(tenant)s, %(rescore)s) ORDER BY r.tenant_id, r.rescore_id LIMIT %(limit)s",
        {"idle": idle, "tenant": (after or FIRST)[0], "rescore": (after or FIRST)[1], "limit": limit},
    )
    return walk_page(
        await cursor.fetchall(),
        lambda row: (msgspec.convert(row, Rescore), str(row["leaderboard_id"])),
        lambda row: (row["tenant_id"], row["rescore_id"]),
    )
