"""Rewards that run low: told once, when the stock has come down to the reward's `config.low_stock` (contract 4, Store).

Looked at by each redemption's workflow, so behind the sale and without a lock on the stock, and by the sweep.
"""

from datetime import datetime
from uuid import UUID

from domain.webhook.body import event_body
from runtime.postgres import Connection, count_changed
from storage.webhook.due_delivery import Notice, publish

PAGE = 1000

# `told` has one row for each reward and variant, so of many who see the same low stock one tells it. What was told before takes no place
# of the page: else those behind a full page of it would never be told.
TELL = """
WITH stocked AS (
    SELECT reward.tenant_id, reward.reward_id, slug, reward.name, '' AS variant_id, reward.stock, (config ->> 'low_stock')::integer AS level
    FROM reward WHERE archived_at IS NULL AND config ? 'low_stock' AND {which}
    UNION ALL
    SELECT reward.tenant_id, reward.reward_id, slug, reward.name, limited.variant_id, limited.stock, (config ->> 'low_stock')::integer
    FROM reward JOIN reward_variant AS limited USING (tenant_id, reward_id) WHERE archived_at IS NULL AND config ? 'low_stock' AND {which}
), told AS (
    INSERT INTO low_stock (tenant_id, reward_id, variant_id, told_at)
    SELECT tenant_id, reward_id, variant_id, %(now)s FROM stocked
    WHERE stock <= level AND NOT EXISTS (
        SELECT FROM low_stock AS known
        WHERE known.tenant_id = stocked.tenant_id AND known.reward_id = stocked.reward_id AND known.variant_id = stocked.variant_id
    )
    ORDER BY tenant_id, reward_id, variant_id LIMIT %(limit)s
    ON CONFLICT DO NOTHING RETURNING tenant_id, reward_id, variant_id
)
SELECT stocked.* FROM stocked JOIN told USING (tenant_id, reward_id, variant_id) ORDER BY tenant_id, reward_id, variant_id
"""

FORGET = """
DELETE FROM low_stock USING reward
WHERE reward.tenant_id = low_stock.tenant_id AND reward.reward_id = low_stock.reward_id AND (
    reward.archived_at IS NOT NULL OR (reward.config ->> 'low_stock') IS NULL OR coalesce((
        CASE WHEN low_stock.variant_id = '' THEN reward.stock ELSE (
            SELECT stock FROM reward_variant AS limited
            WHERE limited.tenant_id = low_stock.tenant_id AND limited.reward_id = low_stock.reward_id
              AND limited.variant_id = low_stock.variant_id
        ) END > (reward.config ->> 'low_stock')::integer), true)
)
"""


async def tell_low_stock(
    connection: Connection, now: datetime, *, tenant_id: UUID | None = None, reward_id: UUID | None = None, limit: int = PAGE
) -> int:
    """Send `reward.low_stock` for what has run low since it was last looked at, of one reward or of all; answers how many (≤ `limit`)."""
    which = "true" if reward_id is None else "reward.tenant_id = %(tenant_id)s AND reward.reward_id = %(reward_id)s"
    named = {"now": now, "tenant_id": tenant_id, "reward_id": reward_id, "limit": limit}
    cursor = await connection.execute(TELL.format(which=which), named)
    found = await cursor.fetchall()
    for row in found:
        facts = {
            "reward_id": str(row["reward_id"]),
            "slug": row["slug"],
            "name": row["name"],
            "variant_id": row["variant_id"] or None,
            "stock": row["stock"],
            "low_stock": row["level"],
        }
        await publish(connection, row["tenant_id"], Notice(event="reward.low_stock", body=event_body("reward.low_stock", facts, now)), now)
    return len(found)


async def forget_low_stock(connection: Connection) -> int:
    """Forget what was told of rewards that have more again: the next time is told too. Answers how many."""
    return await count_changed(connection, FORGET)
