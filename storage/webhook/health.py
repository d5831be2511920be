"""How the tenant's webhook endpoints have fared lately, in a bounded number of rows."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from runtime.ids import first_id
from runtime.postgres import Connection

SAMPLE = 1000
"""So many deliveries of an endpoint are looked at, the newest first: enough for a rate, whatever its traffic."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an endpoint's latest deliveries. `oldest_waiting_at` is when the oldest of those that wait for their
    turn, a retry or an answer was made; None when nothing waits.

    `old_secret_until` is the end of a rotation's overlap, None outside of one.
    """

    endpoint_id: UUID
    delivered: int
    failed: int
    waiting: int
    oldest_waiting_at: datetime | None
    old_secret_until: datetime | None

    @property
    def rate(self) -> int | None:
        """Percent of those with an outcome that were delivered; only when all were is it 100. None without any."""
        settled = self.delivered + self.failed
        return None if settled == 0 else 100 * self.delivered // settled


HEALTH = """
SELECT e.endpoint_id, lately.delivered, lately.failed, lately.waiting,
    least(lately.oldest, (
        SELECT min(created_at) FROM (
            SELECT created_at FROM webhook_delivery AS d
            WHERE d.tenant_id = %(tenant_id)s AND d.endpoint_id = e.endpoint_id AND due_at IS NOT NULL ORDER BY due_at LIMIT %(sample)s
        ) AS due)) AS oldest_waiting_at,
    (SELECT max(expires_at) FROM webhook_secret AS s
     WHERE s.tenant_id = %(tenant_id)s AND s.endpoint_id = e.endpoint_id AND expires_at > %(now)s) AS old_secret_until
FROM unnest(%(endpoint_ids)s::uuid[]) AS e (endpoint_id) CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'delivered') AS delivered, count(*) FILTER (WHERE state = 'exhausted') AS failed,
           count(*) FILTER (WHERE state IN ('pending', 'held')) AS waiting,
           min(created_at) FILTER (WHERE state IN ('pending', 'held')) AS oldest
    FROM (
        SELECT state, created_at FROM webhook_delivery AS d
        WHERE d.tenant_id = %(tenant_id)s AND d.endpoint_id = e.endpoint_id AND delivery_id >= %(low)s
        ORDER BY delivery_id DESC LIMIT %(sample)s
    ) AS newest
) AS lately
"""


async def endpoint_health(
    connection: Connection, tenant_id: UUID, endpoint_ids: Sequence[UUID], *, since: datetime, now: datetime
) -> dict[UUID, Health]:
    """How these endpoints fared since then, by endpoint: at most `SAMPLE` deliveries of each, and as many of those that are
    due next, are read."""
    given = {"tenant_id": tenant_id, "endpoint_ids": list(endpoint_ids), "low": first_id(since), "sample": SAMPLE, "now": now}
    cursor = await connection.execute(HEALTH, given)
    return {row["endpoint_id"]: msgspec.convert(row, Health) for row in await cursor.fetchall()}
