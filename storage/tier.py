"""Tiers: the tenant's set, the tier of each user, and its history.

A user's tier is written under the lock of its account of `points`, by whoever moved the points or chose a tier by hand.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.tier import Basis, Tier, TierChange, TierMember, TierSet, advanced
from domain.webhook_body import event_body
from domain.wire import amount_number
from runtime.ids import new_id
from runtime.postgres import Connection
from storage.definition import change_instant
from storage.due_delivery import Notice, publish


class TieredTenant(msgspec.Struct, frozen=True):
    """A tenant with tiers, and the decimal places of its `points`."""

    tiers: TierSet
    decimal_places: int


TIER_SETS = """
SELECT s.tenant_id, s.basis, s.version, c.decimal_places,
       coalesce(jsonb_agg(jsonb_build_object('name', t.name, 'level', t.level, 'threshold', t.threshold, 'benefits', t.benefits)
                          ORDER BY t.level) FILTER (WHERE t.name IS NOT NULL), '[]') AS tiers
FROM tier_set AS s JOIN currency AS c ON c.tenant_id = s.tenant_id AND c.currency_id = 'points'
LEFT JOIN tier AS t ON t.tenant_id = s.tenant_id
WHERE s.tenant_id = ANY(%s) GROUP BY s.tenant_id, c.decimal_places
"""


async def tier_sets(connection: Connection, tenants: Sequence[UUID]) -> dict[UUID, TieredTenant]:
    """The sets of those of these tenants that have ever written one."""
    cursor = await connection.execute(TIER_SETS, (list(tenants),))
    return {row["tenant_id"]: TieredTenant(_tier_set(row), row["decimal_places"]) for row in await cursor.fetchall()}


def _tier_set(row: dict[str, Any]) -> TierSet:
    tiers = tuple(msgspec.convert(row["tiers"], list[Tier]))
    return TierSet(basis=Basis(row["basis"]), tiers=tiers, version=row["version"])


async def tier_set_of(connection: Connection, tenant_id: UUID) -> TierSet:
    """The tenant's set; the empty one (version 0) when it never wrote one."""
    found = (await tier_sets(connection, [tenant_id])).get(tenant_id)
    return TierSet() if found is None else found.tiers


async def lock_tier_set(connection: Connection, tenant_id: UUID, now: datetime) -> TierSet:
    """The tenant's set, locked until the end of the transaction."""
    await connection.execute(
        "INSERT INTO tier_set (tenant_id, basis, version, updated_at) VALUES (%s, 'lifetime_earned', 0, %s) ON CONFLICT DO NOTHING",
        (tenant_id, now),
    )
    await connection.execute("SELECT FROM tier_set WHERE tenant_id = %s FOR UPDATE", (tenant_id,))
    return await tier_set_of(connection, tenant_id)


async def write_tier_set(connection: Connection, tenant_id: UUID, tiers: TierSet, now: datetime) -> TierSet:
    """Replace the set (lock it before); it holds from the next movement of points on. The pumps read it again."""
    await connection.execute(
        "UPDATE tier_set SET basis = %s, version = version + 1, updated_at = %s WHERE tenant_id = %s", (tiers.basis.value, now, tenant_id)
    )
    await connection.execute("DELETE FROM tier WHERE tenant_id = %s", (tenant_id,))
    await connection.execute(
        """
        INSERT INTO tier (tenant_id, name, level, threshold, benefits)
        SELECT %s, * FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::jsonb[])
        """,
        (
            tenant_id,
            [tier.name for tier in tiers.tiers],
            [tier.level for tier in tiers.tiers],
            [tier.threshold for tier in tiers.tiers],
            [Jsonb(tier.benefits) for tier in tiers.tiers],
        ),
    )
    await change_instant(connection, tenant_id)  # last of the locks: it holds up every scoring pump
    return await tier_set_of(connection, tenant_id)


async def members_of(connection: Connection, tenant_id: UUID, basis: Basis, users: Sequence[UUID]) -> list[TierMember]:
    """What counts for these users and the tiers they have. A user without points is one with none."""
    cursor = await connection.execute(
        """
        SELECT u.user_id, u.external_id, m.tier, coalesce(m.held_level, -1) AS held_level, m.since,
               coalesce(CASE %s WHEN 'balance' THEN a.posted - a.held ELSE a.lifetime_earned END, 0) AS points
        FROM app_user AS u
        LEFT JOIN user_tier AS m ON m.tenant_id = u.tenant_id AND m.user_id = u.user_id
        LEFT JOIN account AS a ON a.tenant_id = u.tenant_id AND a.user_id = u.user_id AND a.currency_id = 'points'
        WHERE u.user_id = ANY(%s) AND u.tenant_id = %s
        """,
        (basis.value, list(users), tenant_id),
    )
    return [msgspec.convert(row, TierMember) for row in await cursor.fetchall()]


async def review_tiers(
    connection: Connection, tenant_id: UUID, users: Sequence[UUID], now: datetime, *, known: TieredTenant | None = None
) -> None:
    """Give these users the tiers that their points lead to now, with history and `tier_change`.

    Called after their points have moved, while their accounts are locked. `known` spares reading the set.
    """
    tenant = known or (await tier_sets(connection, [tenant_id])).get(tenant_id)
    if tenant is None or not tenant.tiers.tiers:
        return
    for member in await members_of(connection, tenant_id, tenant.tiers.basis, sorted(users)):
        new = advanced(tenant.tiers, member)
        if new is not None:
            await _move(connection, tenant_id, member, _change(member, new.name, now), tenant.decimal_places)


async def review_redemption(connection: Connection, tenant_id: UUID, redemption_id: UUID, now: datetime) -> None:
    """The same for the user whose points the redemption has just given back."""
    cursor = await connection.execute(
        """
        SELECT user_id FROM tier_set JOIN hold USING (tenant_id) JOIN account USING (tenant_id, account_id)
        WHERE tenant_id = %s AND redemption_id = %s
        """,
        (tenant_id, redemption_id),
    )
    rows = await cursor.fetchall()
    if rows:
        await review_tiers(connection, tenant_id, [row["user_id"] for row in rows], now)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a person decided of a user's tier: points lead on only above `held_level`."""

    tier: str | None
    held_level: int
    changed_by: str
    reason: str


async def choose_tier(
    connection: Connection, tenant_id: UUID, member: TierMember, choice: Choice, *, decimal_places: int, now: datetime
) -> None:
    """Give the user the tier by hand (lock its account before); a tier that it has already is only held."""
    change = msgspec.structs.replace(_change(member, choice.tier, now), changed_by=choice.changed_by, reason=choice.reason)
    if choice.tier != member.tier:
        await _move(connection, tenant_id, member, change, decimal_places)
    await connection.execute(
        """
        INSERT INTO user_tier (tenant_id, user_id, tier, held_level, since) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (tenant_id, user_id) DO UPDATE SET held_level = excluded.held_level
        """,
        (tenant_id, member.user_id, choice.tier, choice.held_level, now),
    )


async def changes_of(connection: Connection, tenant_id: UUID, user_id: UUID, *, after: UUID | None, limit: int) -> list[TierChange]:
    """The user's changes of tier, newest first, from behind the change `after`."""
    cursor = await connection.execute(
        """
        SELECT change_id, user_id, previous_tier, new_tier, points, changed_by, reason, created_at FROM tier_change
        WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s AND (%(after)s::uuid IS NULL OR change_id < %(after)s)
        ORDER BY change_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "user_id": user_id, "after": after, "limit": limit},
    )
    return [msgspec.convert(row, TierChange) for row in await cursor.fetchall()]


def _change(member: TierMember, new_tier: str | None, now: datetime) -> TierChange:
    return TierChange(
        change_id=new_id(),
        user_id=member.user_id,
        previous_tier=member.tier,
        new_tier=new_tier,
        points=member.points,
        changed_by=None,
        reason=None,
        created_at=now,
    )


async def _move(connection: Connection, tenant_id: UUID, member: TierMember, change: TierChange, decimal_places: int) -> None:
    await connection.execute(
        """
        WITH moved AS (
            INSERT INTO user_tier (tenant_id, user_id, tier, since) VALUES (%(tenant_id)s, %(user_id)s, %(new_tier)s, %(created_at)s)
            ON CONFLICT (tenant_id, user_id) DO UPDATE SET tier = excluded.tier, since = excluded.since
        )
        INSERT INTO tier_change (tenant_id, change_id, user_id, previous_tier, new_tier, points, changed_by, reason, created_at)
        VALUES (%(tenant_id)s, %(change_id)s, %(user_id)s, %(previous_tier)s, %(new_tier)s, %(points)s, %(changed_by)s, %(reason)s,
                %(created_at)s)
        """,
        {"tenant_id": tenant_id, **msgspec.structs.asdict(change)},
    )
    facts = {
        "user_id": str(member.user_id),
        "external_user_id": member.external_id,
        "previous_tier": change.previous_tier,
        "new_tier": change.new_tier,
        "points": amount_number(change.points, decimal_places),
    }
    notice = Notice(event="tier_change", body=event_body("tier_change", facts, change.created_at))
    await publish(connection, tenant_id, notice, change.created_at)
