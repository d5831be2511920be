"""What the whole platform has to do, and what is stuck: numbers for Prometheus, read from PostgreSQL.

Each question walks an index of such rows and counts `COUNTED` of them at most; one that is slow all the same is cut off and leaves the
others alone. Ages are by PostgreSQL's clock.
"""

import logging

import msgspec
from psycopg.rows import tuple_row

from runtime.metrics import Reading
from runtime.postgres import DATABASE_ERRORS, Pool

log = logging.getLogger(__name__)

COUNTED = 10_000
"""So many are counted of each thing: more of them are no other alarm."""
QUESTION_SECONDS = 2.0
OPEN = "('pending_claim', 'pending_approval', 'pending', 'processing')"


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """A number of the platform. `sql` answers rows of one value and then the labels."""

    name: str
    help: str
    sql: str
    labels: tuple[str, ...] = ()


GAUGES = (
    Gauge(
        name="laurel_scoring_unscored_events",
        help=f"Events of a scoring partition that are not scored, at most {COUNTED} are counted",
        labels=("partition",),
        sql=f"""
            SELECT waiting.number, c.scoring_partition FROM scoring_cursor AS c CROSS JOIN LATERAL (
                SELECT count(*) AS number FROM (
                    (SELECT FROM event_log WHERE scoring_partition = c.scoring_partition AND position > c.position
                       AND accepted_at >= coalesce(c.accepted_at, '-infinity') LIMIT {COUNTED})
                    UNION ALL
                    SELECT FROM scoring_backlog AS b CROSS JOIN LATERAL (
                        SELECT FROM event_log AS e WHERE e.scoring_partition = b.scoring_partition AND e.position > b.position
                          AND e.position <= c.position AND e.tenant_id = b.tenant_id
                          AND e.accepted_at >= coalesce(b.accepted_at, '-infinity') LIMIT {COUNTED}) AS late
                    WHERE b.scoring_partition = c.scoring_partition LIMIT {COUNTED}) AS few) AS waiting
        """,
    ),
    Gauge(
        name="laurel_scoring_oldest_unscored_seconds",
        help="Age of the first event of a scoring partition that is not scored, 0 when all are",
        labels=("partition",),
        sql="""
            SELECT coalesce(extract(epoch FROM clock_timestamp() - least(first.accepted_at, late.accepted_at)), 0), c.scoring_partition
            FROM scoring_cursor AS c LEFT JOIN LATERAL (
                SELECT accepted_at FROM event_log WHERE scoring_partition = c.scoring_partition AND position > c.position
                  AND accepted_at >= coalesce(c.accepted_at, '-infinity') ORDER BY position LIMIT 1) AS first ON true
            LEFT JOIN LATERAL (
                SELECT min(e.accepted_at) AS accepted_at FROM scoring_backlog AS b CROSS JOIN LATERAL (
                    SELECT accepted_at FROM event_log WHERE scoring_partition = b.scoring_partition AND position > b.position
                      AND position <= c.position AND tenant_id = b.tenant_id AND accepted_at >= coalesce(b.accepted_at, '-infinity')
                    ORDER BY position LIMIT 1) AS e
                WHERE b.scoring_partition = c.scoring_partition) AS late ON true
        """,
    ),
    Gauge(
        name="laurel_scoring_tenants_behind",
        help="Tenants of a scoring partition that send more than their share: their events are scored in turns of their own",
        labels=("partition",),
        sql="""
            SELECT count(b.tenant_id), c.scoring_partition FROM scoring_cursor AS c LEFT JOIN scoring_backlog AS b USING (scoring_partition)
            GROUP BY c.scoring_partition
        """,
    ),
    Gauge(
        name="laurel_scoring_owner_epoch",
        help="How often a scoring partition has got another pump: 0 never had one",
        labels=("partition",),
        sql="SELECT owner_epoch, scoring_partition FROM scoring_cursor",
    ),
    Gauge(
        name="laurel_dead_letters",
        help="Events that broke scoring and were not replayed",
        sql=f"SELECT count(*) FROM (SELECT FROM dead_letter WHERE replayed_at IS NULL LIMIT {COUNTED}) AS few",
    ),
    Gauge(
        name="laurel_outbox_commands",
        help="Commands that have not reached Temporal",
        sql=f"SELECT count(*) FROM (SELECT FROM outbox WHERE sent_at IS NULL LIMIT {COUNTED}) AS few",
    ),
    Gauge(
        name="laurel_outbox_oldest_seconds",
        help="Age of the oldest command that has not reached Temporal, among those that are due first",
        sql=f"""
            SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
            FROM (SELECT created_at FROM outbox WHERE sent_at IS NULL ORDER BY due_at LIMIT {COUNTED}) AS few
        """,
    ),
    Gauge(
        name="laurel_deliveries_oldest_due_seconds",
        help="So long the oldest delivery of an enabled endpoint has been due",
        sql="""
            SELECT coalesce(greatest(extract(epoch FROM clock_timestamp() - min(first.due_at)), 0), 0)
            FROM webhook_endpoint AS e CROSS JOIN LATERAL (
                SELECT due_at FROM webhook_delivery AS d WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.endpoint_id
                  AND d.due_at IS NOT NULL ORDER BY d.due_at LIMIT 1) AS first
            WHERE e.enabled AND e.archived_at IS NULL
        """,
    ),
    Gauge(
        name="laurel_deliveries_stuck",
        help="Deliveries that wait for a person: exhausted, or held because their endpoint is off",
        labels=("state",),
        sql=f"""
            SELECT count(d.state), s.state FROM (VALUES ('exhausted'), ('held')) AS s (state) LEFT JOIN LATERAL (
                SELECT state FROM webhook_delivery WHERE state IN ('exhausted', 'held') AND state = s.state LIMIT {COUNTED}) AS d ON true
            GROUP BY s.state
        """,
    ),
    Gauge(
        name="laurel_endpoints_disabled",
        help="Endpoints that were turned off with a reason and not archived",
        sql="SELECT count(*) FROM webhook_endpoint WHERE NOT enabled AND disabled_reason IS NOT NULL AND archived_at IS NULL",
    ),
    Gauge(
        name="laurel_redemptions_open",
        help=f"Open redemptions by state, of the {COUNTED} whose deadline is first",
        labels=("state",),
        sql=f"""
            SELECT count(r.status), s.state FROM unnest(ARRAY['pending_claim', 'pending_approval', 'pending', 'processing']) AS s (state)
            LEFT JOIN (SELECT status FROM redemption WHERE status IN {OPEN} ORDER BY deadline_at LIMIT {COUNTED}) AS r ON r.status = s.state
            GROUP BY s.state
        """,
    ),
    Gauge(
        name="laurel_redemptions_overdue",
        help="Open redemptions past their deadline",
        sql=f"""
            SELECT count(*) FROM (
                SELECT FROM redemption WHERE status IN {OPEN} AND deadline_at < clock_timestamp() LIMIT {COUNTED}) AS few
        """,
    ),
    Gauge(
        name="laurel_windows_late_seconds",
        help="So long the window that should have been closed first is late, 0 when none is",
        sql="""
            SELECT coalesce(greatest(extract(epoch FROM clock_timestamp() - min(closes_at)), 0), 0)
            FROM leaderboard_window WHERE status IN ('open', 'closing')
        """,
    ),
    Gauge(
        name="laurel_payout_runs_failed",
        help="Payout runs of the last seven days that failed and were not retried",
        sql="""
            SELECT count(*) FROM tenant AS t CROSS JOIN LATERAL (
                SELECT FROM payout_run AS r WHERE r.tenant_id = t.tenant_id AND r.status = 'failed'
                  AND r.payout_run_id >= uuidv7(interval '-7 days')) AS failed
        """,
    ),
    Gauge(
        name="laurel_event_partitions_ahead",
        help="Daily partitions of the event log that are ready for the days after today",
        sql="""
            SELECT count(*) FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhrelid
            WHERE i.inhparent = 'event_log'::regclass AND p.relname > 'event_log_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')
              AND p.relname ~ '^event_log_[0-9]{8}$'
        """,
    ),
    Gauge(
        name="laurel_schema_info",
        help="Always 1: the label says at which revision the database is",
        labels=("revision",),
        sql="SELECT 1, version_num FROM alembic_version",
    ),
)


async def read_gauges(pool: Pool) -> list[Reading]:
    """Every gauge that could be read in its time. Raises what the pool raises when the database is away."""
    readings = []
    async with pool.connection() as connection:
        for gauge in GAUGES:
            try:
                async with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
                    await cursor.execute("SELECT set_config('statement_timeout', %s, true)", (f"{QUESTION_SECONDS * 1000:.0f}",))
                    await cursor.execute(gauge.sql)
                    rows = [(tuple(str(label) for label in labels), float(value)) for value, *labels in await cursor.fetchall()]
            except DATABASE_ERRORS as error:
                if connection.closed:
                    raise
                log.warning("%s could not be read: %s", gauge.name, error)
            else:
                readings.append(Reading(name=gauge.name, help=gauge.help, labels=gauge.labels, rows=rows))
    return readings
