"""Tiers: the tenant's set, the tier of each user, and its history.

A user's tier is written under the lock of its account of `points`, by whoever moved the points or chose a tier by hand.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.points.tier import Basis, Downgrade, Tier, TierChange, TierMember, TierSet, advanced
from domain.webhook.body import event_body
from domain.wire import amount_number
from runtime.ids import new_id
from runtime.postgres import Connection
from storage.rules_lock import change_instant
from storage.webhook.due_delivery import Notice, publish

NOBODY = UUID(int=0)
"""In front of every user."""


class TieredTenant(msgspec.Struct, frozen=True):
    """A tenant with tiers, and the decimal places of its `points`."""

    tiers: TierSet
    decimal_places: int


TIER_SETS = """
SELECT s.tenant_id, s.basis, s.downgrade, s.period_days, s.version, c.decimal_places,
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
    return TierSet(
        basis=Basis(row["basis"]),
        downgrade=Downgrade(row["downgrade"]),
        period_days=row["period_days"],
        tiers=tiers,
        version=row["version"],
    )


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
        "UPDATE tier_set SET basis = %s, downgrade = %s, period_days = %s, version = version + 1, updated_at = %s WHERE tenant_id = %s",
        (tiers.basis.value, tiers.downgrade.value, tiers.period_days, now, tenant_id),
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
    await change_instant(connection, tenant_id, asked_for=True)  # last of the locks: it holds up the tenant's scoring
    return await tier_set_of(connection, tenant_id)


async def members_of(connection: Connection, tenant_id: UUID, tiers: TierSet, users: Sequence[UUID], *, now: datetime) -> list[TierMember]:
    """What counts for these users and the tiers they have. A user without points is one with none."""
    start = tiers.period_start(now)
    cursor = await connection.execute(
        """
        SELECT u.user_id, u.external_id, m.tier, coalesce(m.held_level, -1) AS held_level, m.since, m.reviewed_at,
               coalesce(CASE %(basis)s WHEN 'balance' THEN a.posted - a.held WHEN 'lifetime_earned' THEN a.lifetime_earned ELSE (
                   SELECT sum(amount)::bigint FROM transfer AS t
                   WHERE t.tenant_id = a.tenant_id AND t.user_account_id = a.account_id AND t.transfer_id >= %(first_id)s
                     AND t.kind IN ('earn', 'grant') AND t.created_at >= %(start)s
                     AND NOT EXISTS (SELECT FROM transfer AS later
                                     WHERE later.tenant_id = t.tenant_id AND later.reverses_transfer_id = t.transfer_id)
               ) END, 0) AS points
        FROM app_user AS u
        LEFT JOIN user_tier AS m ON m.tenant_id = u.tenant_id AND m.user_id = u.user_id
        LEFT JOIN account AS a ON a.tenant_id = u.tenant_id AND a.user_id = u.user_id AND a.currency_id = 'points'
        WHERE u.user_id = ANY(%(users)s) AND u.tenant_id = %(tenant_id)s
        """,
        {
            "basis": tiers.basis.value,
            "first_id": _id_before(start),
            "start": start,
            "users": list(users),
            "tenant_id": tenant_id,
        },
    )
    return [msgspec.convert(row, TierMember) for row in await cursor.fetchall()]


def _id_before(instant: datetime) -> UUID:
    """An id that is lower than all made from a day before the instant on: ids begin with their milliseconds, and clocks differ a little."""
    return UUID(int=max(0, int((instant - timedelta(days=1)).timestamp() * 1000)) << 80)


async def review_tiers(
    connection: Connection, tenant_id: UUID, users: Sequence[UUID], now: datetime, *, known: TieredTenant | None = None
) -> None:
    """Give these users the tiers that their points lead to now, with history and `tier_change`.

    Called after their points have moved, while their accounts are locked. `known` spares reading the set.
    """
    tenant = known or (await tier_sets(connection, [tenant_id])).get(tenant_id)
    if tenant is None or not tenant.tiers.tiers:
        return
    for member in await members_of(connection, tenant_id, tenant.tiers, sorted(users), now=now):
        new = advanced(tenant.tiers, member)
        if new is not None:
            await _move(connection, tenant_id, member, _change(member, new.name, now), decimal_places=tenant.decimal_places)


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


async def end_periods(connection: Connection, now: datetime, limit: int) -> int:
    """End the periods of up to `limit` users of one tenant: they have the tier that their points are worth now. Answers how many.

    What a person decided holds until then. Accounts are locked in the order of their ids, like everywhere.
    """
    cursor = await connection.execute(
        """
        SELECT tenant_id, user_id FROM tier_set AS s JOIN user_tier AS m USING (tenant_id)
        WHERE downgrade = 'at_period_end' AND reviewed_at <= %s - make_interval(hours => 24 * period_days) ORDER BY tenant_id LIMIT %s
        """,
        (now, limit),
    )
    rows = await cursor.fetchall()
    if not rows:
        return 0
    tenant_id = rows[0]["tenant_id"]
    tenant = (await tier_sets(connection, [tenant_id]))[tenant_id]
    users = [row["user_id"] for row in rows if row["tenant_id"] == tenant_id]
    await connection.execute(
        "SELECT FROM account WHERE tenant_id = %s AND user_id = ANY(%s) AND currency_id = 'points' ORDER BY account_id FOR UPDATE",
        (tenant_id, users),
    )
    for member in await members_of(connection, tenant_id, tenant.tiers, users, now=now):
        earned = tenant.tiers.earned(member.points)
        name = None if earned is None else earned.name
        is_due = member.reviewed_at is not None and member.reviewed_at <= tenant.tiers.period_start(now)
        if is_due and name != member.tier:  # not due any more: points have moved it a moment ago
            await _move(connection, tenant_id, member, _change(member, name, now), decimal_places=tenant.decimal_places)
    await connection.execute(
        "UPDATE user_tier SET reviewed_at = %s, held_level = -1 WHERE tenant_id = %s AND user_id = ANY(%s) AND reviewed_at <= %s",
        (now, tenant_id, users, tenant.tiers.period_start(now)),
    )
    return len(users)


async def review_changed_sets(
    connection: Connection, after: tuple[UUID, UUID], now: datetime, limit: int
) -> tuple[int, tuple[UUID, UUID] | None]:
    """Apply sets that were changed to the next `limit` users of one tenant, also to those whose points stand still.

    Answers how many users were looked at, and where the walk goes on: (tenant, user), None when every set has reached its users.
    """
    tenant_id, last = after
    if last == NOBODY:
        cursor = await connection.execute(
            """
            UPDATE tier_set SET reviewing_version = version WHERE tenant_id = (
                SELECT tenant_id FROM tier_set WHERE version <> reviewed_version AND tenant_id > %s ORDER BY tenant_id LIMIT 1)
            RETURNING tenant_id
            """,
            (tenant_id,),
        )
        changed = await cursor.fetchone()
        if changed is None:
            return 0, None
        tenant_id = changed["tenant_id"]
    cursor = await connection.execute(
        "SELECT user_id FROM app_user WHERE tenant_id = %s AND user_id > %s ORDER BY user_id LIMIT %s", (tenant_id, last, limit)
    )
    users = [row["user_id"] for row in await cursor.fetchall()]
    await connection.execute(
        "SELECT FROM account WHERE tenant_id = %s AND user_id = ANY(%s) AND currency_id = 'points' ORDER BY account_id FOR UPDATE",
        (tenant_id, users),
    )
    await review_tiers(connection, tenant_id, users, now)
    if len(users) == limit:
        return len(users), (tenant_id, users[-1])
    # A set that was changed during the walk has a later version than the walk began with, so the next run takes it up again.
    await connection.execute("UPDATE tier_set SET reviewed_version = reviewing_version WHERE tenant_id = %s", (tenant_id,))
    return len(users), (tenant_id, NOBODY)


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
        await _move(connection, tenant_id, member, change, decimal_places=decimal_places)
    await connection.execute(
        """
        INSERT INTO user_tier (tenant_id, user_id, tier, held_level, since, reviewed_at) VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (tenant_id, user_id) DO UPDATE SET held_level = excluded.held_level, reviewed_at = excluded.reviewed_at
        """,
        (tenant_id, member.user_id, choice.tier, choice.held_level, now, now),
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


async def _move(connection: Connection, tenant_id: UUID, member: TierMember, change: TierChange, *, decimal_places: int) -> None:
    await connection.execute(
        """
        WITH moved AS (
            INSERT INTO user_tier (tenant_id, user_id, tier, since, reviewed_at)
            VALUES (%(tenant_id)s, %(user_id)s, %(new_tier)s, %(created_at)s, %(created_at)s)
            ON CONFLICT (tenant_id, user_id) DO UPDATE
                SET tier = excluded.tier, since = excluded.since, reviewed_at = excluded.reviewed_at
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
    notice = Notice(event="tier_change", body=event_body("tier_change", facts, change.created_at), user_id=member.user_id)
    await publish(connection, tenant_id, notice, change.created_at)
