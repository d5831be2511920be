"""How many definitions a tenant has, counted under a lock of that tenant and kind, so that no race exceeds a bound."""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from domain import limits
from domain.errors import LimitReached
from domain.limits import Limit
from runtime.postgres import Connection


class Counted(NamedTuple):
    """What is counted: the table, its id, and which rows are alive."""

    table: str
    key: str
    alive: str = "archived_at IS NULL"


COUNTED: Mapping[Limit, Counted] = {
    limits.LEADERBOARDS: Counted("leaderboard", "board_id", "status <> 'archived'"),
    limits.EARNING_RULES: Counted("earning_rule", "rule_id"),
    limits.EVENT_TYPES: Counted("event_type", "name", "true"),
    limits.API_KEYS: Counted("api_key", "key_id", "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"),
    limits.WEBHOOK_ENDPOINTS: Counted("webhook_endpoint", "endpoint_id"),
    limits.SCHEDULES: Counted("payout_schedule", "schedule_id"),
    limits.REWARDS: Counted("reward", "reward_id"),
    limits.REWARD_ITEMS: Counted("reward_item", "item_id"),
    limits.REWARD_CONFIGS: Counted("reward_config", "reward_config_id"),
    limits.CURRENCIES: Counted("currency", "currency_id", "true"),
    limits.CONSOLE_USERS: Counted("console_user", "console_user_id", "true"),
}


async def check_rules(connection: Connection, tenant_id: UUID) -> None:
    """Raise `LimitReached` when the tenant's active rules are more than scoring can run for an event without holding up others.

    Call it once the change is written, after `change_instant`: no other change of the tenant's rules is under way then.
    """
    cursor = await connection.execute(
        """
        WITH rule AS (
            SELECT given ->> 'event_type' AS type,
                   (octet_length(given::text) + octet_length(coalesce(b.config -> 'scope', '{}')::text))
                   * (1 + jsonb_array_length(b.timeline)) AS bytes
            FROM leaderboard AS b, jsonb_array_elements(b.config -> 'scoring' -> 'rules') AS given
            WHERE b.tenant_id = %(tenant_id)s AND b.status = 'active'
            UNION ALL
            SELECT definition ->> 'event_type', octet_length(definition::text) FROM earning_rule
            WHERE tenant_id = %(tenant_id)s AND active AND archived_at IS NULL
        )
        SELECT coalesce(sum(bytes) FILTER (WHERE type <> '*'), 0)
             + coalesce(sum(bytes) FILTER (WHERE type = '*'), 0) * (1 + count(DISTINCT type) FILTER (WHERE type <> '*')) AS present
        FROM rule
        """,
        {"tenant_id": tenant_id},
    )
    row = await cursor.fetchone()
    assert row is not None
    limit = limits.RULE_BYTES
    if row["present"] > limit.value:
        raise LimitReached(
            f"A tenant's active rules can have at most {limit.value} {limit.unit}, counted as often as they are compiled", limit=limit.value
        )


async def check_room(connection: Connection, tenant_id: UUID, limit: Limit, *, beside: UUID | str | None = None) -> None:
    """Raise `LimitReached` when the tenant has as many as it may have, `beside` (the one that is written) not counted.

    Until the transaction ends nobody else adds one of this kind.
    """
    # A lock of its own, not the tenant's row: whoever adds a key must not wait for whoever adds a board.
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"room:{limit.name}:{tenant_id}",))
    counted = COUNTED[limit]
    cursor = await connection.execute(
        f"""
        SELECT count(*) AS present FROM {counted.table}
        WHERE tenant_id = %(tenant_id)s AND {counted.alive} AND {counted.key} IS DISTINCT FROM %(beside)s
        """,
        {"tenant_id": tenant_id, "beside": beside},
    )
    row = await cursor.fetchone()
    assert row is not None
    if row["present"] >= limit.value:
        raise LimitReached(f"A tenant can have at most {limit.value} {limit.unit} ({limit.name})", limit=limit.value)
