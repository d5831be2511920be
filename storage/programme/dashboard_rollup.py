"""Counting what happens, a quarter of an hour at a time, so that the dashboard never counts a large table.

Events are counted once, behind the scoring cursors, when their positions can be trusted. Users, transfers and redemptions are found by
their ids, which are UUIDv7: the counting stays `SETTLING` behind the clock, so that a transaction that is slow to commit is not passed.
"""

from datetime import UTC, datetime, timedelta

from psycopg.rows import tuple_row

from runtime.ids import first_id
from runtime.postgres import Connection

SETTLING = timedelta(seconds=60)
LONGEST_STEP = timedelta(days=1)
EVENTS_IN_STEP = 100_000
KEEP = timedelta(days=800)
COUNTING = 7211

BIN = "date_bin('15 minutes', {}, 'epoch')"

COUNT_EVENTS = f"""
WITH step AS (
    SELECT position, accepted_at, tenant_id FROM event_log
    WHERE scoring_partition = %(partition)s AND position > %(after)s AND position <= %(scored)s AND accepted_at >= %(since)s
    ORDER BY position LIMIT %(limit)s
), added AS (
    INSERT INTO activity_slot AS known (tenant_id, starts_at, events)
    SELECT tenant_id, {BIN.format("accepted_at")}, count(*) FROM step GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (tenant_id, starts_at) DO UPDATE SET events = known.events + excluded.events
)
SELECT count(*), max(position), max(accepted_at) FROM step
"""

COUNT_ROWS = f"""
WITH found AS (
    SELECT t.tenant_id, f.* FROM tenant AS t CROSS JOIN LATERAL (
        SELECT {BIN.format("created_at")} AS starts_at, 1 AS users, 0 AS issued, 0 AS spent, 0 AS redemptions,
            0 AS taken_back, 0 AS refunded
        FROM app_user
        WHERE tenant_id = t.tenant_id AND user_id >= %(low)s AND user_id < %(high)s
        UNION ALL
        SELECT {BIN.format("created_at")}, 0,
            CASE WHEN kind IN ('earn', 'grant', 'adjust') AND user_account_id = credit_account_id THEN amount ELSE 0 END,
            CASE WHEN kind = 'redeem' THEN amount ELSE 0 END, 0,
            CASE WHEN kind NOT IN ('adjust', 'reverse') THEN 0 WHEN user_account_id = debit_account_id THEN amount
                 WHEN kind = 'reverse' THEN -amount ELSE 0 END,
            CASE WHEN kind = 'refund' THEN amount ELSE 0 END FROM transfer
        WHERE tenant_id = t.tenant_id AND transfer_id >= %(low)s AND transfer_id < %(high)s AND currency_id = 'points'
        UNION ALL
        SELECT {BIN.format("created_at")}, 0, 0, 0, 1, 0, 0 FROM redemption
        WHERE tenant_id = t.tenant_id AND redemption_id >= %(low)s AND redemption_id < %(high)s
    ) AS f
)
INSERT INTO activity_slot AS known (tenant_id, starts_at, users, issued, spent, redemptions, taken_back, refunded)
SELECT tenant_id, starts_at, sum(users), sum(issued), sum(spent), sum(redemptions), sum(taken_back), sum(refunded)
FROM found GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (tenant_id, starts_at) DO UPDATE SET users = known.users + excluded.users, issued = known.issued + excluded.issued,
    spent = known.spent + excluded.spent, redemptions = known.redemptions + excluded.redemptions,
    taken_back = known.taken_back + excluded.taken_back, refunded = known.refunded + excluded.refunded
"""


async def may_count(connection: Connection) -> bool:
    """Whether this transaction is the one that counts; others leave it to it."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("SELECT pg_try_advisory_xact_lock(%s, 0)", (COUNTING,))
        row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def count_events(connection: Connection, partition: int) -> bool:
    """Count the next events of a scoring partition; whether there may be more."""
    name = f"events:{partition}"
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("INSERT INTO activity_cursor (name) VALUES (%s) ON CONFLICT DO NOTHING", (name,))
        await cursor.execute(
            """
            SELECT a.position, a.until, s.position FROM activity_cursor AS a, scoring_cursor AS s
            WHERE a.name = %s AND s.scoring_partition = %s
            """,
            (name, partition),
        )
        row = await cursor.fetchone()
        if row is None or row[0] >= row[2]:
            return False
        after, until, scored = row
        # Events of the same moment may lie an instant apart; an hour is more than any writer takes. It prunes the log's partitions.
        since = until - timedelta(hours=1) if until else datetime(1970, 1, 1, tzinfo=UTC)
        given = {"partition": partition, "after": after, "scored": scored, "since": since, "limit": EVENTS_IN_STEP}
        await cursor.execute(COUNT_EVENTS, given)
        counted, last, accepted_at = await cursor.fetchone() or (0, None, None)
        full = counted == EVENTS_IN_STEP
        await cursor.execute(
            "UPDATE activity_cursor SET position = %s, until = greatest(until, %s) WHERE name = %s",
            (last if full else scored, accepted_at, name),
        )
    return bool(full)


async def count_rows(connection: Connection, now: datetime) -> bool:
    """Count the users, points and redemptions of the next stretch of time; whether there may be more."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("INSERT INTO activity_cursor (name) VALUES ('rows') ON CONFLICT DO NOTHING")
        await cursor.execute(
            "SELECT coalesce(until, (SELECT min(created_at) FROM tenant)) FROM activity_cursor WHERE name = 'rows'",
        )
        row = await cursor.fetchone()
        if row is None or row[0] is None:
            return False
        since = row[0]
        until = min(since + LONGEST_STEP, now - SETTLING)
        if until <= since:
            return False
        await cursor.execute(COUNT_ROWS, {"low": first_id(since), "high": first_id(until)})
        await cursor.execute("UPDATE activity_cursor SET until = %s WHERE name = 'rows'", (until,))
    return bool(until < now - SETTLING)


async def forget_activity(connection: Connection, now: datetime) -> None:
    """Drop what no chart reaches back to; the number of users goes on to count from the oldest slot that is left."""
    await connection.execute(
        """
        WITH old AS (DELETE FROM activity_slot WHERE starts_at < %(before)s AND starts_at > 'epoch' RETURNING tenant_id, users)
        INSERT INTO activity_slot AS known (tenant_id, starts_at, users) SELECT tenant_id, 'epoch', sum(users) FROM old GROUP BY 1
        ON CONFLICT (tenant_id, starts_at) DO UPDATE SET users = known.users + excluded.users
        """,
        {"before": now - KEEP},
    )
