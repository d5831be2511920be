"""Leases: work for the whole platform that one process does at a time. They run out by PostgreSQL's clock; nobody has to give them back."""

from runtime.postgres import Connection


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
