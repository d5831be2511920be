"""Earning rules with every version that was ever in force."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain import limits
from domain.points.earning_rule import EarningRule, rule_wire
from runtime.postgres import Connection
from storage.limit import check_room, check_rules
from storage.rules_lock import change_instant


class KeptRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as it stands now. `definition` is the checked body; `budget_spent` is in 1/10 000 point."""

    rule_id: UUID
    version: int
    definition: dict[str, Any]
    active: bool
    created_at: datetime
    updated_at: datetime
    budget_spent: int = 0


COLUMNS = """rule_id, version, definition, active, created_at, updated_at, coalesce((SELECT spent FROM earning_budget AS used
    WHERE used.tenant_id = earning_rule.tenant_id AND used.rule_id = earning_rule.rule_id), 0) AS budget_spent"""


async def find_rule(connection: Connection, tenant_id: UUID, rule_id: UUID, *, lock: bool = False) -> KeptRule | None:
    """The rule of that id, or None when there is none or it is archived."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM earning_rule WHERE tenant_id = %s AND rule_id = %s AND archived_at IS NULL {"FOR UPDATE" if lock else ""}
        """,
        (tenant_id, rule_id),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, KeptRule)


async def list_rules(connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int) -> Sequence[KeptRule]:
    """The tenant's rules, newest first, from behind the rule `after`."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM earning_rule
        WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL AND (%(after)s::uuid IS NULL OR rule_id < %(after)s)
        ORDER BY rule_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "after": after, "limit": limit},
    )
    return [msgspec.convert(row, KeptRule) for row in await cursor.fetchall()]


async def write_rule(connection: Connection, tenant_id: UUID, rule_id: UUID, rule: EarningRule, *, now: datetime) -> KeptRule:
    """Make the rule or replace it (then lock it before); the new version holds for events accepted from this change on."""
    await check_room(connection, tenant_id, limits.EARNING_RULES, beside=rule_id)
    cursor = await connection.execute(
        f"""
        INSERT INTO earning_rule (tenant_id, rule_id, name, version, definition, active, created_at, updated_at)
        VALUES (%s, %s, %s, 1, %s, %s, %s, %s)
        ON CONFLICT (tenant_id, rule_id) DO UPDATE SET name = excluded.name, version = earning_rule.version + 1,
            definition = excluded.definition, active = excluded.active, updated_at = excluded.updated_at
        RETURNING {COLUMNS}
        """,
        (tenant_id, rule_id, rule.name, Jsonb(rule_wire(rule)), rule.active, now, now),
    )
    kept = msgspec.convert(await cursor.fetchone(), KeptRule)
    await connection.execute(
        "INSERT INTO earning_budget (tenant_id, rule_id) VALUES (%s, %s) ON CONFLICT DO NOTHING", (tenant_id, kept.rule_id)
    )
    await _write_version(connection, tenant_id, kept, asked_for=True)
    if kept.active:
        await check_rules(connection, tenant_id)
    return kept


async def archive_rule(connection: Connection, tenant_id: UUID, rule_id: UUID, now: datetime) -> bool:
    """End the rule from now on by an inactive last version; false when there is no such rule."""
    cursor = await connection.execute(
        f"""
        UPDATE earning_rule SET archived_at = %s, updated_at = %s, active = false, version = version + 1
        WHERE tenant_id = %s AND rule_id = %s AND archived_at IS NULL RETURNING {COLUMNS}
        """,
        (now, now, tenant_id, rule_id),
    )
    row = await cursor.fetchone()
    if row is None:
        return False
    await _write_version(connection, tenant_id, msgspec.convert(row, KeptRule), asked_for=False)
    return True


async def _write_version(connection: Connection, tenant_id: UUID, kept: KeptRule, *, asked_for: bool) -> None:
    valid_from = await change_instant(connection, tenant_id, asked_for=asked_for)  # last of the locks: it holds up the tenant's scoring
    await connection.execute(
        """
        INSERT INTO earning_rule_version (tenant_id, rule_id, version, definition, active, valid_from)
        VALUES (%s, %s, %s, %s, %s, %s)
        """,
        (tenant_id, kept.rule_id, kept.version, Jsonb(kept.definition), kept.active, valid_from),
    )
