"""Which installation a database is, and which life of it: what Redis and Temporal hold for one must not be taken for another's."""

import hashlib
from uuid import UUID

from psycopg.rows import tuple_row

from runtime.postgres import Connection

OWN_CHARACTERS = 8


async def find_installation(connection: Connection) -> UUID | None:
    """The id that `laurel migrate` gave the installation; None before it is set up. A dump and a replica keep it."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        row = await (await cursor.execute("SELECT installation_id FROM platform")).fetchone()
    return row[0] if row else None


async def database_life(connection: Connection) -> str:
    """A short name of this database's present life, for keys of the rankings; empty before the platform is set up.

    The first `OWN_CHARACTERS` stand for the installation, the rest for the history that its rows belong to: another after a failover or a
    recovery to a point in time (timeline), on another server (system identifier), and after a dump was restored (the table was made anew).
    """
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT installation_id, concat_ws(':', (pg_control_system()).system_identifier,
                substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 'platform'::regclass::oid, pg_relation_filenode('platform'))
            FROM platform
            """
        )
        row = await cursor.fetchone()
    if row is None:
        return ""
    return hashlib.blake2b(row[0].bytes, digest_size=4).hexdigest() + hashlib.blake2b(row[1].encode(), digest_size=4).hexdigest()
