"""What a rescore does to the world: read the log again batch by batch, switch the window, give up, and clear away what nobody reads."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from uuid import UUID

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.heartbeat import heartbeats
from domain import limits
from domain.errors import EventsExpired
from domain.leaderboard.rescore import RescoreInput, RescoreProgress, RescoreStatus
from domain.scoring.rules import NEVER, RuleBook
from loops.scoring.poison import POISON
from loops.scoring.rule_books import Books
from loops.scoring.rule_run import window_scores
from runtime.postgres import Connection, Pool, transaction
from storage import binary_columns
from storage.leaderboard import rescore as storage
from storage.leaderboard.definition import boards_by_id, find_window, ranked_board
from storage.leaderboard.rankings import RankedBoard, Rankings, RedisError
from storage.leaderboard.rankings_repair import rebuild_window
from storage.leaderboard.rescore import Lane, Rescore
from storage.leaderboard.standing import WindowDeltas, merge_windows
from storage.rules_lock import change_instant
from storage.scoring.pump import LoggedEvent
from storage.scoring.rule_book import load_board_life

log = logging.getLogger(__name__)

BATCH_LIMIT = 2000
STINT_SECONDS = 3.0
"""After so long a stint ends, so that the workflow knows how far it is. What it has read is in PostgreSQL after each batch."""
LONGEST_PAUSE_SECONDS = 0.25
DELETE_LIMIT = 10_000
KEPT_READERS = 8
"""So many rescores keep their compiled rules from one stint to the next."""
AT_WORK = 2
"""Rescores that read at the same time in one process: live scoring goes before."""


class Reader:
    """Reads a rescore's part of the log, from where the last one stopped. Two at once take turns at the lane's row."""

    def __init__(self, pool: Pool, rescore: Rescore, books: Books | None = None) -> None:
        self._pool, self._rescore, self._books = pool, rescore, books or Books()
        self._limit = BATCH_LIMIT
        self._book: RuleBook | None = None

    async def step(self) -> bool:
        """One batch in one transaction; False when there is nothing left to read. A batch that fails is halved, down to one event.

        What must be compiled for it is compiled outside of any transaction, and the batch is read again.
        """
        book = await self._rules()
        try:
            async with transaction(self._pool) as connection:
                more, unprepared = await self._step(connection, book, skip=False)
        except POISON as error:
            if self._limit > 1:
                self._limit //= 2
                return True
            log.warning("rescore %s leaves an event out: %s", self._rescore.rescore_id, error)
            async with transaction(self._pool) as connection:
                more, unprepared = await self._step(connection, book, skip=True)
        for event in unprepared:
            await self._books.prepare(book, event)
        if not unprepared:
            self._limit = min(BATCH_LIMIT, self._limit * 2)
        return more

    async def _step(self, connection: Connection, book: RuleBook, *, skip: bool) -> tuple[bool, list[LoggedEvent]]:
        """Whether there is more, and the events whose rules are not compiled: then nothing has happened."""
        lane = await storage.next_lane(connection, self._rescore)
        present = await storage.find_rescore(connection, self._rescore.tenant_id, self._rescore.rescore_id)
        if lane is None or present is None or present.status is not RescoreStatus.RUNNING:
            return False, []
        first, position, events = await storage.lane_events(connection, self._rescore, lane, limit=self._limit)
        if events and not skip:
            if unprepared := [event for event in events if not book.rules_at(event.accepted_at).is_compiled(event.type)]:
                return True, unprepared
            read = len(events)
            events = await self._books.affordable(book, events, limits.TURN_WORK.value)
            if len(events) < read:
                position = events[-1].position
            await self._merge(connection, book, lane, events=events, position=position)
        await storage.advance_lane(connection, self._rescore, lane, first=first, position=position, events=len(events))
        return True, []

    async def _merge(self, connection: Connection, book: RuleBook, lane: Lane, *, events: Sequence[LoggedEvent], position: int) -> None:
        rescore = self._rescore
        scores = window_scores(book, events, rescore, NEVER)  # all of them were accepted while it was open
        if scores is None:
            return
        names = {event.user_id.int: event.external_user_id for event in events}
        users = sorted(scores.by_user)
        if users:
            texts, contributions = [binary_columns.text(names[user]) for user in users], [scores.by_user[user] for user in users]
            window = WindowDeltas(rescore.tenant_id, rescore.rescore_id, users, texts, contributions)
            aggregation = scores.config.scoring.aggregation
            await merge_windows(connection, aggregation, [window], partition=lane.scoring_partition, position=position)

    async def _rules(self) -> RuleBook:
        """The board's present rules. All that is read was accepted before the rescore began, so no later ones are asked for."""
        if self._book is None:
            rescore = self._rescore
            async with self._pool.connection() as connection:
                self._book = RuleBook(await load_board_life(connection, rescore.tenant_id, rescore.board_id, rescore.valid_from))
        return self._book


class RescoreActivities:
    """Activities that may be run twice: each batch notes how far it came in its own transaction."""

    def __init__(self, pool: Pool, rankings: Rankings) -> None:
        self._pool, self._rankings = pool, rankings
        self._turns = asyncio.Semaphore(AT_WORK)
        self._books = Books()
        self._readers: dict[UUID, Reader] = {}

    @activity.defn(name="read_log_again")
    async def read(self, given: RescoreInput) -> RescoreProgress:
        """Read on for some seconds, half of the time at work: how far the rescore is."""
        async with heartbeats(), self._turns:
            reader, ends = self._reader(await self._find(given)), time.monotonic() + STINT_SECONDS
            more = True
            while more and time.monotonic() < ends and not _stopping():
                began = time.monotonic()
                more = await reader.step()
                await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, time.monotonic() - began))
        return await self._progress(given)

    @activity.defn(name="switch_to_rescored")
    async def switch(self, given: RescoreInput) -> RescoreProgress:
        """Fill the rankings beside what is shown, then let the window's standings be the new ones, in one transaction."""
        rescore = await self._find(given)
        if rescore.status is RescoreStatus.RUNNING:
            async with heartbeats():
                await self._fill(rescore)
                async with transaction(self._pool) as connection:
                    await change_instant(connection, given.tenant_id)
                    await _switch(connection, given)
                await self._announce(rescore)
        return await self._progress(given)

    @activity.defn(name="give_rescore_up")
    async def give_up(self, given: RescoreInput) -> RescoreProgress:
        """Leave the window as it is; nothing happens to a rescore that has ended."""
        async with transaction(self._pool) as connection:
            await change_instant(connection, given.tenant_id)
            await storage.fail_rescore(connection, await self._find(given), "cancelled")
        return await self._progress(given)

    @activity.defn(name="clear_replaced_standings")
    async def clear(self, given: RescoreInput) -> int:
        """Delete the standings that nobody reads any more, a page in each transaction; answers how many went."""
        async with self._pool.connection() as connection:
            standings_id = await storage.replaced_standings(connection, given.tenant_id, given.rescore_id)
            rescore = await self._find(given)
        if standings_id is None:
            return 0
        with contextlib.suppress(RedisError, OSError):
            await self._rankings.retire(await self._ranked_board(rescore, standings_id))
        cleared, gone = 0, DELETE_LIMIT
        async with heartbeats():
            while gone == DELETE_LIMIT:
                async with transaction(self._pool) as connection:
                    gone = await storage.delete_standings(connection, given.tenant_id, standings_id, DELETE_LIMIT)
                cleared += gone
        return cleared

    def _reader(self, rescore: Rescore) -> Reader:
        """That of the stint before, if it was here: what it has compiled need not be compiled again."""
        reader = self._readers.pop(rescore.rescore_id, None) or Reader(self._pool, rescore, self._books)
        self._readers[rescore.rescore_id] = reader
        while len(self._readers) > KEPT_READERS:
            del self._readers[next(iter(self._readers))]
        return reader

    async def _find(self, given: RescoreInput) -> Rescore:
        async with self._pool.connection() as connection:
            found = await storage.find_rescore(connection, given.tenant_id, given.rescore_id)
        if found is None:
            raise ApplicationError("there is no such rescore", type="NOT_FOUND", non_retryable=True)
        return found

    async def _progress(self, given: RescoreInput) -> RescoreProgress:
        rescore = await self._find(given)
        async with self._pool.connection() as connection:
            return await storage.progress_of(connection, rescore)

    async def _fill(self, rescore: Rescore) -> None:
        """So that readers need not wait for it after the switch. If Redis is away, they read PostgreSQL, and the pumps repair it."""
        board = await self._ranked_board(rescore, rescore.rescore_id)
        with contextlib.suppress(RedisError, OSError):
            await rebuild_window(self._pool, self._rankings, board)

    async def _ranked_board(self, rescore: Rescore, standings_id: UUID) -> RankedBoard:
        async with self._pool.connection() as connection:
            board = (await boards_by_id(connection, rescore.tenant_id, [rescore.board_id]))[rescore.board_id]
            window = await find_window(connection, rescore.tenant_id, rescore.board_id, rescore.window_key)
        return ranked_board(board, standings_id, window.starts_at if window else None)

    async def _announce(self, rescore: Rescore) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._rankings.announce(rescore.tenant_id, rescore.board_id)


async def _switch(connection: Connection, given: RescoreInput) -> None:
    rescore = await storage.find_rescore(connection, given.tenant_id, given.rescore_id, lock=True)
    if rescore is None or rescore.status is not RescoreStatus.RUNNING:
        return
    if not (await storage.progress_of(connection, rescore)).all_read:
        raise RuntimeError("the log has not been read to the end")
    try:
        await storage.refuse_expired(connection, rescore.reads_from)
    except EventsExpired as error:
        await storage.fail_rescore(connection, rescore, error.message)
        return
    if not await storage.switch_standings(connection, rescore):
        await storage.fail_rescore(connection, rescore, "the window is closed")


def _stopping() -> bool:
    return activity.in_activity() and activity.is_worker_shutdown()
