"""The event log's writer: many requests share one commit, and each is answered after it (docs/decisions/0003).

Natural batching, without a timer: a writer that is idle takes everything that waits and commits it as one statement; what
arrives meanwhile is the next batch. Idle, an event costs one commit; under load, batches grow by themselves. A second writer
helps only when the next batch is large, for two small commits cost more than one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from uuid import UUID

import msgspec
import psycopg

from domain.errors import DomainError, Unavailable, ValidationError
from runtime.ids import new_id
from runtime.metrics import EVENT_BATCHES, EVENTS_ACCEPTED, EVENTS_REPEATED, EVENTS_WAITING, UNAVAILABLE
from runtime.postgres import BAD_DATA, BRISK_SECONDS, DATABASE_AWAY, Connection, cause_of, connect, leads_astray
from runtime.settings import Settings
from runtime.shelf import Recent
from storage.platform.partitions import DAYS_OF_PARTITIONS_AHEAD

log = logging.getLogger("laurel.event")

WRITERS = 2
PARALLEL_EVENTS = 200
"""A batch that is smaller waits for the writer that is at work, instead of the other one: fewer, larger commits cost less."""

BATCH_EVENTS = 2_000
BATCH_BYTES = 8 * 1_048_576
WAITING_EVENTS = 20_000
WAITING_BYTES = 64 * 1_048_576
KNOWN_USERS = 200_000
NOTIFY_SECONDS = 0.010
STATEMENT_SECONDS = 10
STOP_SECONDS = 10.0
CHANNEL = "laurel_events"

APPEND = """
SELECT append_events(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::uuid[], %b::uuid[],
                     %b::text[], %b::timestamptz[], %b::bytea[],
                     coalesce((SELECT scoring_partitions FROM platform), %b::integer), %b::bigint) AS fresh,
       (SELECT last_value FROM erasure_number) AS erasures
"""

UserKey = tuple[UUID, str]
Outcome = bool | DomainError
"""True: a new event. False: a repeat. Else why it was not accepted."""


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A validated event. `sender` is empty for the server side, `g:<external id>` for a gamer; `body` is what arrived."""

    tenant_id: UUID
    sender: str
    event_id: str
    type: str
    external_user_id: str
    occurred_at: datetime
    body: bytes

    @property
    def key(self) -> tuple[int, str, str]:
        """What makes the event unique, in the order in which all writers lock their keys."""
        return (self.tenant_id.int, self.sender, self.event_id)


class CommitBatch:
    """Events that will share a commit, and the one future on which all their requests wait."""

    __slots__ = ("bytes", "done", "events")

    def __init__(self, done: "asyncio.Future[list[Outcome]]") -> None:
        """An open batch."""
        self.events: list[NewEvent] = []
        self.bytes = 0
        self.done = done

    def has_room(self, size: int) -> bool:
        """Whether another `size` bytes may join."""
        return len(self.events) < BATCH_EVENTS and self.bytes + size <= BATCH_BYTES


class GroupCommitWriter:
    """Appends events to the log. One for each process; `start` it before use."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected yet."""
        self._settings = settings
        self._queue: deque[CommitBatch] = deque()
        self._waiting_events = 0
        self._waiting_bytes = 0
        self._idle: list[asyncio.Future[None]] = []
        self._users = Recent[UserKey, UUID](KNOWN_USERS)
        self._unknown_users: set[UserKey] = set()
        self._erasures = 0
        self._committed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._writing = 0

    async def start(self) -> None:
        """Start the writers. They connect with their first batch, so Postgres may be away now."""
        self._stopping = False
        self._tasks = [asyncio.create_task(self._write(), name=f"event-writer-{number}") for number in range(WRITERS)]
        self._tasks.append(asyncio.create_task(self._wake_scorers(), name="event-notify"))

    async def stop(self) -> None:
        """Commit what waits, then let go of the connections."""
        self._stopping = True
        self._wake_writer()
        self._wake_writer()
        writers, notifier = self._tasks[:-1], self._tasks[-1:]
        if writers:
            await asyncio.wait(writers, timeout=STOP_SECONDS)
        for task in (*writers, *notifier):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for batch in self._queue:
            batch.done.set_result([Unavailable("The process is stopping")] * len(batch.events))
        self._queue.clear()

    async def append(self, event: NewEvent) -> bool:
        """Whether the event is new, once that is committed. Raises `Unavailable`, or `ValidationError` when it cannot be stored."""
        batch, index = self._enqueue(event)
        outcome = (await batch.done)[index]
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome

    async def append_many(self, events: Sequence[NewEvent]) -> list[Outcome]:
        """The outcome of each event, in order. Raises `Unavailable` when the queue has no room; then none was taken."""
        self._check_room(len(events), sum(len(event.body) for event in events))
        places = [self._enqueue(event) for event in events]
        return [(await batch.done)[index] for batch, index in places]

    def _check_room(self, events: int, size: int) -> None:
        if self._stopping or self._waiting_events + events > WAITING_EVENTS or self._waiting_bytes + size > WAITING_BYTES:
            raise Unavailable("Too many events are waiting to be written; nothing was accepted, try again", retry_after=1)

    def _enqueue(self, event: NewEvent) -> tuple[CommitBatch, int]:
        size = len(event.body)
        self._check_room(1, size)
        if not self._queue or not self._queue[-1].has_room(size):
            self._queue.append(CommitBatch(asyncio.get_running_loop().create_future()))
            if not self._writing:
                self._wake_writer()
        batch = self._queue[-1]
        batch.events.append(event)
        batch.bytes += size
        if len(batch.events) == PARALLEL_EVENTS:
            self._wake_writer()
        self._waiting_events += 1
        self._waiting_bytes += size
        return batch, len(batch.events) - 1

    def _wake_writer(self) -> None:
        while self._idle:
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _write(self) -> None:
        connection: Connection | None = None
        while True:
            while not self._queue:
                if self._stopping:
                    if connection is not None:
                        await connection.close()
                    return
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(waiter)
                await waiter
            batch = self._queue.popleft()
            self._writing += 1
            try:
                connection, outcomes = await self._commit(connection, batch.events)
            finally:
                self._writing -= 1
            self._waiting_events -= len(batch.events)
            self._waiting_bytes -= batch.bytes
            if not batch.done.done():
                batch.done.set_result(outcomes)
            self._count(outcomes)

    def _count(self, outcomes: list[Outcome]) -> None:
        accepted, repeated = outcomes.count(True), outcomes.count(False)
        EVENT_BATCHES.inc()
        EVENTS_ACCEPTED.inc(accepted)
        EVENTS_REPEATED.inc(repeated)
        EVENTS_WAITING.set(self._waiting_events)
        if accepted:
            self._committed.set()

    async def _commit(self, connection: Connection | None, events: list[NewEvent]) -> tuple[Connection | None, list[Outcome]]:
        """The outcomes of a batch. A lost connection is replaced and the batch sent once more: what had been committed is then a repeat."""
        firsts: dict[tuple[int, str, str], NewEvent] = {}
        for event in events:
            firsts.setdefault(event.key, event)
        ordered = [firsts[key] for key in sorted(firsts)]
        results: list[Outcome] | None = None
        cause = ""
        for _ in range(2):
            try:
                if connection is None or connection.closed:
                    connection = await self._connect()
                results = await self._append(connection, ordered)
                break
            except Exception as error:  # whatever it is: every request of the batch waits for its answer
                cause = cause_of(error)
                known = isinstance(error, DATABASE_AWAY)
                log.warning("a batch of %d events was not committed (%s): %s", len(events), cause, error, exc_info=not known)
                if connection is not None and leads_astray(error):
                    await connection.close()
        if results is None:
            UNAVAILABLE.labels(cause).inc(len(events))
            return connection, [Unavailable("The database is unavailable; nothing was accepted, try again")] * len(events)
        by_key = {event.key: outcome for event, outcome in zip(ordered, results, strict=True)}
        return connection, _with_repeats(events, by_key)

    async def _connect(self) -> Connection:
        connection = await connect(self._settings.session_url, "event-writer", answer_seconds=BRISK_SECONDS)
        await connection.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
        return connection

    async def _append(self, connection: Connection, events: list[NewEvent]) -> list[Outcome]:
        """Append in one statement; if that fails for what is in it, in halves, so that a bad event never fails its neighbours.

        Only what PostgreSQL holds against the data is an event's error. A sender drops what was refused for good, so a server that is
        read-only, full, of another release or at a loss must never be told as one: whatever is not known to be the event's is ours.
        """
        try:
            return await self._append_whole(connection, events)
        except (*BAD_DATA, UnicodeError) as error:
            if len(events) == 1:
                log.warning("event %r of tenant %s cannot be stored: %s", events[0].event_id, events[0].tenant_id, error)
                return [ValidationError("Validation failed: the event cannot be stored")]
        middle = len(events) // 2
        return await self._append(connection, events[:middle]) + await self._append(connection, events[middle:])

    async def _append_whole(self, connection: Connection, events: list[NewEvent]) -> list[Outcome]:
        known = self._users
        users = [known.get((event.tenant_id, event.external_user_id)) for event in events]
        cursor = await connection.execute(
            APPEND,
            (
                [event.tenant_id for event in events],
                [event.sender for event in events],
                [event.event_id for event in events],
                [event.type for event in events],
                users,
                [new_id() if user is None else None for user in users],
                [event.external_user_id for event in events],
                [event.occurred_at for event in events],
                [event.body for event in events],
                self._settings.scoring_partitions,
                self._erasures,
            ),
            prepare=True,
        )
        row = await cursor.fetchone()
        if row is not None and row["erasures"] != self._erasures:
            self._users.clear()  # somebody was erased: an external id may be another user's now
            self._erasures = row["erasures"]
        if None in users:
            self._unknown_users.update(
                (event.tenant_id, event.external_user_id) for event, user in zip(events, users, strict=True) if user is None
            )
            self._committed.set()
        if row is None or row["fresh"] is None:
            return [True] * len(events)
        fresh = set(row["fresh"])
        return [ordinal in fresh for ordinal in range(1, len(events) + 1)]

    async def _wake_scorers(self) -> None:
        """Tell the scoring pumps of new events, at most every `NOTIFY_SECONDS`, and learn the ids of users met for the first time."""
        connection: Connection | None = None
        while True:
            await self._committed.wait()
            self._committed.clear()
            try:
                if connection is None or connection.closed:
                    connection = await connect(self._settings.session_url, "event-notify", answer_seconds=BRISK_SECONDS)
                await connection.execute(f"NOTIFY {CHANNEL}")
                await self._learn_users(connection)
            except (psycopg.Error, OSError) as error:
                log.warning("the scoring pumps were not woken: %s", error)
                if connection is not None:
                    with suppress(psycopg.Error, OSError):
                        await connection.close()
            await asyncio.sleep(NOTIFY_SECONDS)

    async def _learn_users(self, connection: Connection) -> None:
        wanted, self._unknown_users = self._unknown_users, set()
        if not wanted:
            return
        erasures = self._erasures
        found = await find_user_ids(connection, list(wanted))
        if erasures != self._erasures:
            return
        for key, user_id in found.items():
            self._users.keep(key, user_id)


def _with_repeats(events: list[NewEvent], by_key: dict[tuple[int, str, str], Outcome]) -> list[Outcome]:
    """Outcomes in the order of arrival: behind the first of a key, the same key again is a repeat."""
    outcomes: list[Outcome] = []
    for event in events:
        outcome = by_key[event.key]
        outcomes.append(outcome)
        if outcome is True:
            by_key[event.key] = False
    return outcomes


async def find_user_ids(connection: Connection, users: Sequence[UserKey]) -> dict[UserKey, UUID]:
    """The ids of those of these users that exist, by tenant and external id."""
    cursor = await connection.execute(
        """
        SELECT u.tenant_id, u.external_id, u.user_id
        FROM unnest(%s::uuid[], %s::text[]) AS wanted (tenant_id, external_id)
        JOIN app_user AS u ON u.tenant_id = wanted.tenant_id AND u.external_id = wanted.external_id
        """,
        ([tenant_id for tenant_id, _ in users], [external_id for _, external_id in users]),
    )
    return {(row["tenant_id"], row["external_id"]): row["user_id"] for row in await cursor.fetchall()}


async def is_known(connection: Connection, tenant_id: UUID, sender: str, event_id: str) -> bool:
    """Whether an event of this sender and id was accepted, and is remembered."""
    cursor = await connection.execute(
        "SELECT FROM event_key WHERE tenant_id = %s AND sender = %s AND event_id = %s", (tenant_id, sender, event_id)
    )
    return await cursor.fetchone() is not None


async def ensure_partitions(connection: Connection) -> int:
    """Create the event log's partitions of the days to come; how many were made. The worker calls it some times a day."""
    row = await (await connection.execute("SELECT ensure_event_partitions(%s) AS made", (DAYS_OF_PARTITIONS_AHEAD,))).fetchone()
    return 0 if row is None else int(row["made"])
