"""The barrier before a window is frozen: everything that counts in it has been scored.

An event counts iff its `accepted_at` is before `closes_at`. Its writer takes its guard before it reads the clock, so once the clock of
PostgreSQL is past `closes_at`, whoever may still commit such an event is among the guards held. When those are gone, the log's head
read after that is behind every such event; when the cursors of all partitions have passed it, and the tenant is not behind them, all of
them are in the standings.

One loop in a process looks for all windows that wait in it: a thousand boards that end at midnight cost as many looks as one.
"""

import asyncio
import logging
from datetime import datetime
from uuid import UUID

from runtime.postgres import DATABASE_AWAY, Pool
from storage.leaderboard.window import Sight, look_at_barrier

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
AWAY_SECONDS = 1.0


class WaitingClose:
    """How far one window has come through the barrier."""

    def __init__(self, tenant_id: UUID, closes_at: datetime) -> None:
        self.tenant_id, self.closes_at = tenant_id, closes_at
        self.writers: frozenset[int] | None = None
        self.head: int | None = None

    def see(self, sight: Sight) -> bool:
        """Whether the window has passed, given one more look."""
        if sight.now < self.closes_at:
            return False
        self.writers = sight.writers if self.writers is None else self.writers & sight.writers
        if self.head is None and not self.writers:
            self.head = sight.head
        return self.head is not None and sight.scored_of(self.tenant_id) >= self.head


class Barrier:
    """Lets windows wait together. One for each worker process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: dict[asyncio.Future[None], WaitingClose] = {}
        self._watching: asyncio.Task[None] | None = None

    async def passed(self, tenant_id: UUID, closes_at: datetime) -> None:
        """Return once everything of the tenant that was accepted before `closes_at` has been scored.

        Waits as long as PostgreSQL or the pumps are away.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = WaitingClose(tenant_id, closes_at)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="window barrier")
        try:
            await future
        finally:
            self._waiting.pop(future, None)

    async def _watch(self) -> None:
        while self._waiting:
            pause = LOOK_SECONDS
            try:
                async with self._pool.connection() as connection:
                    self._tell(await look_at_barrier(connection))
            except DATABASE_AWAY as error:
                log.warning("closing windows wait for PostgreSQL: %s", error)
                pause = AWAY_SECONDS
            await asyncio.sleep(pause)

    def _tell(self, sight: Sight) -> None:
        for future, waiting in list(self._waiting.items()):
            if waiting.see(sight) and not future.done():
                future.set_result(None)
