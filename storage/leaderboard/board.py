"""A board as it is read: from Redis when that is certain to be right, from PostgreSQL otherwise, with the same answers."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial
from uuid import UUID

import msgspec

from domain import limits
from domain.leaderboard.definition import Method, TimeframeType
from domain.leaderboard.standing import decode_member, is_ranked
from domain.leaderboard.window import WindowSpan, window_at
from domain.leaderboard.window_sequence import find_window, find_window_by_key
from runtime.metrics import BOARD_FALLBACKS
from runtime.postgres import Pool
from storage.leaderboard import snapshot, standing
from storage.leaderboard.board_scan import BoardScans
from storage.leaderboard.definition import Leaderboard, find_board, latest_ended_window, ranked_board
from storage.leaderboard.definition import find_window as find_row
from storage.leaderboard.rankings import RankedBoard, RankingPage, Rankings, RedisError, UserRank
from storage.leaderboard.standing import RankedEntry
from storage.leaderboard.window import BoardWindow

log = logging.getLogger(__name__)

AWAY_SECONDS = 1.0
ENDLESS_OR_ONLY = (TimeframeType.CUSTOM, TimeframeType.ALL_TIME)
"""Timeframes with a single window: there is no earlier one to show instead."""


class ClosedWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a closed window: `total` were ranked, the snapshot keeps the first `kept`; and the ranking that was in force then."""

    ranked: RankedBoard
    window_id: UUID
    total: int
    kept: int


class WindowView(msgspec.Struct, frozen=True, kw_only=True):
    """A window of a board as a reader asked for it; `standings_id` is None before its first event, `frozen` until it is closed."""

    board: Leaderboard
    window_key: str
    status: str
    starts_at: datetime | None
    ends_at: datetime | None
    standings_id: UUID | None
    frozen: ClosedWindow | None = None


class BoardPage(msgspec.Struct, frozen=True):
    """Entries from the 0-based `first`, best first; `total` are ranked in all."""

    total: int
    first: int
    entries: list[RankedEntry]


class UserRanking(msgspec.Struct, frozen=True):
    """A user's entry with its 1-based rank."""

    rank: int
    total: int
    entry: RankedEntry


class Boards:
    """Reads of boards for one process."""

    def __init__(self, pool: Pool, rankings: Rankings) -> None:
        self.pool, self.rankings = pool, rankings
        self._away_until = 0.0
        self._scans = BoardScans()

    async def find(self, tenant_id: UUID, leaderboard_id: str) -> Leaderboard | None:
        """The board, unless it is archived."""
        async with self.pool.connection() as connection:
            return await find_board(connection, tenant_id, leaderboard_id)

    async def view(self, board: Leaderboard, window_key: str | None, now: datetime) -> WindowView | None:
        """The window that a reader means (contract 3, Queries); None when the board has no window of that key.

        Without a key: the current one, or when nobody is ranked in it the latest that is closed or paid.
        """
        timeframe = board.config.timeframe
        if timeframe.type is TimeframeType.CUSTOM:
            span = window_at(timeframe, timeframe.starts_at)  # type: ignore[arg-type]
        elif window_key in (None, "current"):
            span = find_window(board.segments, now)
        else:
            span = find_window_by_key(board.segments, window_key or "")
        if span is None:
            return None
        async with self.pool.connection() as connection:
            row = await find_row(connection, board.tenant_id, board.board_id, span.key)
        found = _view(board, span, row, now)
        if window_key is None and timeframe.type not in ENDLESS_OR_ONLY and (await self.page(found, 0, 1)).total == 0:
            async with self.pool.connection() as connection:
                ended = await latest_ended_window(connection, board.tenant_id, board.board_id, now)
            if ended is not None:
                return window_view(board, ended)
        return found

    async def page(self, view: WindowView, first: int, limit: int) -> BoardPage:
        """The entries `first` … `first + limit - 1`."""
        if view.standings_id is None:
            return BoardPage(0, first, [])
        if view.frozen is not None:
            return await self._frozen_page(view.frozen, first, limit)
        found = await self.ranking_page(view, first, limit)
        if found is not None:
            return _board_page(*found)
        BOARD_FALLBACKS.inc()
        return await self._stored_page(ranked_board(view.board, view.standings_id, view.starts_at), first, limit)

    async def ranking_page(self, view: WindowView, first: int, limit: int) -> tuple[RankedBoard, RankingPage] | None:
        """The same as Redis holds it; None for a window that is frozen or empty, and when Redis is not certain to be right."""
        if view.standings_id is None or view.frozen is not None or not self._redis_may_answer():
            return None
        board = ranked_board(view.board, view.standings_id, view.starts_at)
        try:
            page = await self.rankings.page(board, first, limit)
        except (RedisError, OSError) as error:
            self._redis_failed(error)
            return None
        return None if page is None else (board, page)

    async def _frozen_page(self, frozen: ClosedWindow, first: int, limit: int) -> BoardPage:
        """From the snapshot, and beyond its size from the standings, which do not change any more."""
        if frozen.kept < min(first + limit, frozen.total):
            return await self._stored_page(frozen.ranked, first, limit)
        async with self.pool.connection() as connection:
            entries = await snapshot.snapshot_page(connection, frozen.ranked.tenant_id, frozen.window_id, first=first, limit=limit)
        return BoardPage(frozen.total, first, entries)

    async def snapshot_page(self, view: WindowView, first: int, limit: int) -> BoardPage:
        """The entries of a frozen window that its snapshot keeps."""
        if view.frozen is None or first >= view.frozen.kept:
            return BoardPage(view.frozen.total if view.frozen else 0, first, [])
        return await self._frozen_page(view.frozen, first, min(limit, view.frozen.kept - first))

    async def _frozen_around(self, frozen: ClosedWindow, external_id: str, limit: int) -> tuple[UserRanking, BoardPage] | None:
        async with self.pool.connection() as connection:
            found = await snapshot.find_snapshot_entry(connection, frozen.ranked.tenant_id, frozen.window_id, external_id)
        if found is None:
            return None if frozen.kept == frozen.total else await self._stored_around(frozen.ranked, external_id, limit)
        rank, entry = found
        first = standing.around_offset(rank - 1, frozen.total, limit)
        return UserRanking(rank, frozen.total, entry), await self._frozen_page(frozen, first, limit)

    async def _stored_page(self, board: RankedBoard, first: int, limit: int) -> BoardPage:
        return await self._scans.ask(board.tenant_id, (board, first, limit), lambda: self._scan_page(board, first, limit))

    async def _scan_page(self, board: RankedBoard, first: int, limit: int) -> BoardPage:
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            total = await standing.ranked_total(connection, board.tenant_id, board.window_id, board.min_score)
            entries = await standing.standings_page(
                connection,
                board.tenant_id,
                board.window_id,
                method=board.method,
                min_score=board.min_score,
                first=first,
                limit=limit,
            )
        return BoardPage(total, first, entries)

    async def place(self, view: WindowView, external_id: str) -> UserRanking | None:
        """Where a user stands; None when the user is not ranked in the window."""
        found = await self.around(view, external_id, 1)
        return found[0] if found else None

    async def around(self, view: WindowView, external_id: str, limit: int) -> tuple[UserRanking, BoardPage] | None:
        """A user's place and the `limit` entries around it, the user's among them; None when not ranked."""
        if view.standings_id is None:
            return None
        if view.frozen is not None:
            return await self._frozen_around(view.frozen, external_id, limit)
        board = ranked_board(view.board, view.standings_id, view.starts_at)
        if self._redis_may_answer():
            try:
                answer = await self.rankings.around(board, external_id, limit)
            except (RedisError, OSError) as error:
                self._redis_failed(error)
            else:
                if answer is not None:
                    rank, page = answer
                    return None if rank.rank is None else (_place(board, external_id, rank), _board_page(board, page))
        BOARD_FALLBACKS.inc()
        return await self._stored_around(board, external_id, limit)

    async def _stored_around(self, board: RankedBoard, external_id: str, limit: int) -> tuple[UserRanking, BoardPage] | None:
        question = (board, external_id, limit)
        return await self._scans.ask(board.tenant_id, question, lambda: self._scan_around(board, external_id, limit))

    async def _scan_around(self, board: RankedBoard, external_id: str, limit: int) -> tuple[UserRanking, BoardPage] | None:
        tenant_id, window_id, method, bound = board.tenant_id, board.window_id, board.method, board.min_score
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            entry = await standing.find_standing(connection, tenant_id, window_id, external_id)
            if entry is None or not is_ranked(entry.score, bound):
                return None
            total = await standing.ranked_total(connection, tenant_id, window_id, bound)
            rank = await standing.count_ahead(connection, tenant_id, window_id, method=method, min_score=bound, entry=entry)
            first = standing.around_offset(rank, total, limit)
            entries = await standing.standings_page(
                connection, tenant_id, window_id, method=method, min_score=bound, first=first, limit=limit
            )
        return UserRanking(rank + 1, total, entry), BoardPage(total, first, entries)

    async def places(self, view: WindowView, external_ids: Sequence[str]) -> tuple[int, list[UserRanking]]:
        """How many are ranked, and the places of those of these users who are, best first."""
        if view.standings_id is None:
            return 0, []
        board = ranked_board(view.board, view.standings_id, view.starts_at)
        if view.frozen is None and self._redis_may_answer():
            try:
                answer = await self.rankings.ranks(board, external_ids)
            except (RedisError, OSError) as error:
                self._redis_failed(error)
            else:
                if answer is not None:
                    total, ranks = answer
                    named = zip(external_ids, ranks, strict=True)
                    places = [_place(board, external_id, rank) for external_id, rank in named if rank.rank is not None]
                    return total, sorted(places, key=lambda place: place.rank)
        found = {place.rank: place for each in external_ids if (place := await self.place(view, each)) is not None}
        return (await self.page(view, 0, 1)).total, [found[rank] for rank in sorted(found)]

    def _redis_may_answer(self) -> bool:
        return time.monotonic() >= self._away_until

    def _redis_failed(self, error: Exception) -> None:
        """Ask PostgreSQL alone for a moment, so that readers do not each wait for a server that is away."""
        log.warning("Redis does not answer, boards are read from PostgreSQL: %s", error)
        self._away_until = time.monotonic() + AWAY_SECONDS


def _entry(method: Method, member: bytes) -> RankedEntry:
    score, reached_at, external_id = decode_member(method, member)
    return RankedEntry(external_id, score, reached_at)


# A member's bytes say all there is to an entry, and the pages that are read are mostly the same ones: half the cost of a page.
_DECODED = {method: lru_cache(maxsize=limits.DECODED_ENTRIES.value // len(Method))(partial(_entry, method)) for method in Method}


def _place(board: RankedBoard, external_id: str, rank: UserRank) -> UserRanking:
    """The place of a user who is ranked."""
    assert rank.rank is not None
    score, reached_at, _ = decode_member(board.method, rank.order_key)
    return UserRanking(rank.rank + 1, rank.total, RankedEntry(external_id, score, reached_at))


def _board_page(board: RankedBoard, page: RankingPage) -> BoardPage:
    decoded = _DECODED[board.method]
    return BoardPage(page.total, page.first, [decoded(member) for member in page.members])


def _view(board: Leaderboard, span: WindowSpan, row: BoardWindow | None, now: datetime) -> WindowView:
    """A window without a row is open until nothing can count in it any more."""
    if row is not None:
        return window_view(board, row)
    closes_at = span.closes_at(board.config.timeframe.grace_seconds)
    status = "open" if closes_at is None or now < closes_at else "closed"
    return WindowView(board=board, window_key=span.key, status=status, starts_at=span.starts_at, ends_at=span.ends_at, standings_id=None)


def window_view(board: Leaderboard, row: BoardWindow) -> WindowView:
    """A window that has a row, as readers see it."""
    return WindowView(
        board=board,
        window_key=row.window_key,
        status=row.status,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        standings_id=row.standings,
        frozen=_frozen(board, row),
    )


def _frozen(board: Leaderboard, row: BoardWindow) -> ClosedWindow | None:
    if row.total is None or row.ranking_method is None:
        return None
    ranked = RankedBoard(board.tenant_id, board.board_id, row.standings, row.ranking_method, row.ranking_min_score)
    return ClosedWindow(ranked=ranked, window_id=row.window_id, total=row.total, kept=row.snapshot_size or 0)
