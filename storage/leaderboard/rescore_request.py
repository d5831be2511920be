"""What is asked when a rescore is asked for, over HTTP or from the command line: which board, which window, and whether it may be."""

from datetime import datetime
from uuid import UUID

from domain.errors import InvalidState, LeaderboardNotFound, NotFound
from domain.leaderboard.definition import BoardStatus
from domain.leaderboard.window import WindowSpan
from domain.leaderboard.window_sequence import find_window, find_window_by_key
from runtime.postgres import Connection
from storage.leaderboard.definition import Leaderboard, find_any_board, find_board
from storage.leaderboard.definition import find_window as find_row
from storage.leaderboard.rescore import AHEAD, Rescore, start_rescore
from storage.leaderboard.window import BoardWindow, open_window
from storage.rules_lock import change_instant

CURRENT = "current"


async def request_rescore(connection: Connection, tenant_id: UUID, leaderboard_id: str, window_key: str) -> Rescore:
    """Begin to build the window of that key (or the `current` one) anew; its workflow starts at commit.

    LeaderboardNotFound; NotFound for a key that no window of the board has; InvalidState for an archived board, for a window that is not
    open and for one that is being rescored; EventsExpired when retention has dropped events that may count in it.
    """
    board = await find_board(connection, tenant_id, leaderboard_id, lock=True)
    if board is None:
        if await find_any_board(connection, tenant_id, leaderboard_id) is not None:
            raise InvalidState(f"Leaderboard '{leaderboard_id}' is archived", present=BoardStatus.ARCHIVED.value)
        raise LeaderboardNotFound(f"Leaderboard '{leaderboard_id}' not found")
    instant = await change_instant(connection, tenant_id, asked_for=True)
    span = span_of(board, window_key, instant)
    if span is None:
        raise NotFound(f"Leaderboard '{leaderboard_id}' has no window '{window_key}'")
    if span.starts_at is not None and instant < span.starts_at - AHEAD:
        raise InvalidState(f"Window '{span.key}' of leaderboard '{leaderboard_id}' has not started")
    return await start_rescore(connection, board, await _row(connection, board, span, instant), instant)


def span_of(board: Leaderboard, window_key: str, now: datetime) -> WindowSpan | None:
    """The window of that key or the current one; None if the board has none."""
    return find_window(board.segments, now) if window_key == CURRENT else find_window_by_key(board.segments, window_key)


async def _row(connection: Connection, board: Leaderboard, span: WindowSpan, instant: datetime) -> BoardWindow:
    """The window's row. A window in which nothing has counted yet gets one: under the present rules something may."""
    found = await find_row(connection, board.tenant_id, board.board_id, span.key)
    if found is None:
        planned = span.closes_at(board.config.timeframe.grace_seconds)
        if planned is not None and planned <= instant:
            raise InvalidState(f"Window '{span.key}' of leaderboard '{board.leaderboard_id}' is no longer open")
        await open_window(connection, board.tenant_id, board.board_id, span, closes_at=planned)
        found = await find_row(connection, board.tenant_id, board.board_id, span.key)
    assert found is not None
    return found
