"""The planner's statistics of tables that have grown by much: a table that it takes for empty is read by whichever index comes first."""

from psycopg import sql
from psycopg.rows import tuple_row

from runtime.postgres import Pool, transaction

LEAST_CHANGES = 500
PAUSE_SECONDS = 60.0
"""A table is not looked at again before this: autovacuum, which comes by about as often, knows the small changes better."""
TABLES_IN_A_ROUND = 20

# Partitions are tables of their own here. Who may not ANALYZE a table (an application role) leaves it to autovacuum.
GROWN = """
SELECT known.schemaname, known.relname FROM pg_stat_user_tables AS known JOIN pg_class ON pg_class.oid = known.relid
WHERE known.schemaname = current_schema() AND has_table_privilege(known.relid, 'MAINTAIN')
  AND known.n_mod_since_analyze > greatest(%(least)s, pg_class.reltuples)
  AND coalesce(greatest(known.last_analyze, known.last_autoanalyze) < clock_timestamp() - make_interval(secs => %(pause)s), true)
ORDER BY known.n_mod_since_analyze DESC LIMIT %(most)s
"""


async def analyse_grown(pool: Pool) -> list[str]:
    """ANALYZE the tables of which more rows have changed than they had when they were last looked at; their names.

    Each in a transaction of its own, which holds up neither readers nor writers; one that somebody is vacuuming is passed over.
    """
    async with transaction(pool) as connection, connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(GROWN, {"least": LEAST_CHANGES, "pause": PAUSE_SECONDS, "most": TABLES_IN_A_ROUND})
        found: list[tuple[str, str]] = await cursor.fetchall()
    for name in found:
        async with transaction(pool) as connection:
            await connection.execute(sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(sql.Identifier(*name)))
    return [name for _, name in found]
