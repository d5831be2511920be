"""The windows of a board for admins: what they are, and ending one early (contract 3, Windows)."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get, post
from msgspec import Meta

from api.leaderboard.board import BoardReader, no_such_board
from api.pagination import Page, decode_cursor, encode_cursor
from api.principal import Principal
from api.rule import ADMIN
from domain.errors import InvalidState, NotFound, ValidationError
from domain.leaderboard.definition import TimeframeType
from domain.leaderboard.window import WindowSpan
from domain.leaderboard.window_messages import WindowStatus, window_workflow_id
from domain.leaderboard.window_sequence import find_window_by_key
from domain.payout.run import Run, payout_workflow_id
from domain.payout.run_wire import PayoutRunAnswer, run_answer
from domain.wire import Id, Instant, NextCursor, optional_rfc3339, rfc3339
from loops.relay import Relay
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.leaderboard.board import window_view
from storage.leaderboard.definition import Leaderboard, find_any_board, find_board, find_window
from storage.leaderboard.window import BoardWindow, close_early, open_window, windows_before
from storage.payout.run import retry_run, run_of_source
from storage.payout.run_list import runs_of_sources
from storage.payout.window_payout import SOURCE
from storage.rules_lock import change_instant
from storage.tenant.audit import record

BEFORE_START = timedelta(hours=1)


class WindowAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A window of a board: a span of time with a ranking of its own."""

    window_id: Id
    window_key: Annotated[str, Meta(examples=["2025-W47"])]
    status: WindowStatus
    starts_at: Annotated[Instant | None, Meta(description="null for all-time")]
    ends_at: Annotated[Instant | None, Meta(description="null for all-time")]
    closes_at: Annotated[Instant | None, Meta(description="Until then events of the window count: its end and the grace")]
    closed_at: Annotated[Instant | None, Meta(description="When its result was fixed")]
    total: Annotated[int, Meta(description="How many users are ranked", examples=[1250])]
    late_events: Annotated[int, Meta(description="Events that came too late for it", examples=[0])]
    payout: PayoutRunAnswer | None


class WindowListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A board's windows, newest first."""

    windows: list[WindowAnswer]
    next_cursor: NextCursor


async def _shown(reader: BoardReader, board: Leaderboard, window: BoardWindow, run: Run | None = None) -> WindowAnswer:
    """A window as the contract shows it, with its payout; `total` is how many are ranked, now or in the final result."""
    total = (await reader.boards.page(window_view(board, window), 0, 1)).total if window.total is None else window.total
    return WindowAnswer(
        window_id=window.window_id,
        window_key=window.window_key,
        status=WindowStatus(window.status),
        starts_at=optional_rfc3339(window.starts_at),
        ends_at=optional_rfc3339(window.ends_at),
        closes_at=optional_rfc3339(window.closes_at),
        closed_at=optional_rfc3339(window.closed_at),
        total=total,
        late_events=window.late_events,
        payout=None if run is None else run_answer(run),
    )


@get("/v1/admin/leaderboards/{leaderboard_id:str}/windows", rule=ADMIN)
async def list_leaderboard_windows(
    leaderboard_id: str, principal: Principal, pool: Pool, page: Page, reader: BoardReader
) -> WindowListAnswer:
    """List the board's windows, newest first: those that received an event, and those that followed them."""
    before = _position(page.cursor) if page.cursor else None
    async with pool.connection() as connection:
        board = await find_any_board(connection, principal.tenant_id, leaderboard_id)
        if board is None:
            raise no_such_board(leaderboard_id)
        windows = await windows_before(connection, principal.tenant_id, board.board_id, before=before, limit=page.limit)
        runs = await runs_of_sources(connection, principal.tenant_id, SOURCE, [str(window.window_id) for window in windows])
    more = windows and len(windows) == page.limit
    cursor = encode_cursor(optional_rfc3339(windows[-1].starts_at), str(windows[-1].window_id)) if more else None
    shown = [await _shown(reader, board, window, runs.get(str(window.window_id))) for window in windows]
    return WindowListAnswer(windows=shown, next_cursor=cursor)


@post("/v1/admin/leaderboards/{leaderboard_id:str}/windows/{window_key:str}/close", rule=ADMIN, status_code=202, refusals=(InvalidState,))
async def close_leaderboard_window(
    leaderboard_id: str, window_key: str, principal: Principal, pool: Pool, relay: Relay, reader: BoardReader
) -> WindowAnswer:
    """Close a window now. Events accepted from now on do not count in it. Its snapshot keeps the planned end as its time."""
    async with transaction(pool) as connection:
        board = await find_board(connection, principal.tenant_id, leaderboard_id, lock=True)
        if board is None:
            raise no_such_board(leaderboard_id)
        if board.config.timeframe.type is TimeframeType.ALL_TIME:
            raise InvalidState(f"Leaderboard '{leaderboard_id}' is all-time: its window never ends")
        span = _span(board, window_key)
        # Before any row is written: a pump that waits for a row of ours would keep this waiting for the pump.
        instant = await change_instant(connection, principal.tenant_id, asked_for=True)
        window = await _close(connection, board, span, instant)
        if window is None:
            raise InvalidState(f"Window '{window_key}' of leaderboard '{leaderboard_id}' is no longer open")
        facts = {"leaderboard_id": leaderboard_id, "window_key": window_key, "closes_at": rfc3339(instant)}
        identity = str(window.window_id)
        await record(connection, principal.tenant_id, action="close", subject="leaderboard_window", subject_id=identity, facts=facts)
    relay.try_start(window_workflow_id(principal.tenant_id, board.board_id, window_key))
    reader.forget()
    return await _shown(reader, board, window)


async def _close(connection: Connection, board: Leaderboard, span: WindowSpan, instant: datetime) -> BoardWindow | None:
    """The window, which closes at `instant` now; a row is made for it if it had none. None when it is not open."""
    found = await find_window(connection, board.tenant_id, board.board_id, span.key)
    planned = span.closes_at(board.config.timeframe.grace_seconds)
    if found is None and planned is not None and planned <= instant:
        return None
    window_id = found.window_id if found else await open_window(connection, board.tenant_id, board.board_id, span, closes_at=planned)
    return await close_early(connection, board.tenant_id, window_id, instant=instant)


def _position(cursor: str) -> tuple[datetime | None, UUID]:
    """Start and id of the last window of the page before."""
    start, last = decode_cursor(cursor, 2)
    try:
        return (None if start is None else datetime.fromisoformat(str(start))), UUID(str(last))
    except ValueError:
        raise ValidationError.of("cursor", "is not a cursor for this list") from None


def _span(board: Leaderboard, window_key: str) -> WindowSpan:
    """The window of that key, once it takes events."""
    span = find_window_by_key(board.segments, window_key)
    if span is None or span.starts_at is None:
        raise NotFound(f"Leaderboard '{board.leaderboard_id}' has no window '{window_key}'")
    if utc_now() < span.starts_at - BEFORE_START:
        raise InvalidState(f"Window '{window_key}' of leaderboard '{board.leaderboard_id}' has not started")
    return span


@post("/v1/admin/leaderboards/{leaderboard_id:str}/windows/{window_key:str}/payout", rule=ADMIN, status_code=202, refusals=(InvalidState,))
async def pay_leaderboard_window(leaderboard_id: str, window_key: str, principal: Principal, pool: Pool, relay: Relay) -> PayoutRunAnswer:
    """Resume the payout of a closed window where it stopped, if it failed or was cancelled. Nobody is paid twice.

    Returns its run, even if it is in progress. 409 `INVALID_STATE` for a window that is not closed, or is paid.
    """
    async with transaction(pool) as connection:
        board = await find_any_board(connection, principal.tenant_id, leaderboard_id)
        if board is None:
            raise no_such_board(leaderboard_id)
        window = await find_window(connection, principal.tenant_id, board.board_id, window_key)
        if window is None:
            raise NotFound(f"Leaderboard '{leaderboard_id}' has no window '{window_key}'")
        run = await run_of_source(connection, principal.tenant_id, SOURCE, str(window.window_id))
        if window.status != WindowStatus.CLOSED or run is None:
            raise InvalidState(f"Window '{window_key}' of leaderboard '{leaderboard_id}' is {window.status}", present=window.status)
        run = await retry_run(connection, principal.tenant_id, run.payout_run_id, utc_now())
    relay.try_start(payout_workflow_id(principal.tenant_id, run.payout_run_id, run.attempt))
    return run_answer(run)


routes: list[Any] = [list_leaderboard_windows, close_leaderboard_window, pay_leaderboard_window]
