"""What is kept only for so long: the event log's old days and what hangs on them (setting EVENT_RETENTION_DAYS)."""

from datetime import datetime

from psycopg import sql

from runtime.postgres import Connection, count_changed


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
            sql.SQL(
                "SELECT FROM {0} AS e JOIN scoring_cursor AS c USING (scoring_partition) WHERE e.position > c.position UNION ALL "
                "SELECT FROM {0} AS e JOIN scoring_backlog AS b USING (tenant_id, scoring_partition) WHERE e.position > b.position LIMIT 1"
            ).format(name)
        )
        if await unscored.fetchone() is None:
            # Detach and drop wait for a short lock of the whole log; give up rather than hold up those who write events.
            await connection.execute("SET LOCAL lock_timeout = '2s'")
            await connection.execute(sql.SQL("DROP TABLE {}").format(name))
            dropped += 1
    return dropped


EVENT_KEYS = tuple(f"event_key_{part}" for part in range(8))
USAGE = "earning_usage"
AGED_BY = {**dict.fromkeys(EVENT_KEYS, "accepted_at"), USAGE: "changed_at"}
BLOCKS = 128
"""About 10 000 rows: what one transaction reads of a table without an index by age."""


async def forget_in_blocks(connection: Connection, table: str, before: datetime, first: int) -> tuple[int, int | None]:
    """Delete the rows from before this instant in the next blocks of a table; how many went, and the block to go on with, if any."""
    name, age = sql.Identifier(table), sql.Identifier(AGED_BY[table])
    row = await (await connection.execute("SELECT pg_relation_size(%s::regclass) / 8192 AS blocks", (table,))).fetchone()
    changed = await count_changed(
        connection,
        sql.SQL("DELETE FROM {} WHERE ctid >= %s::text::tid AND ctid < %s::text::tid AND {} < %s").format(name, age),
        (f"({first},0)", f"({first + BLOCKS},0)", before),
    )
    is_through = row is None or first + BLOCKS >= row["blocks"]
    return changed, None if is_through else first + BLOCKS


async def forget_dead_letters(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` dead letters of events accepted before this instant, whose bodies are gone."""
    return await count_changed(
        connection,
        """
        DELETE FROM dead_letter WHERE (tenant_id, position) IN (
            SELECT tenant_id, position FROM dead_letter WHERE accepted_at < %s LIMIT %s)
        """,
        (before, limit),
    )
