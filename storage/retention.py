"""What is kept only for so long: the event log's old days and what hangs on them (setting EVENT_RETENTION_DAYS)."""

from datetime import datetime

from psycopg import sql

from runtime.postgres import Connection


async def drop_event_partitions(connection: Connection, before: datetime) -> int:
    """Drop the event log's days that ended before this instant; answers how many. A day that is not scored to its end stays."""
    cursor = await connection.execute(
        r"""
        SELECT child.relname AS name FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
        WHERE inhparent = 'event_log'::regclass AND child.relname ~ '^event_log_\d{8}$'
          AND (to_date(right(child.relname, 8), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC' <= %s
        ORDER BY child.relname
        """,
        (before,),
    )
    dropped = 0
    for row in await cursor.fetchall():
        name = sql.Identifier(row["name"])
        unscored = await connection.execute(
            sql.SQL("SELECT FROM {} AS e JOIN scoring_cursor AS c USING (scoring_partition) WHERE e.position > c.position LIMIT 1").format(
                name
            )
        )
        if await unscored.fetchone() is None:
            # Detach and drop wait for a short lock of the whole log; give up rather than hold up those who write events.
            await connection.execute("SET LOCAL lock_timeout = '2s'")
            await connection.execute(sql.SQL("DROP TABLE {}").format(name))
            dropped += 1
    return dropped


EVENT_KEY_PARTITIONS = 8


async def forget_event_keys(connection: Connection, before: datetime, limit: int, *, part: int) -> int:
    """Delete up to `limit` keys of events accepted before this instant from one of the eight parts of their table."""
    table = sql.Identifier(f"event_key_{part}")
    cursor = await connection.execute(
        sql.SQL("DELETE FROM {} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {} WHERE accepted_at < %s LIMIT %s))").format(table, table),
        (before, limit),
    )
    return cursor.rowcount


async def forget_dead_letters(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` dead letters of events accepted before this instant, whose bodies are gone."""
    cursor = await connection.execute(
        """
        DELETE FROM dead_letter WHERE (tenant_id, position) IN (
            SELECT tenant_id, position FROM dead_letter WHERE accepted_at < %s LIMIT %s)
        """,
        (before, limit),
    )
    return cursor.rowcount
