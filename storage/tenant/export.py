"""Everything that is held about a user (contract 4, Users)."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import msgspec

from domain.tenant.user import User
from domain.tenant.user_wire import user_profile
from runtime.postgres import Connection

MINE = "t.user_id = %(user)s"
SECTIONS: dict[str, tuple[str, str]] = {
    "balances": ("account", MINE),
    "transactions": ("transfer", f"t.user_account_id IN (SELECT account_id FROM account AS t WHERE t.tenant_id = %(tenant)s AND {MINE})"),
    "redemptions": ("redemption", MINE),
    "redemption_moves": ("redemption_move", "t.redemption_id = ANY(%(redemptions)s)"),
    "standings": ("standing", f"{MINE} AND t.window_id IN (SELECT window_id FROM leaderboard_window WHERE tenant_id = %(tenant)s)"),
    "snapshots": (
        "snapshot_entry",
        "t.external_user_id = %(external)s AND t.window_id IN (SELECT window_id FROM leaderboard_window WHERE tenant_id = %(tenant)s)",
    ),
    "tier": ("user_tier", MINE),
    "tier_history": ("tier_change", MINE),
    "prizes": ("payout_recipient", MINE),
    "grants": ("reward_grant", MINE),
    "earning_limits": ("earning_usage", MINE),
    "audit": ("audit_log", "(t.subject_id IN (%(user)s::text, %(external)s) OR t.subject_id = ANY(%(redemptions)s::text[]))"),
}
"""What is exported of which table, and which of its rows are about the user."""

EVENTS = """
    SELECT event_id, type, occurred_at, accepted_at, convert_from(body, 'UTF8') AS body FROM event_log
    WHERE tenant_id = %(tenant)s AND user_id = %(user)s ORDER BY accepted_at, position
"""
DELIVERIES = """
    SELECT delivery_id, event, redemption_id, state, attempts, created_at, convert_from(body, 'UTF8') AS body FROM webhook_delivery
    WHERE tenant_id = %(tenant)s
      AND (redemption_id = ANY(%(redemptions)s) OR user_id = %(user)s
           OR (user_id IS NULL AND redemption_id IS NULL AND position(convert_to(%(user)s::text, 'UTF8') IN body) > 0))
    ORDER BY delivery_id
"""


ROWS = 4
"""How many rows are in memory at once: an event or a delivery may have most of a megabyte."""


async def everything_about(connection: Connection, tenant_id: UUID, user: User) -> AsyncIterator[bytes]:
    """The profile, and under a name for each table what it holds about the user: one JSON object in pieces, of any size in all.

    To be read within a transaction. Rows are handed on as PostgreSQL writes them: decoding them would only cost memory.
    """
    known: dict[str, Any] = {"tenant": tenant_id, "user": user.user_id, "external": user.external_id}
    cursor = await connection.execute("SELECT redemption_id FROM redemption WHERE tenant_id = %(tenant)s AND user_id = %(user)s", known)
    known["redemptions"] = [row["redemption_id"] for row in await cursor.fetchall()]
    yield b'{"profile":' + msgspec.json.encode(user_profile(user))
    for section, (table, about) in SECTIONS.items():
        query = f"SELECT (to_jsonb(t) - 'tenant_id')::text AS row FROM {table} AS t WHERE t.tenant_id = %(tenant)s AND {about}"
        async for piece in _section(connection, section, query, known):
            yield piece
    for section, query in (("events", EVENTS), ("deliveries", DELIVERIES)):
        async for piece in _section(connection, section, query, known):
            yield piece
    yield b"}"


async def _section(connection: Connection, section: str, query: str, known: Mapping[str, Any]) -> AsyncIterator[bytes]:
    async with connection.cursor(name=f"export_{section}") as cursor:
        await cursor.execute(query.encode(), known)
        before = f',"{section}":['.encode()
        while rows := await cursor.fetchmany(ROWS):
            yield before + b",".join(_document(row) for row in rows)
            before = b","
        yield b"]" if before == b"," else before + b"]"


def _document(row: Mapping[str, Any]) -> bytes:
    if "row" in row:
        return str(row["row"]).encode()
    return msgspec.json.encode({**row, "body": msgspec.Raw(str(row["body"]).encode())})
