"""The final standings of closed windows (contract 3, Queries)."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from msgspec import structs

from api.leaderboard.board import (
    BoardReader,
    EntryParams,
    Written,
    answer,
    board_page,
    no_such_board,
)
from api.pagination import Page, decode_cursor, encode_cursor
from api.principal import Principal
from api.query import Between
from api.rule import BOARD_READERS
from domain.errors import NotFound, UserNotFound, ValidationError
from domain.leaderboard.board_wire import SnapshotAnswer, SnapshotEntry, SnapshotListAnswer, SnapshotPage
from domain.wire import optional_rfc3339, rfc3339, score_number
from runtime.postgres import Connection, Pool
from storage.leaderboard.board import window_view
from storage.leaderboard.definition import Leaderboard, find_any_board
from storage.leaderboard.snapshot import SnapshotRange, find_snapshot_entry, snapshot_at, snapshots_of
from storage.leaderboard.window import BoardWindow

AnyRequest = Request[Any, Any, Any]


async def _board(connection: Connection, tenant_id: UUID, leaderboard_id: str) -> Leaderboard:
    """The board; of an archived id the latest incarnation: what it froze stays readable."""
    board = await find_any_board(connection, tenant_id, leaderboard_id)
    if board is None:
        raise no_such_board(leaderboard_id)
    return board


async def _found(pool: Pool, tenant_id: UUID, leaderboard_id: str, snapshot_time: str) -> tuple[Leaderboard, BoardWindow]:
    instant = _instant(snapshot_time)
    async with pool.connection() as connection:
        board = await _board(connection, tenant_id, leaderboard_id)
        window = await snapshot_at(connection, tenant_id, board.board_id, instant)
    if window is None:
        raise NotFound(f"Leaderboard '{leaderboard_id}' has no snapshot of {rfc3339(instant)}")
    return board, window


def _instant(text: str, field: str = "snapshot_time") -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise ValidationError.of(field, "must be an RFC 3339 instant, the planned end of a window")
    return instant.astimezone(UTC)


@get("/v1/snapshots/{leaderboard_id:str}", rule=BOARD_READERS)
async def list_snapshots(leaderboard_id: str, params: Between, principal: Principal, pool: Pool, page: Page) -> SnapshotListAnswer:
    """List the board's snapshots, newest first, with `from` ≤ time < `to`."""
    wanted = SnapshotRange(
        since=params.since,
        until=params.until,
        before=_instant(str(decode_cursor(page.cursor, 1)[0]), "cursor") if page.cursor else None,
    )
    async with pool.connection() as connection:
        board = await _board(connection, principal.tenant_id, leaderboard_id)
        windows = await snapshots_of(connection, principal.tenant_id, board.board_id, wanted, limit=page.limit)
    more = windows and len(windows) == page.limit
    cursor = encode_cursor(optional_rfc3339(windows[-1].ends_at)) if more else None
    return SnapshotListAnswer(snapshots=[_snapshot(window) for window in windows], next_cursor=cursor)


def _snapshot(window: BoardWindow) -> SnapshotAnswer:
    return SnapshotAnswer(
        snapshot_time=optional_rfc3339(window.ends_at),
        window_key=window.window_key,
        starts_at=optional_rfc3339(window.starts_at),
        ends_at=optional_rfc3339(window.ends_at),
        total=window.total,
        closed_at=optional_rfc3339(window.closed_at),
    )


@get("/v1/snapshots/{leaderboard_id:str}/{snapshot_time:str}", rule=BOARD_READERS, answers={200: SnapshotPage, 304: None})
async def get_snapshot(  # what it asks for, and of which board
    leaderboard_id: str,
    snapshot_time: str,
    params: EntryParams,
    request: AnyRequest,
    principal: Principal,
    pool: Pool,
    reader: BoardReader,
) -> Response[bytes]:
    """Get a page of a snapshot. `total` counts all ranked users; the snapshot holds the top `size`."""
    limit, offset = params.limit, params.offset

    async def render() -> Written:
        board, window = await _found(pool, principal.tenant_id, leaderboard_id, snapshot_time)
        found = await reader.boards.snapshot_page(window_view(board, window), offset, limit)
        page = board_page(window_view(board, window), found, limit, await reader.entries(principal.tenant_id, found))
        body = msgspec.json.encode(SnapshotPage(**structs.asdict(page), snapshot_time=optional_rfc3339(window.ends_at)))
        return body, body

    question = (principal.tenant_id, leaderboard_id, "snapshot", snapshot_time, limit, offset)
    return answer(request, await reader.shared(question, render))


@get("/v1/snapshots/{leaderboard_id:str}/{snapshot_time:str}/user/{user_id:str}", rule=BOARD_READERS)
async def get_snapshot_entry(leaderboard_id: str, snapshot_time: str, user_id: str, principal: Principal, pool: Pool) -> SnapshotEntry:
    """Get a user's final rank and score."""
    user_id = principal.named(user_id)
    board, window = await _found(pool, principal.tenant_id, leaderboard_id, snapshot_time)
    async with pool.connection() as connection:
        found = await find_snapshot_entry(connection, principal.tenant_id, window.window_id, user_id)
    if found is None:
        raise UserNotFound(
            f"User '{user_id}' has no entry on leaderboard '{leaderboard_id}' in window '{window.window_key}'",
            leaderboard_id=leaderboard_id,
            window_key=window.window_key,
        )
    rank, entry = found
    total = window.total or 0
    return SnapshotEntry(
        leaderboard_id=board.leaderboard_id,
        window_key=window.window_key,
        snapshot_time=optional_rfc3339(window.ends_at),
        user_id=user_id,
        rank=rank,
        score=score_number(entry.score),
        total=total,
        percentile=round(100 * (total - rank) / total, 2),
        updated_at=rfc3339(entry.reached_at),
    )


routes: list[Any] = [list_snapshots, get_snapshot, get_snapshot_entry]
