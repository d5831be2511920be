"""How often rewards were redeemed lately, for the people who run the store."""

from datetime import datetime
from uuid import UUID

from runtime.ids import first_id
from runtime.postgres import Connection

MOST = 10_000
"""More than this are not counted: the page shows “10 000+”."""


async def redeemed_since(connection: Connection, tenant_id: UUID, reward_ids: list[UUID], since: datetime) -> dict[UUID, int]:
    """How many redemptions of each of these rewards were made since then, whatever became of them; at most `MOST` + 1."""
    cursor = await connection.execute(
        """
        SELECT wanted.id, (SELECT count(*) FROM (
            SELECT FROM redemption WHERE tenant_id = %(tenant_id)s AND reward_id = wanted.id AND redemption_id >= %(low)s LIMIT %(most)s
        ) AS r) AS number
        FROM unnest(%(ids)s::uuid[]) AS wanted (id)
        """,
        {"tenant_id": tenant_id, "ids": reward_ids, "low": first_id(since), "most": MOST + 1},
    )
    return {row["id"]: row["number"] for row in await cursor.fetchall()}
