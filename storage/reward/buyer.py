"""What the catalog has to know of the user who looks at it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from domain.leaderboard.window import WindowSpan
from domain.redemption.redemption import RETURNED
from domain.reward.catalog import Buyer
from domain.reward.offer import limit_period
from domain.reward.reward import Reward
from runtime.postgres import Connection

FIND = """
SELECT timezone, user_id, coalesce(attributes, '{}') AS attributes, tier
FROM tenant LEFT JOIN app_user ON app_user.tenant_id = tenant.tenant_id AND external_id = %(external_user_id)s
LEFT JOIN user_tier USING (user_id)
WHERE tenant.tenant_id = %(tenant_id)s AND (user_tier.tenant_id IS NULL OR user_tier.tenant_id = %(tenant_id)s)
"""

USED = """
SELECT wanted.reward_id, count(*) AS n
FROM unnest(%(rewards)s::uuid[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS wanted (reward_id, starts_at, ends_at)
JOIN redemption USING (reward_id)
WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s AND source_type = 'purchase' AND status <> ALL(%(returned)s)
  AND (starts_at IS NULL OR redemption.created_at >= starts_at) AND (ends_at IS NULL OR redemption.created_at < ends_at)
GROUP BY wanted.reward_id
"""


async def find_buyer(connection: Connection, tenant_id: UUID, external_user_id: str, rewards: Sequence[Reward], *, now: datetime) -> Buyer:
    """The user with how many it had of each of these rewards; one that there is not yet has no attributes and had none."""
    row = await (await connection.execute(FIND, {"tenant_id": tenant_id, "external_user_id": external_user_id})).fetchone()
    if row is None or row["user_id"] is None:
        return Buyer()
    limited = [reward for reward in rewards if reward.max_per_user is not None]
    spans = [limit_period(reward, row["timezone"], now) for reward in limited]
    used = await _used(connection, tenant_id, row["user_id"], limited, spans=spans) if limited else {}
    return Buyer(attributes=row["attributes"], tier=row["tier"], used=used)


async def _used(
    connection: Connection, tenant_id: UUID, user_id: UUID, rewards: Sequence[Reward], *, spans: Sequence[WindowSpan]
) -> dict[UUID, int]:
    cursor = await connection.execute(
        USED,
        {
            "tenant_id": tenant_id,
            "user_id": user_id,
            "rewards": [reward.reward_id for reward in rewards],
            "starts": [span.starts_at for span in spans],
            "ends": [span.ends_at for span in spans],
            "returned": [state.value for state in RETURNED],
        },
    )
    return {row["reward_id"]: row["n"] for row in await cursor.fetchall()}
