"""One listening connection for a process: it wakes all pumps when the event log has grown."""

import asyncio
import contextlib
import logging

import psycopg

from runtime.postgres import BRISK_SECONDS, Connection, connect
from storage.scoring.pump import log_head

log = logging.getLogger(__name__)

CHANNEL = "laurel_events"
POLL_SECONDS = 0.5
RECONNECT_SECONDS = 1.0


class Wakeup:
    """`wait` returns when events may have come. Notifications are hints; the head of the log is looked at every half second anyway."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self.generation = 0
        self._round = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._users = 0

    async def __aenter__(self) -> "Wakeup":
        """The first user starts to listen."""
        self._users += 1
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="wakeup")
        return self

    async def __aexit__(self, *_: object) -> None:
        """The last user ends it."""
        self._users -= 1
        if self._users == 0 and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def wait(self, seen: int, timeout_seconds: float) -> None:
        """Return as soon as the log has grown since `generation` was `seen`, at the latest after the timeout."""
        if self.generation != seen:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._round.wait()

    def _wake(self) -> None:
        self.generation += 1
        self._round.set()
        self._round = asyncio.Event()

    async def _listen(self) -> None:
        while True:
            try:
                async with await connect(self._database_url, "wakeup", answer_seconds=BRISK_SECONDS) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    await self._follow(connection)
            except (psycopg.Error, OSError) as error:
                log.warning("the wake-up connection is lost: %s", error)
            self._wake()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _follow(self, connection: Connection) -> None:
        head = -1
        while True:
            notified = False
            async for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
                notified = True
                self._wake()
            if notified:
                continue
            now = await log_head(connection)
            if now != head:
                head = now
                self._wake()
