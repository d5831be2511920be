"""The dashboard's questions. Each reads a bounded number of rows, whatever the tenant's size."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec

from runtime.ids import first_id
from runtime.postgres import Connection

OPEN_STATES = ("pending_claim", "pending_approval", "pending", "processing")
FINAL_STATES = ("fulfilled", "failed", "cancelled", "expired", "reversed")
MOST = 50_000
"""More redemptions of one state than this are not counted: the page shows “50 000+”."""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What happened on a day of the tenant's calendar. `issued` and `spent` are before what was taken back and refunded."""

    day: date
    events: int
    users: int
    issued: int
    spent: int
    redemptions: int
    taken_back: int = 0
    refunded: int = 0


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """All users, and what is newer than the rollup: users, points and redemptions since."""

    users: int
    since: datetime | None
    new_users: int
    issued: int
    spent: int
    redemptions: int
    taken_back: int
    refunded: int
    places: int


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """What a new tenant has done already: what is archived, like the things of a demo that is over, is no step."""

    event_type: bool
    event: bool
    board: bool
    earning: bool
    reward: bool
    endpoint: bool
    webhook: bool

    @property
    def all_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.done == len(self.__struct_fields__)

    @property
    def done(self) -> int:
        """How many of them are done."""
        return sum(getattr(self, name) for name in self.__struct_fields__)


async def days_since(connection: Connection, tenant_id: UUID, since: datetime, timezone: str) -> list[Day]:
    """What happened on each day from `since` on that has anything, by the tenant's calendar. At most 96 rows a day are read."""
    cursor = await connection.execute(
        """
        SELECT (starts_at AT TIME ZONE %s)::date AS day, sum(events)::bigint AS events, sum(users)::bigint AS users,
               sum(issued)::bigint AS issued, sum(spent)::bigint AS spent, sum(redemptions)::bigint AS redemptions,
               sum(taken_back)::bigint AS taken_back, sum(refunded)::bigint AS refunded
        FROM activity_slot WHERE tenant_id = %s AND starts_at >= %s GROUP BY 1 ORDER BY 1
        """,
        (timezone, tenant_id, since),
    )
    return [msgspec.convert(row, Day) for row in await cursor.fetchall()]


async def totals(connection: Connection, tenant_id: UUID) -> Totals:
    """All users, and what the rollup has not counted yet: the last minute, or more when no worker runs (then at most 50 000 rows)."""
    cursor = await connection.execute("SELECT until FROM activity_cursor WHERE name = 'rows'")
    row = await cursor.fetchone()
    since = row["until"] if row else None
    low = first_id(since) if since else UUID(int=0)
    cursor = await connection.execute(
        """
        SELECT (SELECT coalesce(sum(users), 0)::bigint FROM activity_slot WHERE tenant_id = %(tenant_id)s) AS users,
            %(since)s::timestamptz AS since,
            (SELECT count(*) FROM (SELECT FROM app_user WHERE tenant_id = %(tenant_id)s AND user_id >= %(low)s LIMIT %(most)s) AS u)
                AS new_users,
            x.issued, x.spent, x.taken_back, x.refunded,
            (SELECT count(*) FROM (SELECT FROM redemption WHERE tenant_id = %(tenant_id)s AND redemption_id >= %(low)s LIMIT %(most)s) AS r)
                AS redemptions,
            coalesce((SELECT decimal_places FROM currency WHERE tenant_id = %(tenant_id)s AND currency_id = 'points'), 0) AS places
        FROM (
            SELECT coalesce(sum(amount) FILTER (
                       WHERE kind IN ('earn', 'grant', 'adjust') AND user_account_id = credit_account_id), 0)::bigint AS issued,
                   coalesce(sum(amount) FILTER (WHERE kind = 'redeem'), 0)::bigint AS spent,
                   coalesce(sum(CASE WHEN kind NOT IN ('adjust', 'reverse') THEN 0 WHEN user_account_id = debit_account_id THEN amount
                 WHEN kind = 'reverse' THEN -amount ELSE 0 END), 0)::bigint AS taken_back,
                   coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunded
            FROM (SELECT amount, kind, user_account_id, credit_account_id, debit_account_id FROM transfer
                  WHERE tenant_id = %(tenant_id)s AND transfer_id >= %(low)s AND currency_id = 'points' LIMIT %(most)s) AS t
        ) AS x
        """,
        {"tenant_id": tenant_id, "since": since, "low": low, "most": MOST},
    )
    return msgspec.convert(await cursor.fetchone(), Totals)


async def redemptions_by_state(connection: Connection, tenant_id: UUID, since: datetime) -> dict[str, int]:
    """How many redemptions wait in each open state, and how many of those made since then ended in each other; at most `MOST` + 1."""
    cursor = await connection.execute(
        """
        SELECT state.name, (SELECT count(*) FROM (
            SELECT FROM redemption WHERE tenant_id = %(tenant_id)s AND status = state.name
              AND redemption_id >= CASE WHEN state.name = ANY (%(open)s) THEN '00000000-0000-0000-0000-000000000000'::uuid ELSE %(low)s END
            LIMIT %(most)s) AS r) AS number
        FROM unnest(%(states)s::text[]) AS state (name)
        """,
        {
            "tenant_id": tenant_id,
            "open": list(OPEN_STATES),
            "low": first_id(since),
            "most": MOST + 1,
            "states": [*OPEN_STATES, *FINAL_STATES],
        },
    )
    return {row["name"]: row["number"] for row in await cursor.fetchall()}


async def first_steps(connection: Connection, tenant_id: UUID) -> Steps:
    """What a new tenant has done already; each answer is one look at an index."""
    cursor = await connection.execute(
        """
        SELECT EXISTS (SELECT FROM event_type WHERE tenant_id = %(tenant_id)s AND NOT is_system) AS event_type,
            EXISTS (SELECT FROM activity_slot WHERE tenant_id = %(tenant_id)s AND events > 0) AS event,
            EXISTS (SELECT FROM leaderboard WHERE tenant_id = %(tenant_id)s AND status <> 'archived') AS board,
            EXISTS (SELECT FROM earning_rule WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL) AS earning,
            EXISTS (SELECT FROM reward WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL) AS reward,
            EXISTS (SELECT FROM webhook_endpoint WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL) AS endpoint,
            EXISTS (SELECT FROM (
                SELECT state, endpoint_id FROM webhook_delivery WHERE tenant_id = %(tenant_id)s ORDER BY delivery_id DESC LIMIT 500
            ) AS recent JOIN webhook_endpoint AS e ON e.tenant_id = %(tenant_id)s AND e.endpoint_id = recent.endpoint_id
            WHERE recent.state = 'delivered' AND e.archived_at IS NULL) AS webhook
        """,
        {"tenant_id": tenant_id},
    )
    row: dict[str, Any] | None = await cursor.fetchone()
    return msgspec.convert(row, Steps)
