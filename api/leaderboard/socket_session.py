"""One connection of a board's WebSocket: what it looks at, what it has seen, and what waits to be told."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec

from domain.errors import DomainError
from domain.leaderboard.board_wire import LeaderboardEntry
from domain.leaderboard.view import Wanted, difference
from domain.wire import optional_rfc3339, rfc3339
from runtime.ids import utc_now
from storage.leaderboard.board import WindowView

CHANGES, CHANGES_SECONDS = 10, 1.01
"""At most so many changes of a view reach a connection within so many seconds; what comes faster merges (contract 3, WebSocket). A little
more than one second, for the event loop's timers count in milliseconds and may be early."""

SendText = Callable[[str], Awaitable[None]]


def encode(message: dict[str, Any]) -> str:
    """A message as text, still without the sequence and the timestamp of a connection."""
    return msgspec.json.encode(message).decode()


def error_message(error: DomainError) -> str:
    """What a client is told when its message cannot be followed; the connection stays."""
    return encode({"type": "error", "code": error.code, "message": error.message, **({"details": error.details} if error.details else {})})


class Shown(msgspec.Struct, frozen=True):
    """What a view holds: the window, how many are ranked in it, and the view's entries, best first."""

    window: WindowView
    total: int
    entries: list[LeaderboardEntry]

    def same_window(self, other: "Shown | None") -> bool:
        """Whether both show one window of one incarnation of the board."""
        return (
            other is not None
            and self.window.window_key == other.window.window_key
            and self.window.board.board_id == other.window.board.board_id
        )

    def page(self, kind: str, wanted: Wanted) -> str:
        """The whole as a message: a `snapshot` or a `page`."""
        window = self.window
        return encode(
            {
                "type": kind,
                "leaderboard_id": window.board.leaderboard_id,
                "page": wanted.page,
                "page_size": wanted.page_size,
                "total": self.total,
                "window_key": window.window_key,
                "status": window.status,
                "starts_at": optional_rfc3339(window.starts_at),
                "ends_at": optional_rfc3339(window.ends_at),
                "entries": self.entries,
            }
        )


class LiveView:
    """A view shared by all connections that look at the same: each change is found and encoded once.

    `version` counts the changes; `update` brings a client from the version before to this one, and is None when only a snapshot can.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.clients: set[Client] = set()
        self.lock = asyncio.Lock()
        self.shown: Shown | None = None
        self.read_at = float("-inf")
        self.retry_at = 0.0
        self.version = 0
        self.update: str | None = None
        self._snapshot: str | None = None

    def show(self, shown: Shown) -> None:
        """Take what was read just now, and wake who looks at it if it is not what they have."""
        before, self.shown = self.shown, shown
        if before is None or not shown.same_window(before):
            self._change(None)
            return
        changed, removed = difference(before.entries, shown.entries)
        if changed or removed or shown.total != before.total or shown.window.status != before.window.status:
            facts = {"window_key": shown.window.window_key, "status": shown.window.status, "total": shown.total}
            entries = [msgspec.structs.asdict(entry) | {"previous_rank": rank} for entry, rank in changed]
            self._change(encode({"type": "update", **facts, "entries": entries, "removed": removed}))

    def _change(self, update: str | None) -> None:
        self.version += 1
        self.update, self._snapshot = update, None
        for client in self.clients:
            client.wake()

    def snapshot(self) -> str:
        """The newest state."""
        assert self.shown is not None
        if self._snapshot is None:
            self._snapshot = self.shown.page("snapshot", self.wanted)
        return self._snapshot


class Client:
    """A connection. Of its view it holds only which version it has seen: a slow reader costs no queue, and gets the newest state."""

    def __init__(self, send: SendText) -> None:
        self.view: LiveView | None = None
        self.sent_at = time.monotonic()
        self.sending_since: float | None = None
        self.closing: tuple[int, str] | None = None
        self._send = send
        self._seen = -1
        self._sequence = 0
        self._changes: deque[float] = deque(maxlen=CHANGES)
        self._replies: deque[str] = deque()
        self._farewell: tuple[int, str] | None = None
        self._awake, self._drained = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begin to send; the task ends when the connection is to be closed or is lost."""
        self._task = asyncio.create_task(self._run(), name="socket-sender")
        return self._task

    def wake(self) -> None:
        """There may be something to send."""
        self._awake.set()

    def look_at(self, view: LiveView) -> None:
        """Show this view from now on, beginning with a snapshot."""
        self.view, self._seen = view, -1
        self._drained.clear()
        self.wake()

    def tell(self, body: str) -> None:
        """Send a message (JSON without sequence and timestamp) after what the view has to say."""
        self._replies.append(body)
        self._drained.clear()
        self.wake()

    async def drained(self) -> None:
        """Wait until all of it is on its way; so a client that asks faster than it reads waits for its own answers."""
        await self._drained.wait()

    def close(self, code: int, reason: str) -> None:
        """Close now, whatever waits."""
        if self.closing is None:
            self.closing = (code, reason)
            if self._task is not None:
                self._task.cancel()

    def close_after(self, body: str, code: int, reason: str) -> None:
        """Say why, then close."""
        if self._farewell is None:
            self._farewell = (code, reason)
            self.tell(body)

    def _next(self) -> str | None:
        view = self.view
        if view is not None and view.shown is not None and view.version != self._seen:
            if self._seen >= 0:
                self._changes.append(time.monotonic())
            follows, self._seen = self._seen == view.version - 1, view.version
            return view.update if follows and view.update is not None else view.snapshot()
        return self._replies.popleft() if self._replies else None

    async def _run(self) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            await self._turn()
            instant = utc_now()
            while (body := self._next()) is not None:
                await self._put(body, instant)
                await self._turn()
                instant = utc_now()
            if self._farewell is not None:
                self.closing = self._farewell
                return
            self._drained.set()

    async def _turn(self) -> None:
        """Wait while another change would be one too many. The ticker comes no more often, but a view that is shared is also read for
        each client that begins to look at it, and ticks do not all take equally long."""
        view = self.view
        if view is not None and self._seen >= 0 and view.version != self._seen and len(self._changes) == CHANGES:
            await asyncio.sleep(self._changes[0] + CHANGES_SECONDS - time.monotonic())

    async def _put(self, body: str, instant: datetime) -> None:
        """`instant` was read before the change was counted: timestamps lie no closer to each other than the counted changes do."""
        self._sequence += 1
        self.sending_since = time.monotonic()
        await self._send(f'{{"sequence":{self._sequence},"timestamp":"{rfc3339(instant, milliseconds=True)}",{body[1:]}')
        self.sending_since = None
        self.sent_at = time.monotonic()
