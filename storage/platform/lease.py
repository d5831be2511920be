"""Leases: work for the whole platform that one process does at a time. They run out by PostgreSQL's clock; nobody has to give them back."""

from runtime.postgres import Connection, Pool, transaction


async def take_lease(connection: Connection, name: str, seconds: float) -> bool:
    """Take the lease of that name for so long; false while somebody has it."""
    cursor = await connection.execute(
        """
        INSERT INTO lease (name, held_until) VALUES (%(name)s, clock_timestamp() + make_interval(secs => %(seconds)s))
        ON CONFLICT (name) DO UPDATE SET held_until = excluded.held_until WHERE lease.held_until <= clock_timestamp()
        RETURNING name
        """,
        {"name": name, "seconds": seconds},
    )
    return await cursor.fetchone() is not None


async def is_our_round(pool: Pool, name: str, interval_seconds: float) -> bool:
    """Whether this process does the round that begins now, of work that some process does every so often."""
    async with transaction(pool) as connection:
        return await take_lease(connection, name, interval_seconds * 0.9)  # run out when the holder comes again
