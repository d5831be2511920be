"""Word that a board has changed, as the rankings' scripts give it. A hint, never truth: who watches looks from time to time anyway."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from uuid import UUID

from runtime.redis import Redis, RedisError
from storage.leaderboard.rankings import WINDOWS_CHANGED, changed_channel

log = logging.getLogger(__name__)

READ_SECONDS = 5.0
RECONNECT_SECONDS = 0.5
KEEP_ALIVE = "boards:feed"
Watcher = Callable[[bytes], None]
"""Is told what a message says: nothing, or `WINDOWS_CHANGED`."""
AWAY = (RedisError, OSError, asyncio.TimeoutError)


class BoardFeed:
    """One subscribing connection for a process. `up` tells whether word would arrive now."""

    def __init__(self, redis: Redis) -> None:
        self.up = False
        self._pubsub = redis.pubsub(ignore_subscribe_messages=True)
        self._watchers: dict[bytes, Watcher] = {}

    async def watch(self, tenant_id: UUID, board_id: UUID, changed: Watcher) -> None:
        """Call `changed` whenever the board may have changed (and after an outage, when word may have been lost)."""
        channel = changed_channel(tenant_id, board_id)
        self._watchers[channel.encode()] = changed
        if self.up:
            with contextlib.suppress(*AWAY):
                await self._pubsub.subscribe(channel)

    async def unwatch(self, tenant_id: UUID, board_id: UUID, changed: Watcher) -> None:
        """Call `changed` no more; it has no effect when another has begun to watch the board."""
        channel = changed_channel(tenant_id, board_id)
        if self._watchers.get(channel.encode()) != changed:
            return
        del self._watchers[channel.encode()]
        if self.up:
            with contextlib.suppress(*AWAY):
                await self._pubsub.unsubscribe(channel)

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except AWAY as error:
                if self.up:
                    log.warning("word of changed boards does not arrive, boards are looked at from time to time: %s", error)
                self.up = False
                with contextlib.suppress(*AWAY):
                    await self._pubsub.aclose()  # type: ignore[no-untyped-call]
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        await self._pubsub.subscribe(KEEP_ALIVE, *(channel.decode() for channel in self._watchers))
        self.up = True
        for changed in self._watchers.values():
            changed(WINDOWS_CHANGED)
        asked_at: float | None = None
        while True:
            message = await self._pubsub.get_message(timeout=READ_SECONDS)
            if message is not None:
                asked_at = None
            elif asked_at is None:
                asked_at = time.monotonic()
                await self._pubsub.ping()
            elif time.monotonic() >= asked_at + READ_SECONDS:
                raise RedisError("the connection carries nothing any more")
            watcher = None if message is None else self._watchers.get(message["channel"])
            if message is not None and watcher is not None:
                watcher(message["data"])

    async def close(self) -> None:
        """Give the connection back."""
        with contextlib.suppress(*AWAY):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]
