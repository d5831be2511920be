"""Boards for players and servers: list, page, around a user, rank and score (contract 3, Queries)."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from msgspec import Meta, structs

from api.leaderboard.entry_cache import BoardLines, leaderboard_entry
from api.pagination import Page
from api.principal import Principal
from api.rule import BOARD_READERS, USER_READERS
from api.tenant.user import user_for
from domain import limits
from domain.errors import LeaderboardNotFound, UserNotFound, ValidationError
from domain.leaderboard.board_wire import (
    EntriesAroundUser,
    LeaderboardEntry,
    LeaderboardPage,
    LeaderboardRank,
    LeaderboardSummary,
    LeaderboardSummaryListAnswer,
    UserPlace,
    UserPlaces,
)
from domain.leaderboard.window_messages import WindowStatus
from domain.wire import optional_rfc3339, rfc3339, score_number
from runtime.ids import utc_now
from runtime.postgres import Pool
from runtime.shelf import Shelf
from runtime.tasks import SharedAnswers
from storage.leaderboard.board import BoardPage, Boards, WindowView
from storage.leaderboard.definition import Leaderboard, boards_after
from storage.leaderboard.profile import NOBODY, Profiles

AnyRequest = Request[Any, Any, Any]
ViewQuestion = tuple[UUID, str, str | None]
Written = tuple[bytes, bytes]
"""A body, and what its ETag is made of: the body itself, or something shorter that differs whenever the body does."""

PAGE_LIMIT, PAGE_LIMIT_MAXIMUM, OFFSET_MAXIMUM = 100, 1000, 100_000_000
AROUND_LIMIT = 11
CACHE_SECONDS = 0.1
CACHE_CONTROL = "private, no-cache"
BOARDS_AT_ONCE = 8
PAGE_OVERHEAD_BYTES = 1000
"""What a rendered page takes beside its body: the question, the ETag, the objects."""


class Rendered(msgspec.Struct, frozen=True):
    """A body ready to be sent, with its ETag."""

    body: bytes
    etag: str

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What goes with the body."""
        return ((b"etag", self.etag.encode()), (b"cache-control", CACHE_CONTROL.encode()))


class BoardReader:
    """Boards as they are sent: hot pages are rendered once for all who ask within `CACHE_SECONDS` (single flight)."""

    def __init__(self, boards: Boards, profiles: Profiles) -> None:
        self.boards, self.profiles = boards, profiles
        self.lines = BoardLines(profiles)
        self._pages = Shelf[tuple[object, ...], Rendered](limits.RENDERED_BYTES.value, CACHE_SECONDS)
        self._under_way: dict[tuple[object, ...], asyncio.Future[Rendered | None]] = {}
        self._views = Shelf[ViewQuestion, WindowView](limits.REMEMBERED_VIEWS.value, CACHE_SECONDS)
        self._views_under_way = SharedAnswers("board-view")

    async def shared(self, question: tuple[object, ...], render: Callable[[], Awaitable[Written]]) -> Rendered:
        """The rendered answer to a question: the one that is at hand, or the one that is being made, or a new one."""
        while True:
            kept = self._pages.get(question)
            if kept is not None:
                return kept
            under_way = self._under_way.get(question)
            if under_way is None:
                return await self._lead(question, render)
            if (rendered := await asyncio.shield(under_way)) is not None:
                return rendered

    async def _lead(self, question: tuple[object, ...], render: Callable[[], Awaitable[Written]]) -> Rendered:
        """Render for all who ask meanwhile. In the first asker's own task: another one would cost a page that only one asks for a
        tenth more. Should that asker go away, the others look again, and one of them leads."""
        under_way = self._under_way[question] = asyncio.get_running_loop().create_future()
        try:
            rendered = await self._render(question, render)
        except Exception as error:
            under_way.set_exception(error)
            under_way.exception()  # nobody may be waiting for it
            raise
        except BaseException:
            under_way.set_result(None)
            raise
        finally:
            del self._under_way[question]
        under_way.set_result(rendered)
        return rendered

    async def _render(self, question: tuple[object, ...], render: Callable[[], Awaitable[Written]]) -> Rendered:
        began = time.monotonic()
        body, told_by = await render()
        etag = f'"{hashlib.blake2b(told_by, digest_size=12).hexdigest()}"'
        rendered = Rendered(body, etag)
        self._pages.put(question, rendered, len(body) + PAGE_OVERHEAD_BYTES, began=began)
        return rendered

    def forget(self) -> None:
        """Drop every rendered page: a definition has changed."""
        self._pages.clear()
        self._views.clear()

    async def page(self, tenant_id: UUID, leaderboard_id: str, *, limit: int, offset: int, window_key: str | None) -> Rendered:
        """A page of the board, as it is sent; raises as `view` does."""

        async def render() -> Written:
            view = await self.recent_view(tenant_id, leaderboard_id, window_key)
            ranked = await self.boards.ranking_page(view, offset, limit)
            if ranked is not None:
                board, held = ranked
                head = msgspec.json.encode(board_page(view, BoardPage(held.total, held.first, []), limit, []))
                entries, marks = await self.lines.render(tenant_id, board.method, held)
                return b"%b%b]}" % (head[:-2], entries), head + marks
            found = await self.boards.page(view, offset, limit)
            body = msgspec.json.encode(board_page(view, found, limit, await self.entries(tenant_id, found)))
            return body, body

        # The integer of the id hashes in C, a UUID in Python, and a question is looked up five times.
        return await self.shared((tenant_id.int, leaderboard_id, limit, offset, window_key), render)

    async def recent_view(self, tenant_id: UUID, leaderboard_id: str, window_key: str | None) -> WindowView:
        """`view`, at most `CACHE_SECONDS` old: all pages of a board that are asked for within that time share two queries."""
        question = (tenant_id, leaderboard_id, window_key)
        kept = self._views.get(question)
        if kept is not None:
            return kept
        return await self._views_under_way.ask(question, lambda: self._look_up_view(question))

    async def _look_up_view(self, question: ViewQuestion) -> WindowView:
        began = time.monotonic()
        view = await self.view(*question)
        if view.standings_id is not None:  # a window that nobody has scored in may begin at any moment
            self._views.put(question, view, began=began)
        return view

    async def view(self, tenant_id: UUID, leaderboard_id: str, window_key: str | None) -> WindowView:
        """The window that is asked for; LeaderboardNotFound, or ValidationError for a key that no window of the board has."""
        board = await self.boards.find(tenant_id, leaderboard_id)
        if board is None:
            raise no_such_board(leaderboard_id)
        view = await self.boards.view(board, window_key, utc_now())
        if view is None:
            raise ValidationError.of("window_key", "is not a window of this leaderboard; use 'current' for the current one")
        return view

    async def entries(self, tenant_id: UUID, found: BoardPage) -> list[LeaderboardEntry]:
        """The entries with ranks and profiles, as JSON values."""
        profiles = await self.profiles.of(tenant_id, [entry.external_user_id for entry in found.entries])
        ranked = enumerate(found.entries, found.first + 1)
        return [leaderboard_entry(rank, entry, profiles.get(entry.external_user_id, NOBODY)) for rank, entry in ranked]


def no_such_board(leaderboard_id: str) -> LeaderboardNotFound:
    """The refusal that names the board."""
    return LeaderboardNotFound(f"Leaderboard '{leaderboard_id}' not found")


def board_page(view: WindowView, found: BoardPage, limit: int, entries: list[LeaderboardEntry]) -> LeaderboardPage:
    """A page of a window. Its entries come last, which `BoardReader.page` makes use of."""
    return LeaderboardPage(
        leaderboard_id=view.board.leaderboard_id,
        tenant_id=view.board.tenant_id,
        window_key=view.window_key,
        status=WindowStatus(view.status),
        starts_at=optional_rfc3339(view.starts_at),
        ends_at=optional_rfc3339(view.ends_at),
        total=found.total,
        limit=limit,
        offset=found.first,
        entries=entries,
    )


def answer(request: AnyRequest, rendered: Rendered) -> Response[bytes]:
    """The body, or 304 when the client has it already."""
    headers = {"ETag": rendered.etag, "Cache-Control": CACHE_CONTROL}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
    if rendered.etag in known or "*" in known:
        return Response(b"", status_code=304, headers=headers)
    return Response(rendered.body, media_type="application/json", headers=headers)


AskedWindow = Annotated[str, Meta(min_length=1, description="A window's key, or current, the default")] | None


class WindowParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which window of a board."""

    window_key: AskedWindow = None


class EntryParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries of a ranking."""

    limit: Annotated[int, Meta(ge=1, le=PAGE_LIMIT_MAXIMUM, description="How many entries at most")] = PAGE_LIMIT
    offset: Annotated[int, Meta(ge=0, le=OFFSET_MAXIMUM, description="How many of the best are passed over")] = 0


class PageParams(EntryParams, frozen=True, kw_only=True):
    """Which page of which window."""

    window_key: AskedWindow = None


class AroundParams(WindowParams, frozen=True, kw_only=True):
    """How many entries of which window."""

    limit: Annotated[int, Meta(ge=1, le=PAGE_LIMIT_MAXIMUM, description="How many entries, the user's own included")] = AROUND_LIMIT


@get("/v1/leaderboards", rule=BOARD_READERS)
async def list_leaderboards(principal: Principal, pool: Pool, page: Page) -> LeaderboardSummaryListAnswer:
    """List the active boards, in the order of creation."""
    async with pool.connection() as connection:
        total, boards = await boards_after(connection, principal.tenant_id, statuses=("active",), after=page.after_id(), limit=page.limit)
    shown = [_summary(board) for board in boards]
    return LeaderboardSummaryListAnswer(total=total, leaderboards=shown, next_cursor=page.cursor_of(boards, "board_id"))


def _summary(board: Leaderboard) -> LeaderboardSummary:
    config = board.config_of(utc_now())
    return LeaderboardSummary(
        leaderboard_id=board.leaderboard_id,
        tenant_id=board.tenant_id,
        name=board.name,
        description=board.description,
        status=board.status,
        timeframe=config.timeframe,
        aggregation=config.scoring.aggregation,
        ranking=board.config.ranking,
        created_at=rfc3339(board.created_at),
        updated_at=rfc3339(board.updated_at),
    )


@get("/v1/leaderboards/{leaderboard_id:str}", rule=BOARD_READERS, answers={200: LeaderboardPage, 304: None})
async def get_leaderboard_page(
    leaderboard_id: str, params: PageParams, request: AnyRequest, principal: Principal, reader: BoardReader
) -> Response[bytes]:
    """Get a page of the board."""
    limit, offset = params.limit, params.offset
    page = await reader.page(principal.tenant_id, leaderboard_id, limit=limit, offset=offset, window_key=params.window_key)
    return answer(request, page)


@get("/v1/leaderboards/{leaderboard_id:str}/user/{user_id:str}", rule=BOARD_READERS, answers={200: EntriesAroundUser, 304: None})
async def get_entries_around_user(  # what it asks for, and of whom
    leaderboard_id: str, user_id: str, params: AroundParams, request: AnyRequest, principal: Principal, reader: BoardReader
) -> Response[bytes]:
    """Get the entries around a user, including the user's own."""
    limit, window_key = params.limit, params.window_key
    user_id = principal.named(user_id)

    async def render() -> Written:
        view = await reader.view(principal.tenant_id, leaderboard_id, window_key)
        around = await reader.boards.around(view, user_id, limit)
        if around is None:
            raise _no_entry(view, user_id)
        place, found = around
        entries = await reader.entries(principal.tenant_id, found)
        user = entries[place.rank - 1 - found.first]
        page = structs.asdict(board_page(view, found, limit, entries))
        body = msgspec.json.encode(EntriesAroundUser(**page, user=user))
        return body, body

    question = (principal.tenant_id, leaderboard_id, "around", user_id, limit, window_key)
    return answer(request, await reader.shared(question, render))


def _no_entry(view: WindowView, user_id: str) -> UserNotFound:
    board = view.board.leaderboard_id
    return UserNotFound(
        f"User '{user_id}' has no entry on leaderboard '{board}' in window '{view.window_key}'",
        leaderboard_id=board,
        window_key=view.window_key,
    )


@get("/v1/leaderboards/{leaderboard_id:str}/rank/{user_id:str}", rule=BOARD_READERS)
async def get_leaderboard_rank(
    leaderboard_id: str, user_id: str, params: WindowParams, principal: Principal, reader: BoardReader
) -> LeaderboardRank:
    """Get a user's rank and score."""
    return await _rank(reader, principal, leaderboard_id, user_id, window_key=params.window_key)


@get("/v1/leaderboards/{leaderboard_id:str}/score/{user_id:str}", rule=BOARD_READERS)
async def get_leaderboard_score(
    leaderboard_id: str, user_id: str, params: WindowParams, principal: Principal, reader: BoardReader
) -> LeaderboardRank:
    """Get a user's score and rank."""
    return await _rank(reader, principal, leaderboard_id, user_id, window_key=params.window_key)


async def _rank(reader: BoardReader, principal: Principal, leaderboard_id: str, user_id: str, *, window_key: str | None) -> LeaderboardRank:
    user_id = principal.named(user_id)
    view = await reader.view(principal.tenant_id, leaderboard_id, window_key)
    place = await reader.boards.place(view, user_id)
    if place is None:
        raise _no_entry(view, user_id)
    return LeaderboardRank(
        leaderboard_id=leaderboard_id,
        window_key=view.window_key,
        user_id=user_id,
        rank=place.rank,
        score=score_number(place.entry.score),
        total=place.total,
        percentile=round(100 * (place.total - place.rank) / place.total, 2),
    )


@get("/v1/users/{user_id:str}/leaderboards", rule=USER_READERS)
async def list_user_leaderboards(user_id: str, principal: Principal, pool: Pool, reader: BoardReader) -> UserPlaces:
    """List the active boards on which a user has an entry, with the rank. Gamers can only read their own (`me`)."""
    async with pool.connection() as connection:
        user = await user_for(connection, principal, user_id)
        _, boards = await boards_after(connection, principal.tenant_id, statuses=("active",), after=None, limit=limits.LEADERBOARDS.value)
    return UserPlaces(leaderboards=await _places(reader, boards, user.external_id, utc_now()))


async def _places(reader: BoardReader, boards: Sequence[Leaderboard], user_id: str, now: datetime) -> list[UserPlace]:
    """Some boards at a time: one after the other would add up their round trips, all at once would take every connection of the pool."""
    found: list[UserPlace | None] = []
    for start in range(0, len(boards), BOARDS_AT_ONCE):
        found += await asyncio.gather(*(_place_on(reader, board, user_id, now) for board in boards[start : start + BOARDS_AT_ONCE]))
    return [place for place in found if place is not None]


async def _place_on(reader: BoardReader, board: Leaderboard, user_id: str, now: datetime) -> UserPlace | None:
    view = await reader.boards.view(board, None, now)
    place = await reader.boards.place(view, user_id) if view is not None else None
    if view is None or place is None:
        return None
    return UserPlace(
        leaderboard_id=board.leaderboard_id,
        name=board.name,
        window_key=view.window_key,
        rank=place.rank,
        score=score_number(place.entry.score),
        total=place.total,
    )


routes: list[Any] = [
    list_leaderboards,
    get_leaderboard_page,
    get_entries_around_user,
    get_leaderboard_rank,
    get_leaderboard_score,
    list_user_leaderboards,
]
