"""The boards that somebody watches: one room for each, with one ticker that reads what is looked at and finds what has changed."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from api.leaderboard.board import BoardReader
from api.leaderboard.entry_cache import leaderboard_entry
from api.leaderboard.socket_session import Client, LiveView, Shown, encode, error_message
from domain.errors import DomainError, LeaderboardNotFound, Unavailable, ValidationError
from domain.leaderboard.board_wire import LeaderboardEntry
from domain.leaderboard.view import CURRENT, AroundUser, Configure, Ping, Users, Wanted, read_request, wanted_after
from runtime.ids import utc_now
from runtime.postgres import DATABASE_AWAY
from runtime.redis import RedisError
from runtime.tasks import begin_for_all
from storage.leaderboard.board import UserRanking, WindowView
from storage.leaderboard.feed import BoardFeed
from storage.leaderboard.profile import NOBODY
from storage.leaderboard.rankings import WINDOWS_CHANGED

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
LOOK_SECONDS = 2.0
AWAY_LOOK_SECONDS = 0.5
WINDOW_SECONDS = 1.0
FRESH_SECONDS = 0.03
RETRY_SECONDS = 1.0
AT_ONCE = 8
CACHED_WINDOWS = 64
GONE_CODE = 4404
ENDED = ("closed", "paid")
AWAY = (*DATABASE_AWAY, RedisError, Unavailable)


class Room:
    """All who watch one board, in one process. `run` is its ticker: at most 10 times a second, and from time to time without word."""

    def __init__(self, reader: BoardReader, feed: BoardFeed, tenant_id: UUID, leaderboard_id: str) -> None:
        self.clients: set[Client] = set()
        self._reader, self._feed = reader, feed
        self._tenant_id, self._leaderboard_id = tenant_id, leaderboard_id
        self._views: dict[Wanted, LiveView] = {}
        self._windows: dict[str, tuple[float, WindowView]] = {}
        self._open: dict[str, datetime] = {}
        self._watched: UUID | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tick."""
        self._task = begin_for_all(self._run(), f"board-{self._leaderboard_id}")

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._watched is not None:
            await self._feed.unwatch(self._tenant_id, self._watched, self._take_word)

    # What clients ask

    async def hear(self, client: Client, body: bytes) -> None:
        """Follow a client's message; raises the DomainError that the client is to be told."""
        request = read_request(body)
        if isinstance(request, Ping):
            client.tell(encode({"type": "pong"}))
            return
        assert client.view is not None
        wanted = wanted_after(client.view.wanted, request)
        if isinstance(request, Configure):
            await self.look(client, wanted)
            return
        shown = await self._read(await self._window(wanted.window_key), wanted)
        client.tell(shown.page("page", wanted))

    async def look(self, client: Client, wanted: Wanted) -> None:
        """Show the client another view, beginning with a snapshot of it."""
        view = self._views.get(wanted)
        if view is None:
            view = self._views[wanted] = LiveView(wanted)
        view.clients.add(client)  # before it is read, so that nobody drops it meanwhile
        try:
            await self._refresh(view, FRESH_SECONDS)
        except BaseException:
            if view is not client.view:
                self._drop(client, view)
            raise
        before = client.view
        client.look_at(view)
        if before is not None and before is not view:
            self._drop(client, before)

    def leave(self, client: Client) -> None:
        """The client has gone."""
        self.clients.discard(client)
        if client.view is not None:
            self._drop(client, client.view)

    def _drop(self, client: Client, view: LiveView) -> None:
        view.clients.discard(client)
        if not view.clients and self._views.get(view.wanted) is view:
            del self._views[view.wanted]

    # The ticker

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._quiet_seconds()):
                    await self._changed.wait()
            self._changed.clear()
            began = time.monotonic()
            try:
                await self._tick()
            except LeaderboardNotFound as error:
                for client in self.clients:
                    client.close_after(error_message(error), GONE_CODE, "the leaderboard is gone")
            except AWAY as error:
                log.warning("the watchers of board %s wait: %s", self._leaderboard_id, error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("the watchers of board %s wait", self._leaderboard_id)
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(max(0.0, began + TICK_SECONDS - time.monotonic()))

    def _quiet_seconds(self) -> float:
        """How long to wait for word: not beyond the end of the current window, and not long when no word would come."""
        now = utc_now()
        waits = [LOOK_SECONDS if self._feed.up and all(now < ends_at for ends_at in self._open.values()) else AWAY_LOOK_SECONDS]
        if (kept := self._windows.get(CURRENT)) is not None and kept[1].ends_at is not None and kept[1].ends_at > now:
            waits.append((kept[1].ends_at - now).total_seconds())
        return min(waits)

    async def _tick(self) -> None:
        now = time.monotonic()
        for chunk in _chunks([view for view in self._views.values() if view.retry_at <= now], AT_ONCE):
            errors = await asyncio.gather(*(self._refresh(view, 0.0) for view in chunk), return_exceptions=True)
            for view, error in zip(chunk, errors, strict=True):
                if error is not None:
                    self._stumble(view, error)
        await self._announce_ends(utc_now())

    def _stumble(self, view: LiveView, error: BaseException) -> None:
        """What stops one view stops no other of the room; what is true of the whole board, or of PostgreSQL, is raised."""
        if isinstance(error, (LeaderboardNotFound, *AWAY)) or not isinstance(error, Exception):
            raise error
        view.retry_at = time.monotonic() + RETRY_SECONDS
        if isinstance(error, ValidationError):
            self._give_way(view, error)
        elif not isinstance(error, DomainError):
            log.error("a view of board %s waits", self._leaderboard_id, exc_info=error)

    def _give_way(self, view: LiveView, error: DomainError) -> None:
        """The view's window is none of the board any more: its clients are told so, and shown the current window instead."""
        wanted = msgspec.structs.replace(view.wanted, window_key=CURRENT)
        instead = self._views.get(wanted)
        if instead is None:
            instead = self._views[wanted] = LiveView(wanted)
        for client in list(view.clients):
            client.tell(error_message(error))
            instead.clients.add(client)
            client.look_at(instead)
            self._drop(client, view)
        self._changed.set()

    async def _refresh(self, view: LiveView, fresh_seconds: float) -> None:
        async with view.lock:
            began = time.monotonic()
            if view.read_at < began - fresh_seconds:
                view.show(await self._read(await self._window(view.wanted.window_key), view.wanted))
                view.read_at = began

    async def _announce_ends(self, now: datetime) -> None:
        """Tell of each window that was seen open and is frozen now; who looks at the current one has had its successor before."""
        for key, ends_at in list(self._open.items()):
            shown = [view.shown.window.status for view in self._views.values() if view.shown and view.shown.window.window_key == key]
            if now < ends_at and not any(status in ENDED for status in shown):
                continue
            try:
                window = await self._window(key)
            except ValidationError:  # the board has changed, and this is none of its windows any more
                del self._open[key]
                continue
            if window.status not in ENDED:
                continue
            del self._open[key]
            body = encode({"type": "window_closed", "window_key": key, "status": window.status})
            for client in self.clients:
                if client.view is not None and client.view.wanted.window_key in (CURRENT, key):
                    client.tell(body)

    # Reading

    def _take_word(self, news: bytes) -> None:
        """Something has changed: look at the next tick, and at windows anew if it is about them."""
        if news == WINDOWS_CHANGED:
            self._windows.clear()
        self._changed.set()

    async def _window(self, key: str) -> WindowView:
        """The window of that key (or the current one) as it was within the last second; LeaderboardNotFound, ValidationError."""
        kept = self._windows.get(key)
        if kept is not None and time.monotonic() < kept[0] and not _is_over(kept[1]):
            return kept[1]
        until = time.monotonic() + WINDOW_SECONDS
        window = await self._reader.view(self._tenant_id, self._leaderboard_id, key)
        if window.ends_at is not None and window.status not in ENDED:
            self._open.setdefault(window.window_key, window.ends_at)
        if len(self._windows) >= CACHED_WINDOWS:
            self._windows.clear()
        if window.standings_id is None:  # the row may come with the next event
            until = 0.0
        self._windows[key] = (until, window)
        if window.board.board_id != self._watched:
            await self._watch(window.board.board_id)
        return window

    async def _watch(self, board_id: UUID) -> None:
        before, self._watched = self._watched, board_id
        if before is not None:
            await self._feed.unwatch(self._tenant_id, before, self._take_word)
        await self._feed.watch(self._tenant_id, board_id, self._take_word)

    async def _read(self, window: WindowView, wanted: Wanted) -> Shown:
        boards, asked = self._reader.boards, wanted.filter
        if isinstance(asked, Users):
            total, places = await boards.places(window, tuple(dict.fromkeys(asked.user_ids)))
            return Shown(window, total, await self._wire(places))
        if isinstance(asked, AroundUser):
            around = await boards.around(window, asked.user_id, asked.limit)
            if around is None:
                return Shown(window, (await boards.page(window, 0, 1)).total, [])
            found = around[1]
        else:
            found = await boards.page(window, wanted.first, max(1, wanted.limit))
            if not wanted.limit:
                return Shown(window, found.total, [])
        return Shown(window, found.total, await self._reader.entries(self._tenant_id, found))

    async def _wire(self, places: Sequence[UserRanking]) -> list[LeaderboardEntry]:
        profiles = await self._reader.profiles.of(self._tenant_id, [place.entry.external_user_id for place in places])
        return [leaderboard_entry(place.rank, place.entry, profiles.get(place.entry.external_user_id, NOBODY)) for place in places]


def _is_over(window: WindowView) -> bool:
    """Whether the window has ended: then it may be the current one no longer, and its status may change at any moment."""
    return window.ends_at is not None and window.status not in ENDED and utc_now() >= window.ends_at


def _chunks(items: list[LiveView], size: int) -> Iterator[list[LiveView]]:
    return (items[start : start + size] for start in range(0, len(items), size))
