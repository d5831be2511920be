"""The scoring pump: owns a partition, scores its events batch after batch, publishes what changed, and says how far it is."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
from temporalio import activity
from temporalio.service import RPCError

from domain import limits
from loops.scoring.batch import Scorer
from loops.scoring.poison import POISON
from loops.scoring.publishing import Publisher
from loops.scoring.pump_share import PumpShare
from loops.scoring.rule_books import Books
from loops.scoring.shares import ScoringShares
from loops.scoring.values import ScoringBatch
from loops.scoring.wakeup import Wakeup
from runtime.postgres import DATABASE_AWAY, Pool, briskly, transaction
from runtime.pulse import pulse
from storage.leaderboard.rankings import Rankings
from storage.scoring.pump import StaleOwner, log_head, take_partition

log = logging.getLogger(__name__)

BATCH_LIMIT = 5000
WAIT_SECONDS = 1.0
LINGER_SECONDS = 0.04
HEARTBEAT_SECONDS = 1.0
RETRY_LIMIT_SECONDS = 5.0
LATE_SECONDS = 30.0
"""A pump that has ended no round for this long is overdue: the worker's health says so."""
REPORT_TIMEOUT = timedelta(seconds=2)
REPORT_SECONDS = 60.0
"""How often the workflow is told how far its pump is, for those who look at it in the UI: a signal a minute, none while all is quiet."""

LEAVE_SECONDS = 3.0
"""So long a pump that is told to stop may take to end its batch; then it is cancelled."""

SHIFT_SECONDS = 6 * 3600.0
"""After this long the activity ends by itself, so that the workflow can note how far it came and continue as new."""

SCORE, CATCH_UP = "score", "catch up"
"""The two kinds of transactions: for all tenants that are not behind, and for one of those that are."""


class ScoringProgress(msgspec.Struct, kw_only=True):
    """How far a partition's owner is; `lag` counts positions of the log (of all partitions) that it has not passed."""

    partition: int
    epoch: int = 0
    cursor: int = 0
    head: int = 0
    events: int = 0
    dead_letters: int = 0
    ended: str = ""

    @property
    def lag(self) -> int:
        """Positions between the cursor and the log's head."""
        return max(0, self.head - self.cursor)


class ScoringPump:
    """The loop of one owner. `run` returns when `stop` is set or another owner has taken the partition."""

    def __init__(
        self,
        pool: Pool,
        rankings: Rankings,
        wakeup: Wakeup,
        partition: int,
        *,
        books: Books | None = None,
        shares: ScoringShares | None = None,
    ) -> None:
        self._books, self._shares = books, shares or ScoringShares()
        self.pool, self.rankings, self.wakeup = pool, rankings, wakeup
        self.progress = ScoringProgress(partition=partition)
        self._careful: set[str] = set()
        self._one_at_a_time = asyncio.Lock()
        self._lagging = asyncio.Event()
        self._failures = 0
        self._name = f"pump {partition}"

    async def run(self, stop: asyncio.Event, *, until_idle: bool = False) -> ScoringProgress:
        """Score until told to stop (or, for tests and tools, until the log is scored and published)."""
        epoch = await self._own()
        self.progress.epoch = epoch
        scorer = Scorer(self.pool, self.progress.partition, epoch, self._books, shares=self._shares)
        publisher = Publisher(self.pool, self.rankings, self.progress.partition, epoch)
        publishing = publisher.start()
        catching_up = asyncio.create_task(self._catch_up(scorer, publisher, stop), name=f"backlog-{self.progress.partition}")
        pulse.expect(self._name, LATE_SECONDS)
        try:
            await self._loop(scorer, publisher, catching_up, stop, until_idle=until_idle)
        except StaleOwner as error:
            self.progress.ended = str(error)
        finally:
            pulse.over(self._name)
            await _end(catching_up)
            await _end(publishing)
        return self.progress

    async def _own(self) -> int:
        async with transaction(self.pool) as connection:
            return await take_partition(connection, self.progress.partition)

    async def _loop(
        self, scorer: Scorer, publisher: Publisher, catching_up: asyncio.Task[None], stop: asyncio.Event, *, until_idle: bool
    ) -> None:
        while not stop.is_set():
            seen, began = self.wakeup.generation, time.monotonic()
            batch = await self._patiently(self.step, scorer)
            if batch is None:
                continue
            pulse.beat(self._name)
            publisher.offer(batch.publications)
            publisher.raise_error()
            if catching_up.done():
                catching_up.result()
            if scorer.lags:
                self._lagging.set()
            if batch.behind or SCORE in self._careful:
                continue
            if until_idle:
                if batch.events == 0 and publisher.idle() and not scorer.lags:
                    return
                await asyncio.sleep(0.005)
                continue
            if batch.events == 0:
                await self.wakeup.wait(seen, WAIT_SECONDS)
            await asyncio.sleep(max(0.0, began + LINGER_SECONDS - time.monotonic()))

    async def _catch_up(self, scorer: Scorer, publisher: Publisher, stop: asyncio.Event) -> None:
        """Beside that loop, transaction by transaction in turns with it: score the tenants that are behind."""
        while not stop.is_set():
            if not scorer.lags:
                self._lagging.clear()
                await self._lagging.wait()
            async with self._shares.turn():
                batch = await self._patiently(self.turn, scorer)
            if batch is not None:
                publisher.offer(batch.publications)
            if batch is None or not batch.events:
                await asyncio.sleep(LINGER_SECONDS)  # what it waits for is compiled, or PostgreSQL comes back

    async def _patiently(self, act: Callable[[Scorer], Awaitable[ScoringBatch]], scorer: Scorer) -> ScoringBatch | None:
        """What one transaction did; None, after a while, when PostgreSQL is away."""
        try:
            batch = await act(scorer)
        except DATABASE_AWAY as error:
            self._failures += 1
            log.warning("scoring partition %d waits for PostgreSQL: %s", self.progress.partition, error)
            await asyncio.sleep(min(RETRY_LIMIT_SECONDS, 0.1 * 2**self._failures))
            return None
        self._failures = 0
        return batch

    async def step(self, scorer: Scorer) -> ScoringBatch:
        """One transaction for all tenants that are not behind."""
        return await self._transact(SCORE, scorer.score)

    async def turn(self, scorer: Scorer) -> ScoringBatch:
        """One transaction for one of the tenants that are."""
        return await self._transact(CATCH_UP, scorer.catch_up)

    async def _transact(self, kind: str, score: Callable[..., Awaitable[ScoringBatch]]) -> ScoringBatch:
        """One that fails for what is in it is done again with fewer events, and carefully, until none breaks scoring."""
        async with self._one_at_a_time:
            with briskly():
                if kind not in self._careful:
                    try:
                        return self._note(await score(BATCH_LIMIT))
                    except POISON as error:
                        log.warning("scoring partition %d looks for the event that breaks it: %s", self.progress.partition, error)
                        self._careful.add(kind)
                batch = self._note(await score(limits.CAREFUL_EVENTS.value, careful=True))
        if not batch.poisoned:
            self._careful.discard(kind)
        return batch

    def _note(self, batch: ScoringBatch) -> ScoringBatch:
        for position, reason in batch.poisoned.items():
            log.error("event at position %d breaks scoring: %s", position, reason)
        self.progress.dead_letters += len(batch.poisoned)
        self.progress.events += batch.events
        self.progress.cursor = max(self.progress.cursor, batch.position)
        return batch


class Owner:
    """A pump that runs in this process, and how to end it."""

    def __init__(self, pump: ScoringPump) -> None:
        self.pump, self.stop = pump, asyncio.Event()
        self.task = asyncio.create_task(self._run(), name=f"pump-{pump.progress.partition}")

    async def end(self) -> None:
        """Let it end its batch, and wait until it is over."""
        self.stop.set()
        await asyncio.wait([self.task], timeout=LEAVE_SECONDS)
        await _end(self.task)

    async def _run(self) -> ScoringProgress:
        try:
            async with self.pump.wakeup:
                return await self.pump.run(self.stop)
        except Exception:
            log.exception("the pump of partition %d has failed", self.pump.progress.partition)
            raise


class ScoringActivities:
    """What the scoring workflows run; all pumps of a process share one pool, one set of rankings and one wake-up connection.

    A pump belongs to the process, one at most for each partition; the activity watches it. While Temporal is away, activities end, for they
    are not heard of, and their pumps go on: until the partition is given out again, here or to another process, or `close`.
    """

    def __init__(self, pool: Pool, rankings: Rankings, database_url: str, share: PumpShare | None = None) -> None:
        self.pool, self.rankings, self._share = pool, rankings, share
        self.wakeup = Wakeup(database_url)
        self._books, self._shares = Books(), ScoringShares()
        self._owners: dict[int, Owner] = {}

    async def close(self) -> None:
        """End the pumps that nobody watches; call it when the worker has shut down."""
        await asyncio.gather(*(owner.end() for owner in self._owners.values()))

    @activity.defn
    async def score_partition(self, partition: int) -> ScoringProgress:
        """Own the partition until the worker shuts down, another owner takes it, or the shift is over."""
        owner = await self._begin(partition)
        watching = asyncio.create_task(self._watch(owner.pump, owner.stop), name=f"heartbeat-{partition}")
        if self._share is not None:
            self._share.begin(partition, owner.stop)
        try:
            progress = await asyncio.shield(owner.task)
        except asyncio.CancelledError:
            if _is_not_wanted():
                await owner.end()
            raise
        finally:
            watching.cancel()
            if self._share is not None:
                self._share.end(partition, owner.stop)
        progress.ended = progress.ended or "the worker is shutting down, another one has room, or the shift is over"
        return progress

    async def _begin(self, partition: int) -> Owner:
        """A new owner of the partition, when the one before it in this process is over: its successor takes a higher epoch."""
        while (before := self._owners.get(partition)) is not None and not before.task.done():
            await before.end()
        owner = self._owners[partition] = Owner(
            ScoringPump(self.pool, self.rankings, self.wakeup, partition, books=self._books, shares=self._shares)
        )
        return owner

    async def _watch(self, pump: ScoringPump, stop: asyncio.Event) -> None:
        """Heartbeat with the progress. Temporal may be away: the heartbeats are then lost, the activity ends, and the pump goes on."""
        ends = time.monotonic() + SHIFT_SECONDS
        report_at, reported = 0.0, -1
        while time.monotonic() < ends and not activity.is_worker_shutdown():
            await self._look_at_head(pump.progress)
            activity.heartbeat(pump.progress)
            if time.monotonic() >= report_at and pump.progress.cursor != reported:
                report_at, reported = time.monotonic() + REPORT_SECONDS, pump.progress.cursor
                await _report(pump.progress)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(activity.wait_for_worker_shutdown(), HEARTBEAT_SECONDS)
        stop.set()

    async def _look_at_head(self, progress: ScoringProgress) -> None:
        with contextlib.suppress(*DATABASE_AWAY):
            async with self.pool.connection() as connection:
                progress.head = await log_head(connection)


async def _report(progress: ScoringProgress) -> None:
    with contextlib.suppress(RPCError, RuntimeError, OSError):
        handle = activity.client().get_workflow_handle(activity.info().workflow_id or "")
        await handle.signal("report", progress, rpc_timeout=REPORT_TIMEOUT)


def _is_not_wanted() -> bool:
    """Whether somebody asked for the end of this activity. Otherwise Temporal or this process has lost sight of it."""
    details = activity.cancellation_details()
    return details is not None and (details.cancel_requested or details.paused or details.reset)


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it is over: a client library may take one cancellation for its own timeout and go on."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.2)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s has failed", task.get_name(), exc_info=error)
