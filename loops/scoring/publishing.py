"""After the commit: what a pump changed goes to the rankings, in order, without ever holding up scoring.

A publication that did not arrive (Redis away, queue full, gap, board absent) makes its window *dirty*: it is then repaired from PostgreSQL,
so nothing has to be kept for it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Sequence

from runtime.postgres import DATABASE_AWAY, Connection, Pool
from storage.leaderboard.definition import positions_of, windows_changed_lately, windows_of_partition
from storage.leaderboard.rankings import Publication, RankedBoard, Rankings, RedisError
from storage.leaderboard.rankings_repair import repair_window
from storage.walk import Place, WalkPage, pages

log = logging.getLogger(__name__)

QUEUE_LIMIT = 32
VERIFY_SECONDS = 5.0
VERIFY_LIMIT = 1000
"""Windows that are compared at a time: so many that were changed most lately, and a page as long of the walk over all."""
RETRY_SECONDS = 0.5
BACKOFF_LIMIT_SECONDS = 5.0
AWAY = (RedisError, OSError, asyncio.TimeoutError)


class Publisher:
    """Publishes for one owner of one partition; `run` goes on until it is cancelled."""

    def __init__(self, pool: Pool, rankings: Rankings, partition: int, epoch: int) -> None:
        self.pool, self.rankings, self.partition, self.epoch = pool, rankings, partition, epoch
        self._task: asyncio.Task[None] | None = None
        self._verified = False
        self._offered = self._handled = 0
        self._queue: asyncio.Queue[Sequence[Publication]] = asyncio.Queue(QUEUE_LIMIT)
        self._dirty: dict[RankedBoard, int] = {}
        self._life = rankings.life
        self._rebuilding: asyncio.Task[None] | None = None
        self._verify_at = 0.0
        self._walked: Place | None = None
        self._retry_at = 0.0
        self._backoff = 0.0

    def offer(self, publications: Sequence[Publication]) -> None:
        """Take what a committed transaction changed; never waits."""
        if not publications:
            return
        self._offered += 1
        try:
            self._queue.put_nowait(publications)
        except asyncio.QueueFull:
            self._handled += 1
            self._spoil(publications)

    def idle(self) -> bool:
        """Whether all that was offered has arrived, and what others committed before this owner as well."""
        return self._verified and self._handled == self._offered and not self._dirty

    def start(self) -> asyncio.Task[None]:
        """Begin to publish; the caller ends the task."""
        self._task = asyncio.create_task(self.run(), name=f"publish-{self.partition}")
        return self._task

    def raise_error(self) -> None:
        """Raise what has ended `run`, if anything did: an owner that cannot publish must not go on in silence."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def run(self) -> None:
        """Publish, repair, and from time to time compare what Redis holds with what was committed."""
        try:
            await self._run()
        finally:
            if self._rebuilding is not None:
                self._rebuilding.cancel()
                await asyncio.wait([self._rebuilding])

    async def _run(self) -> None:
        while True:
            publications = await self._next()
            try:
                await self._handle(publications)
            except AWAY as error:
                self._spoil(publications)
                self._pause(f"Redis is away: {error}")
            except DATABASE_AWAY as error:
                self._pause(f"PostgreSQL is away: {error}")
            if publications:
                self._handled += 1

    async def _handle(self, publications: Sequence[Publication]) -> None:
        if time.monotonic() < self._retry_at:
            self._spoil(publications)
            return
        if not self.rankings.life:
            async with self.pool.connection() as connection:
                await self.rankings.learn(connection)
        if self._life != self.rankings.life:
            self._begin_afresh()
        else:
            await self._publish(publications)
        await self._verify()
        await self._repair()
        self._backoff = 0.0

    def _begin_afresh(self) -> None:
        """The database lives another life: what waits may tell of rows that are no more, and nothing that Redis held is read any longer."""
        known, self._life = self._life, self.rankings.life
        if known:
            log.warning("the database is another or goes on from an earlier point: partition %d fills its boards anew", self.partition)
        while not self._queue.empty():
            self._queue.get_nowait()
            self._handled += 1
        self._dirty.clear()
        self._verified, self._verify_at = False, 0.0

    async def _next(self) -> Sequence[Publication]:
        """The oldest publications that wait, or none after a while when there is something to retry or verify."""
        until = self._verify_at
        if self._dirty or time.monotonic() < self._retry_at:
            until = max(self._retry_at, time.monotonic() + (RETRY_SECONDS if self._dirty else 0.0))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                return await self._queue.get()
        return ()

    def _pause(self, reason: str) -> None:
        if not self._backoff:
            log.warning("scoring partition %d publishes nothing for now: %s", self.partition, reason)
        self._backoff = min(BACKOFF_LIMIT_SECONDS, max(RETRY_SECONDS, 2 * self._backoff))
        self._retry_at = time.monotonic() + self._backoff
        self._verify_at = 0.0  # whatever was lost meanwhile is looked for as soon as Redis is back

    def _spoil(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            if publication.hidden:
                continue
            self._dirty[publication.board] = max(publication.to_position, self._dirty.get(publication.board, 0))

    async def _publish(self, publications: Sequence[Publication]) -> None:
        # Dirty windows too: the refusal notes how far PostgreSQL is, so that a fill from before it is not read (`rankings_script.py`).
        outcomes = await self.rankings.publish(publications)
        self._spoil([publication for publication, outcome in zip(publications, outcomes, strict=True) if outcome in ("absent", "gap")])

    async def _verify(self) -> None:
        """At first all open windows are compared; then each time those that were changed most lately, and a page of a walk over all."""
        if time.monotonic() < self._verify_at:
            return
        self._verify_at = time.monotonic() + VERIFY_SECONDS
        async with self.pool.connection() as connection:
            if await self.rankings.learn(connection):
                self._begin_afresh()
                self._verify_at = time.monotonic() + VERIFY_SECONDS
        if not self._verified:
            async for windows in pages(self.pool, self._page):
                await self._compare(windows)
        else:
            async with self.pool.connection() as connection:
                lately = await windows_changed_lately(connection, self.partition, VERIFY_LIMIT)
                page = await self._page(connection, self._walked)
            self._walked = page.last
            await self._compare(list(dict([*page.rows, *lately]).items()))
        self._verified = True

    async def _page(self, connection: Connection, after: Place | None) -> WalkPage[tuple[RankedBoard, int], Place]:
        return await windows_of_partition(connection, self.partition, after, VERIFY_LIMIT)

    async def _compare(self, expected: Sequence[tuple[RankedBoard, int]]) -> None:
        """What Redis lacks is dirty; what it holds too much of is let go."""
        ahead = dict[RankedBoard, int]()
        for chunk in _chunks(expected, 200):
            held = await self.rankings.marks([board for board, _ in chunk], self.partition)
            for (board, position), mark in zip(chunk, held, strict=True):
                if mark is None or mark < position:
                    self._dirty[board] = max(position, self._dirty.get(board, 0))
                elif mark > position:
                    ahead[board] = mark
        if ahead:
            await self._forget_futures(ahead)

    async def _forget_futures(self, ahead: dict[RankedBoard, int]) -> None:
        """Boards that hold more than was committed, also when PostgreSQL is asked after Redis: its rows have been put back by other means
        than a failover or a restore, such as a snapshot of its disk. They are rebuilt."""
        async with self.pool.connection() as connection:
            committed = await positions_of(connection, self.partition, list(ahead))
        for board, mark in ahead.items():
            if board in committed and mark > committed[board]:
                log.warning("a board of partition %d holds what PostgreSQL does not: it is filled anew", self.partition)
                await self.rankings.forget(board)
                self._dirty[board] = committed[board]

    async def _repair(self) -> None:
        """Gaps are filled here, for they are small. A board that has to be filled as a whole may take minutes: that has a task of its own,
        and what comes for other boards goes on being published."""
        if self._rebuilding is not None and self._rebuilding.done():
            ended, self._rebuilding = self._rebuilding, None
            ended.result()
        dirty = list(self._dirty.items())
        absent = []
        for chunk in _chunks(dirty, 200):
            held = await self.rankings.marks([board for board, _ in chunk], self.partition)
            absent += [item for item, mark in zip(chunk, held, strict=True) if mark is None]
            for (board, position), mark in zip(chunk, held, strict=True):
                if mark is not None:
                    await self._mend(board, position)
        if absent and self._rebuilding is None:
            self._rebuilding = asyncio.create_task(self._rebuild(absent), name=f"rebuild-{self.partition}")

    async def _rebuild(self, absent: list[tuple[RankedBoard, int]]) -> None:
        for board, position in absent:
            await self._mend(board, position)

    async def _mend(self, board: RankedBoard, position: int) -> None:
        done = await repair_window(self.pool, self.rankings, board, partition=self.partition, epoch=self.epoch, position=position)
        if done and self._dirty.get(board) == position:
            del self._dirty[board]


def _chunks(items: Sequence[tuple[RankedBoard, int]], size: int) -> Iterator[Sequence[tuple[RankedBoard, int]]]:
    return (items[start : start + size] for start in range(0, len(items), size))
