"""The event log as its tenant's admin reads it, and dead letters that go through scoring again.

The log has no index by tenant or type: every accepted event would pay for it, while admins look at it now and then. It is read
backwards by position, day by day (its partitions), in steps of bounded size; a question that finds little answers what it has
after `MAX_STEPS` and says where to go on. A user's events lie in one scoring partition, and an `event_id` is found by the key.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import tuple_row

from runtime.postgres import Connection, count_changed

STEP_POSITIONS = 10_000
MAX_STEPS = 20
END = 2**62
COLUMNS = "scoring_partition, position, accepted_at, occurred_at, user_id, external_user_id, sender, event_id, type"


class FoundEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted event without its body."""

    scoring_partition: int
    position: int
    accepted_at: datetime
    occurred_at: datetime
    user_id: UUID
    external_user_id: str
    sender: str
    event_id: str
    type: str


class LogPlace(msgspec.Struct, frozen=True):
    """Where a search goes on: events accepted on `day` (UTC) up to `position`, then the days before."""

    day: date
    position: int = END


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are wanted: in these scoring partitions, accepted in [`since`, `until`)."""

    partitions: Sequence[int]
    since: datetime
    until: datetime
    type: str | None = None
    user_id: UUID | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that broke scoring, and why."""

    position: int
    event_id: str
    scoring_partition: int
    accepted_at: datetime
    reason: str
    created_at: datetime
    replayed_at: datetime | None


LETTER_COLUMNS = "position, event_id, scoring_partition, accepted_at, reason, created_at, replayed_at"


async def search_events(
    connection: Connection, tenant_id: UUID, search: Search, place: LogPlace, *, limit: int
) -> tuple[list[FoundEvent], LogPlace | None]:
    """The next events from `place` back, newest first, and where to go on; None at the end. May find fewer than `limit` before it."""
    found: list[FoundEvent] = []
    first_day = search.since.astimezone(UTC).date()
    for _ in range(MAX_STEPS):
        if place.day < first_day:
            return found, None
        top = await _top_position(connection, search, place)
        if top is None:
            place = LogPlace(place.day - timedelta(days=1))
            continue
        rows = await _step(connection, tenant_id, search, LogPlace(place.day, top), limit=limit - len(found))
        found += rows
        if len(found) == limit:
            return found, LogPlace(place.day, found[-1].position - 1)
        place = LogPlace(place.day, top - STEP_POSITIONS)
    return found, place


def _span(search: Search, day: date) -> tuple[datetime, datetime]:
    start = datetime.combine(day, time(), UTC)
    return max(search.since, start), min(search.until, start + timedelta(days=1))


async def _top_position(connection: Connection, search: Search, place: LogPlace) -> int | None:
    since, until = _span(search, place.day)
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT max(last.position) FROM unnest(%s::smallint[]) AS part (number), LATERAL (
                SELECT position FROM event_log
                WHERE scoring_partition = part.number AND position <= %s AND accepted_at >= %s AND accepted_at < %s
                ORDER BY position DESC LIMIT 1
            ) AS last
            """,
            (list(search.partitions), place.position, since, until),
        )
        row = await cursor.fetchone()
    return None if row is None else row[0]


async def _step(connection: Connection, tenant_id: UUID, search: Search, place: LogPlace, *, limit: int) -> list[FoundEvent]:
    since, until = _span(search, place.day)
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM event_log
        WHERE scoring_partition = ANY (%(partitions)s::smallint[]) AND position <= %(top)s AND position > %(bottom)s
          AND accepted_at >= %(since)s AND accepted_at < %(until)s AND tenant_id = %(tenant_id)s
          AND (%(type)s::text IS NULL OR type = %(type)s) AND (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s)
        ORDER BY position DESC LIMIT %(limit)s
        """,
        {
            "partitions": list(search.partitions),
            "top": place.position,
            "bottom": place.position - STEP_POSITIONS,
            "since": since,
            "until": until,
            "tenant_id": tenant_id,
            "type": search.type,
            "user_id": search.user_id,
            "limit": limit,
        },
    )
    return [msgspec.convert(row, FoundEvent) for row in await cursor.fetchall()]


async def events_of_id(
    connection: Connection, tenant_id: UUID, event_id: str, partitions: Sequence[int], *, limit: int
) -> list[FoundEvent]:
    """The tenant's events of that id, newest first: one of the server side and one of each gamer who used it."""
    cursor = await connection.execute(
        f"""
        SELECT log.* FROM (
            SELECT position, accepted_at FROM event_key WHERE tenant_id = %(tenant_id)s AND event_id = %(event_id)s
            ORDER BY position DESC LIMIT %(limit)s
        ) AS key, LATERAL (
            SELECT {COLUMNS} FROM event_log AS l
            WHERE l.scoring_partition = ANY (%(partitions)s::smallint[]) AND l.position = key.position
              AND l.accepted_at = key.accepted_at AND l.tenant_id = %(tenant_id)s
        ) AS log ORDER BY log.position DESC
        """,
        {"tenant_id": tenant_id, "event_id": event_id, "partitions": list(partitions), "limit": limit},
    )
    return [msgspec.convert(row, FoundEvent) for row in await cursor.fetchall()]


async def event_body(connection: Connection, tenant_id: UUID, event: FoundEvent) -> bytes:
    """The bytes that arrived."""
    cursor = await connection.execute(
        "SELECT body FROM event_log WHERE scoring_partition = %s AND position = %s AND accepted_at = %s AND tenant_id = %s",
        (event.scoring_partition, event.position, event.accepted_at, tenant_id),
    )
    row = await cursor.fetchone()
    return b"" if row is None else bytes(row["body"])


async def scored_position(connection: Connection, tenant_id: UUID, partition: int) -> int:
    """How far the tenant's events of a scoring partition have been scored."""
    cursor = await connection.execute(
        "SELECT coalesce(b.position, c.position) AS position FROM scoring_cursor AS c LEFT JOIN scoring_backlog AS b "
        "ON b.scoring_partition = c.scoring_partition AND b.tenant_id = %s WHERE c.scoring_partition = %s",
        (tenant_id, partition),
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row["position"])


async def earnings_of(connection: Connection, tenant_id: UUID, position: int) -> list[dict[str, Any]]:
    """The transfers that an event caused: `transfer_id`, `rule_id`, `currency_id`, `amount` (smallest unit) and its places."""
    cursor = await connection.execute(
        """
        SELECT t.transfer_id, split_part(t.cause_id, ':', 2) AS rule_id, t.currency_id, t.amount, t.kind, c.decimal_places
        FROM transfer AS t JOIN currency AS c USING (tenant_id, currency_id)
        WHERE t.tenant_id = %s AND t.cause_type = 'event' AND t.cause_id >= %s AND t.cause_id < %s ORDER BY t.transfer_id LIMIT 500
        """,
        (tenant_id, f"{position}:", f"{position};"),
    )
    return await cursor.fetchall()


async def event_ids_at(connection: Connection, tenant_id: UUID, partition: int, places: Sequence[tuple[int, datetime]]) -> dict[int, str]:
    """The ids of the events at these positions of a partition, each scored by the instant beside it; those no longer kept are left out.

    An event that waited for more than a day to be scored is left out, too: it would be looked for in every day of the log.
    """
    cursor = await connection.execute(
        """
        SELECT wanted.position, event.event_id
        FROM unnest(%(positions)s::bigint[], %(scored)s::timestamptz[]) AS wanted (position, scored_at) CROSS JOIN LATERAL (
            SELECT event_id FROM event_log
            WHERE scoring_partition = %(partition)s AND event_log.position = wanted.position AND tenant_id = %(tenant_id)s
              AND accepted_at > wanted.scored_at - interval '1 day' AND accepted_at < wanted.scored_at + interval '1 hour'
        ) AS event
        """,
        {
            "positions": [position for position, _ in places],
            "scored": [scored_at for _, scored_at in places],
            "partition": partition,
            "tenant_id": tenant_id,
        },
    )
    return {row["position"]: row["event_id"] for row in await cursor.fetchall()}


async def find_dead_letter(connection: Connection, tenant_id: UUID, position: int, *, lock: bool = False) -> DeadLetter | None:
    """The dead letter at that position of the log, or None; `lock` keeps it until the end of the transaction."""
    cursor = await connection.execute(
        f"SELECT {LETTER_COLUMNS} FROM dead_letter WHERE tenant_id = %s AND position = %s" + (" FOR UPDATE" if lock else ""),
        (tenant_id, position),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, DeadLetter)


async def list_dead_letters(connection: Connection, tenant_id: UUID, *, before: int, limit: int) -> list[DeadLetter]:
    """The tenant's dead letters below a position, newest first."""
    cursor = await connection.execute(
        f"SELECT {LETTER_COLUMNS} FROM dead_letter WHERE tenant_id = %s AND position < %s ORDER BY position DESC LIMIT %s",
        (tenant_id, before, limit),
    )
    return [msgspec.convert(row, DeadLetter) for row in await cursor.fetchall()]


MOVE = """
WITH old AS (
    DELETE FROM event_log WHERE scoring_partition = %(partition)s AND position = %(position)s AND accepted_at = %(accepted_at)s
                            AND tenant_id = %(tenant_id)s
    RETURNING *
), key AS (
    UPDATE event_key AS k SET position = %(to)s, accepted_at = %(now)s FROM old
    WHERE k.tenant_id = old.tenant_id AND k.event_id = old.event_id AND k.sender = old.sender
)
INSERT INTO event_log (scoring_partition, position, accepted_at, occurred_at, tenant_id, user_id, external_user_id, sender, event_id,
                       type, body)
SELECT scoring_partition, %(to)s, %(now)s, occurred_at, tenant_id, user_id, external_user_id, sender, event_id, type, body FROM old
"""


async def replay(connection: Connection, tenant_id: UUID, letter: DeadLetter) -> int | None:
    """Move a locked dead letter's event to the end of the log, where it is scored like a new one: its new position.

    One row moves in the present transaction, so the event is scored once, by the rules of now. None when retention has dropped it.
    """
    async with connection.cursor(row_factory=tuple_row) as cursor:
        # The order that lets readers trust positions: the lock is named by a position drawn before the row's own (migration 0002).
        await cursor.execute("SELECT nextval('event_position')")
        guard = await cursor.fetchone()
        await cursor.execute("SELECT pg_advisory_xact_lock(7201, (%s::bigint & 2147483647)::integer)", guard)
        await cursor.execute("SELECT nextval('event_position'), clock_timestamp()")
        drawn = await cursor.fetchone()
        if drawn is None:
            raise RuntimeError("the sequence gave no position")
        where = {
            "partition": letter.scoring_partition,
            "position": letter.position,
            "accepted_at": letter.accepted_at,
            "tenant_id": tenant_id,
            "to": drawn[0],
            "now": drawn[1],
        }
        changed = await count_changed(connection, MOVE, where)
        if changed != 1:
            return None
        await cursor.execute(
            "UPDATE dead_letter SET replayed_at = %s WHERE tenant_id = %s AND position = %s", (drawn[1], tenant_id, letter.position)
        )
        return int(drawn[0])
