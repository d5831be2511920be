"""Boards, their versions and windows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

from domain import limits
from domain.leaderboard.definition import (
    BoardStatus,
    LeaderboardConfig,
    LeaderboardDefinition,
    Ranking,
    TimelineSegment,
    config_wire,
    load_config,
    load_timeline,
)
from domain.leaderboard.window_sequence import Timeline, in_force, segment_at, segments
from domain.scoring.rules import least_units, min_score_units
from runtime.postgres import Connection
from storage.leaderboard.rankings import RankedBoard
from storage.leaderboard.window import WINDOW_COLUMNS, BoardWindow, close_all_early
from storage.limit import check_room, check_rules
from storage.walk import FIRST, Place, WalkPage, readable, walk_page


class Leaderboard(msgspec.Struct, frozen=True, kw_only=True):
    """A board as it is now. `board_id` is this incarnation; `leaderboard_id` is the client's name for it."""

    tenant_id: UUID
    board_id: UUID
    leaderboard_id: str
    name: str
    description: str | None
    status: BoardStatus
    version: int
    config: LeaderboardConfig
    timeline: tuple[TimelineSegment, ...]
    reward_config_id: UUID | None
    created_at: datetime
    updated_at: datetime

    @property
    def segments(self) -> Timeline:
        """What its windows were, are and will be; `config` says what they will be in the end."""
        return segments(self.config, self.timeline)

    def config_of(self, starts_at: datetime | None) -> LeaderboardConfig:
        """The config in force for the window that starts then."""
        return in_force(self.config, segment_at(self.timeline, starts_at)) if self.timeline else self.config


GIVEN = "tenant_id, board_id, leaderboard_id, name, description, status, version, config, reward_config_id, created_at, updated_at"
COLUMNS = f"{GIVEN}, timeline"


def ranked_board(board: Leaderboard, standings_id: UUID, starts_at: datetime | None = None) -> RankedBoard:
    """The window that starts then as the rankings know it, with the board's present bound."""
    return ranked_board_of(board.tenant_id, board.board_id, standings_id, board.config_of(starts_at))


def ranked_board_of(tenant_id: UUID, board_id: UUID, standings_id: UUID, config: LeaderboardConfig) -> RankedBoard:
    """The same, of the config in force for it."""
    return RankedBoard(tenant_id, board_id, standings_id, config.ranking.method, min_score_units(config))


def _board(row: dict[str, Any]) -> Leaderboard:
    read = {"config": load_config(row["config"]), "timeline": load_timeline(row["timeline"]), "status": BoardStatus(row["status"])}
    return Leaderboard(**{**row, **read})


async def find_board(connection: Connection, tenant_id: UUID, leaderboard_id: str, *, lock: bool = False) -> Leaderboard | None:
    """The board of that id that is not archived, or None; `lock` keeps it until the end of the transaction.

    The lock lets pumps make rows that refer to the board: a change waits for them (`change_instant`), so they must not wait for it.
    """
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM leaderboard WHERE tenant_id = %s AND leaderboard_id = %s AND status <> 'archived'"
        + (" FOR NO KEY UPDATE" if lock else ""),
        (tenant_id, leaderboard_id),
    )
    row = await cursor.fetchone()
    return _board(row) if row else None


async def find_any_board(connection: Connection, tenant_id: UUID, leaderboard_id: str) -> Leaderboard | None:
    """The latest incarnation of that id, archived or not, or None."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM leaderboard WHERE tenant_id = %s AND leaderboard_id = %s "
        "ORDER BY (status = 'archived'), board_id DESC LIMIT 1",
        (tenant_id, leaderboard_id),
    )
    row = await cursor.fetchone()
    return _board(row) if row else None


async def boards_by_id(connection: Connection, tenant_id: UUID, board_ids: Sequence[UUID]) -> dict[UUID, Leaderboard]:
    """These incarnations, as they are now."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM leaderboard WHERE tenant_id = %s AND board_id = ANY(%s)", (tenant_id, list(board_ids))
    )
    return {row["board_id"]: _board(row) for row in await cursor.fetchall()}


async def boards_after(
    connection: Connection, tenant_id: UUID, *, statuses: Sequence[str], after: UUID | None, limit: int
) -> tuple[int, list[Leaderboard]]:
    """Boards in these states in the order of their creation, from the one after `after` on; and how many there are in all."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM leaderboard WHERE tenant_id = %s AND status = ANY(%s) AND (%s::uuid IS NULL OR board_id > %s) "
        "ORDER BY board_id LIMIT %s",
        (tenant_id, list(statuses), after, after, limit),
    )
    boards = [_board(row) for row in await cursor.fetchall()]
    async with connection.cursor(row_factory=tuple_row) as counting:
        await counting.execute("SELECT count(*) FROM leaderboard WHERE tenant_id = %s AND status = ANY(%s)", (tenant_id, list(statuses)))
        row = await counting.fetchone()
    return (int(row[0]) if row else 0), boards


async def insert_board(
    connection: Connection, tenant_id: UUID, board_id: UUID, leaderboard_id: str, *, definition: LeaderboardDefinition, instant: datetime
) -> Leaderboard:
    """Keep a new board with its first version, in force from `instant`; psycopg's UniqueViolation when the id is taken."""
    await check_room(connection, tenant_id, limits.LEADERBOARDS)
    cursor = await connection.execute(
        f"""
        INSERT INTO leaderboard ({GIVEN}) VALUES (%s, %s, %s, %s, %s, %s, 1, %s, %s, %s, %s) RETURNING {COLUMNS}
        """,
        (
            tenant_id,
            board_id,
            leaderboard_id,
            definition.name,
            definition.description,
            definition.status,
            Jsonb(config_wire(definition.config)),
            definition.reward_config_id,
            instant,
            instant,
        ),
    )
    row = await cursor.fetchone()
    assert row is not None
    await _insert_version(connection, tenant_id, board_id, version=1, instant=instant)
    await check_rules(connection, tenant_id)
    return _board(row)


async def replace_board(
    connection: Connection,
    tenant_id: UUID,
    board_id: UUID,
    *,
    definition: LeaderboardDefinition,
    instant: datetime,
    timeline: Timeline = (),
) -> Leaderboard:
    """Make the definition the board's next version, in force from `instant`; its windows are as the timeline says."""
    cursor = await connection.execute(
        f"""
        UPDATE leaderboard SET name = %s, description = %s, status = %s, config = %s, timeline = %s, reward_config_id = %s,
               version = version + 1, updated_at = %s
        WHERE tenant_id = %s AND board_id = %s RETURNING {COLUMNS}
        """,
        (
            definition.name,
            definition.description,
            definition.status,
            Jsonb(config_wire(definition.config)),
            Jsonb(msgspec.to_builtins(tuple(timeline))),
            definition.reward_config_id,
            instant,
            tenant_id,
            board_id,
        ),
    )
    row = await cursor.fetchone()
    assert row is not None
    await _insert_version(connection, tenant_id, board_id, version=row["version"], instant=instant)
    if definition.status is BoardStatus.ACTIVE:
        await check_rules(connection, tenant_id)
    return _board(row)


async def archive_board(connection: Connection, tenant_id: UUID, board_id: UUID, *, instant: datetime) -> None:
    """Archive the board from `instant` on: events accepted later do not count, and its open windows close without a payout."""
    cursor = await connection.execute(
        "UPDATE leaderboard SET status = 'archived', version = version + 1, updated_at = %s "
        "WHERE tenant_id = %s AND board_id = %s RETURNING version",
        (instant, tenant_id, board_id),
    )
    row = await cursor.fetchone()
    assert row is not None
    await _insert_version(connection, tenant_id, board_id, version=row["version"], instant=instant)
    await close_all_early(connection, tenant_id, board_id, instant=instant)


async def _insert_version(connection: Connection, tenant_id: UUID, board_id: UUID, *, version: int, instant: datetime) -> None:
    await connection.execute(
        """
        INSERT INTO leaderboard_version (tenant_id, board_id, version, status, config, reward_config_id, valid_from)
        SELECT tenant_id, board_id, version, status, config, reward_config_id, %s FROM leaderboard
        WHERE tenant_id = %s AND board_id = %s AND version = %s
        """,
        (instant, tenant_id, board_id, version),
    )


async def find_window(connection: Connection, tenant_id: UUID, board_id: UUID, window_key: str) -> BoardWindow | None:
    """The window's row, or None before its first event."""
    cursor = await connection.execute(
        f"SELECT {WINDOW_COLUMNS} FROM leaderboard_window WHERE tenant_id = %s AND board_id = %s AND window_key = %s",
        (tenant_id, board_id, window_key),
    )
    row = await cursor.fetchone()
    return msgspec.convert(row, BoardWindow) if row else None


async def latest_ended_window(connection: Connection, tenant_id: UUID, board_id: UUID, now: datetime) -> BoardWindow | None:
    """The window with the latest start among those that are closed or paid and that rank somebody, or None.

    One that only late events have made is no result: a window without events is passed over as well.
    """
    cursor = await connection.execute(
        f"SELECT {WINDOW_COLUMNS} FROM leaderboard_window WHERE tenant_id = %s AND board_id = %s "
        "AND status IN ('closed', 'paid') AND ends_at <= %s AND total > 0 ORDER BY starts_at DESC LIMIT 1",
        (tenant_id, board_id, now),
    )
    row = await cursor.fetchone()
    return msgspec.convert(row, BoardWindow) if row else None


RANKED = "coalesce(b.config -> 'ranking', '{}') AS ranking, b.timeline"
"""What a live board needs of its board's row. The rest of the config is not read: hundreds of boards are asked for at once, and often."""


def _ranked_window(row: dict[str, Any]) -> RankedBoard:
    ranking, timeline = msgspec.convert(row["ranking"], Ranking), load_timeline(row["timeline"])
    method = segment_at(timeline, row["starts_at"]).method if timeline else ranking.method
    return RankedBoard(row["tenant_id"], row["board_id"], row["window_id"], method, least_units(ranking.min_score))


class ShownWindow(msgspec.Struct, frozen=True):
    """Standings of a board's window that starts then."""

    board_id: UUID
    standings_id: UUID
    starts_at: datetime | None


async def ranked_boards(connection: Connection, tenant_id: UUID, wanted: Sequence[ShownWindow]) -> dict[UUID, RankedBoard]:
    """These as the rankings know them, with the boards' present bounds, by the id of the standings: one question for all."""
    cursor = await connection.execute(
        f"""
        SELECT b.tenant_id, b.board_id, given.standings_id AS window_id, given.starts_at, {RANKED}
        FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[]) AS given (board_id, standings_id, starts_at)
        JOIN leaderboard AS b ON b.tenant_id = %s AND b.board_id = given.board_id
        """,
        ([each.board_id for each in wanted], [each.standings_id for each in wanted], [each.starts_at for each in wanted], tenant_id),
    )
    return {row["window_id"]: _ranked_window(row) for row in await cursor.fetchall()}


def window_config(row: dict[str, Any]) -> LeaderboardConfig:
    """The config in force for a window, of a row with `config` and `timeline` of its board and `starts_at`."""
    config = load_config(row["config"])
    return in_force(config, segment_at(segments(config, load_timeline(row["timeline"])), row["starts_at"]))


async def every_open_window(connection: Connection, tenant_id: UUID | None) -> list[RankedBoard]:
    """The open windows of boards that are not archived, of one tenant or (None) of all: what the rankings should hold."""
    cursor = await connection.execute(
        f"""
        SELECT w.tenant_id, w.board_id, coalesce(w.standings_id, w.window_id) AS window_id, w.starts_at, {RANKED}
        FROM leaderboard_window AS w
        JOIN leaderboard AS b ON b.tenant_id = w.tenant_id AND b.board_id = w.board_id AND b.status <> 'archived'
        WHERE w.status IN ('open', 'closing') AND w.tenant_id = coalesce(%s, w.tenant_id) ORDER BY w.tenant_id, w.window_id
        """,
        (tenant_id,),
    )
    return readable(await cursor.fetchall(), _ranked_window)


async def windows_changed_lately(connection: Connection, partition: int, limit: int) -> list[tuple[RankedBoard, int]]:
    """The open windows that a partition changed most lately, each with the position up to which it did (to repair the rankings)."""
    cursor = await connection.execute(
        f"""
        SELECT l.tenant_id, b.board_id, l.window_id, coalesce(o.starts_at, r.starts_at) AS starts_at, {RANKED},
               l.position FROM live_position AS l
        LEFT JOIN leaderboard_window AS o ON o.tenant_id = l.tenant_id AND o.window_id = l.window_id AND o.standings_id IS NULL
        LEFT JOIN leaderboard_window AS r ON r.tenant_id = l.tenant_id AND r.standings_id = l.window_id
        JOIN leaderboard AS b ON b.tenant_id = l.tenant_id AND b.board_id = coalesce(o.board_id, r.board_id) AND b.status <> 'archived'
        WHERE l.scoring_partition = %s AND coalesce(o.status, r.status) IN ('open', 'closing') ORDER BY l.updated_at DESC LIMIT %s
        """,
        (partition, limit),
    )
    return readable(await cursor.fetchall(), lambda row: (_ranked_window(row), row["position"]))


async def windows_of_partition(
    connection: Connection, partition: int, after: Place | None, limit: int
) -> WalkPage[tuple[RankedBoard, int], Place]:
    """A page of all open windows that a partition has changed, each up to a position, in the order of their ids."""
    cursor = await connection.execute(
        f"""
        SELECT w.tenant_id, w.board_id, w.window_id AS own_id, l.window_id, w.starts_at, {RANKED}, l.position
        FROM leaderboard_window AS w
        JOIN leaderboard AS b ON b.tenant_id = w.tenant_id AND b.board_id = w.board_id AND b.status <> 'archived'
        JOIN live_position AS l ON l.tenant_id = w.tenant_id AND l.window_id = coalesce(w.standings_id, w.window_id)
            AND l.scoring_partition = %s
        WHERE w.status IN ('open', 'closing') AND (w.tenant_id, w.window_id) > (%s, %s) ORDER BY w.tenant_id, w.window_id LIMIT %s
        """,
        (partition, *(after or FIRST), limit),
    )
    return walk_page(
        await cursor.fetchall(), lambda row: (_ranked_window(row), row["position"]), lambda row: (row["tenant_id"], row["own_id"])
    )


async def positions_of(connection: Connection, partition: int, boards: Sequence[RankedBoard]) -> dict[RankedBoard, int]:
    """Up to which position the partition has changed each of these; those that it has not are left out."""
    cursor = await connection.execute(
        "SELECT tenant_id, window_id, position FROM live_position JOIN unnest(%s::uuid[], %s::uuid[]) AS wanted (tenant_id, window_id)"
        " USING (tenant_id, window_id) WHERE scoring_partition = %s",
        ([each.tenant_id for each in boards], [each.window_id for each in boards], partition),
    )
    found = {(row["tenant_id"], row["window_id"]): row["position"] for row in await cursor.fetchall()}
    return {each: found[each.tenant_id, each.window_id] for each in boards if (each.tenant_id, each.window_id) in found}
