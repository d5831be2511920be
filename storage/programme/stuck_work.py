"""What does not move on by itself and waits for a person. Each question reads a bounded number of rows, through an index of such rows."""

from datetime import datetime
from uuid import UUID

import msgspec

from domain.redemption.redemption import Redemption
from runtime.postgres import Connection
from storage.event.search import LETTER_COLUMNS, DeadLetter
from storage.redemption.redemption import COLUMNS

LOOKED_AT = 2000
"""So many stuck deliveries of each kind are looked at, the newest first; more are more of the same."""
OPEN = "status IN ('pending_claim', 'pending_approval', 'pending', 'processing')"


COUNTED = 100
"""So many of each kind are counted for the navigation, which shows “99+” from there on."""


class Heap(msgspec.Struct, frozen=True, kw_only=True):
    """The deliveries of one endpoint that are in the same state. `number` counts those among the `LOOKED_AT` newest of the tenant."""

    endpoint_id: UUID
    url: str
    description: str | None
    enabled: bool
    number: int
    oldest_at: datetime
    newest_at: datetime
    last_status: int | None
    last_error: str | None


class UnsentCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command that has not reached Temporal."""

    kind: str
    workflow_id: str
    name: str
    tries: int
    last_error: str | None
    created_at: datetime
    due_at: datetime


async def stuck_deliveries(connection: Connection, tenant_id: UUID, state: str) -> list[Heap]:
    """Deliveries in `exhausted` or `held`, heaped by endpoint, the largest heap first; tests and archived endpoints are left out."""
    cursor = await connection.execute(
        """
        SELECT d.endpoint_id, e.url, e.description, e.enabled, count(*) AS number, min(d.created_at) AS oldest_at,
               max(d.created_at) AS newest_at, (array_agg(d.last_status ORDER BY d.delivery_id DESC))[1] AS last_status,
               (array_agg(d.last_error ORDER BY d.delivery_id DESC))[1] AS last_error
        FROM (
            SELECT delivery_id, endpoint_id, created_at, last_status, last_error FROM webhook_delivery
            WHERE tenant_id = %(tenant_id)s AND state = %(state)s AND state IN ('exhausted', 'held') AND event <> 'webhook.test'
              AND (due_at IS NULL OR state = 'held')
            ORDER BY delivery_id DESC LIMIT %(most)s
        ) AS d JOIN webhook_endpoint AS e ON e.tenant_id = %(tenant_id)s AND e.endpoint_id = d.endpoint_id
        WHERE e.archived_at IS NULL
        GROUP BY d.endpoint_id, e.url, e.description, e.enabled ORDER BY number DESC LIMIT 50
        """,
        {"tenant_id": tenant_id, "state": state, "most": LOOKED_AT},
    )
    return [msgspec.convert(row, Heap) for row in await cursor.fetchall()]


async def late_redemptions(connection: Connection, tenant_id: UUID, before: datetime, limit: int) -> list[Redemption]:
    """Open redemptions whose deadline was before this instant, the oldest deadline first."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM redemption WHERE tenant_id = %s AND {OPEN} AND deadline_at < %s ORDER BY deadline_at LIMIT %s",
        (tenant_id, before, limit),
    )
    return [msgspec.convert(row, Redemption) for row in await cursor.fetchall()]


async def flagged_redemptions(connection: Connection, tenant_id: UUID, limit: int) -> list[Redemption]:
    """Open redemptions with a flag, the oldest first: their deadline is the nearest."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM redemption WHERE tenant_id = %s AND flags <> '{{}}' AND {OPEN} ORDER BY redemption_id LIMIT %s",
        (tenant_id, limit),
    )
    return [msgspec.convert(row, Redemption) for row in await cursor.fetchall()]


async def open_dead_letters(connection: Connection, tenant_id: UUID, limit: int) -> list[DeadLetter]:
    """Events that broke scoring and were not replayed, the newest first."""
    cursor = await connection.execute(
        f"SELECT {LETTER_COLUMNS} FROM dead_letter WHERE tenant_id = %s AND replayed_at IS NULL ORDER BY position DESC LIMIT %s",
        (tenant_id, limit),
    )
    return [msgspec.convert(row, DeadLetter) for row in await cursor.fetchall()]


async def unsent_commands(connection: Connection, tenant_id: UUID, before: datetime, limit: int) -> list[UnsentCommand]:
    """The tenant's commands written before this instant that have not reached Temporal, among the 10 000 that are due first."""
    cursor = await connection.execute(
        """
        SELECT kind, workflow_id, name, tries, last_error, created_at, due_at FROM (
            SELECT tenant_id, kind, workflow_id, name, tries, last_error, created_at, due_at FROM outbox
            WHERE sent_at IS NULL ORDER BY due_at LIMIT 10000
        ) AS unsent WHERE tenant_id = %s AND created_at < %s ORDER BY created_at LIMIT %s
        """,
        (tenant_id, before, limit),
    )
    return [msgspec.convert(row, UnsentCommand) for row in await cursor.fetchall()]


async def count_stuck(connection: Connection, tenant_id: UUID, late_before: datetime) -> int:
    """How much waits for a person, at most `COUNTED` of each kind: the same kinds as the lists above, but for workflows and commands."""
    cursor = await connection.execute(
        f"""
        SELECT (SELECT count(*) FROM (
            SELECT FROM webhook_delivery AS d JOIN webhook_endpoint AS e USING (tenant_id, endpoint_id)
            WHERE d.tenant_id = %(tenant_id)s AND d.state IN ('exhausted', 'held') AND d.event <> 'webhook.test' AND e.archived_at IS NULL
              AND NOT (d.event = 'reward_redeemed' AND EXISTS (  -- an order counts once, as the redemption that is flagged below
                SELECT FROM redemption AS r WHERE r.tenant_id = d.tenant_id AND r.redemption_id = d.redemption_id AND r.flags <> '{{}}'))
              AND CASE d.state WHEN 'held' THEN NOT e.enabled ELSE d.due_at IS NULL END
            LIMIT %(most)s) AS deliveries)
        + (SELECT count(*) FROM (
            SELECT FROM redemption WHERE tenant_id = %(tenant_id)s AND flags <> '{{}}' AND {OPEN} LIMIT %(most)s) AS flagged)
        + (SELECT count(*) FROM (
            SELECT FROM redemption WHERE tenant_id = %(tenant_id)s AND {OPEN} AND deadline_at < %(before)s AND flags = '{{}}'
            LIMIT %(most)s) AS late)
        + (SELECT count(*) FROM (
            SELECT FROM redemption WHERE tenant_id = %(tenant_id)s AND status = 'pending_approval' LIMIT %(most)s) AS asked)
        + (SELECT count(*) FROM (
            SELECT FROM dead_letter WHERE tenant_id = %(tenant_id)s AND replayed_at IS NULL LIMIT %(most)s) AS letters) AS number
        """,
        {"tenant_id": tenant_id, "before": late_before, "most": COUNTED},
    )
    row = await cursor.fetchone()
    return int(row["number"]) if row else 0
