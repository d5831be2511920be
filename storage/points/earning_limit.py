"""What earning rules have given: by user and period for their caps, and in all for their budgets. Points in 1/10 000.

A user's events are all scored by one partition, whose cursor is locked: its rows of `earning_usage` have one writer at a time.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec
from psycopg.rows import tuple_row

from domain.points.earning_limit import UsageKey, UserFacts
from runtime.postgres import Connection


class BudgetAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule would give in this transaction, out of a budget in which it counts in multiples of `unit`."""

    tenant_id: UUID
    rule_id: UUID
    points: int
    budget: int
    unit: int


async def facts_of(connection: Connection, users: Sequence[tuple[UUID, UUID]]) -> dict[UUID, UserFacts]:
    """What segments look at of these (tenant, user)s, by user."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT user_id, attributes, tier FROM unnest(%s::uuid[], %s::uuid[]) AS given (tenant_id, user_id)
            JOIN app_user USING (tenant_id, user_id) LEFT JOIN user_tier USING (tenant_id, user_id)
            """,
            ([each[0] for each in users], [each[1] for each in users]),
        )
        return {row[0]: UserFacts(row[1], row[2]) for row in await cursor.fetchall()}


async def usage_of(connection: Connection, tenants: Mapping[UUID, UUID], keys: Sequence[UsageKey]) -> dict[UsageKey, int]:
    """What was given under these keys; a key without a row is left out. `tenants` by rule."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT rule_id, user_id, period, usage.given
            FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[]) AS wanted (tenant_id, rule_id, user_id, period)
            JOIN earning_usage AS usage USING (tenant_id, rule_id, user_id, period)
            """,
            ([tenants[key[0]] for key in keys], [key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys]),
        )
        return {(row[0], row[1], row[2]): row[3] for row in await cursor.fetchall()}


async def add_usage(connection: Connection, tenants: Mapping[UUID, UUID], added: Mapping[UsageKey, int]) -> None:
    """Note what was given more. `tenants` by rule."""
    keys = list(added)
    await connection.execute(
        """
        INSERT INTO earning_usage (tenant_id, rule_id, user_id, period, given)
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::bigint[])
        ON CONFLICT (tenant_id, rule_id, user_id, period) DO UPDATE
        SET given = earning_usage.given + excluded.given, changed_at = now()
        """,
        (
            [tenants[key[0]] for key in keys],
            [key[0] for key in keys],
            [key[1] for key in keys],
            [key[2] for key in keys],
            list(added.values()),
        ),
    )


async def budgets_spent(connection: Connection, tenant_id: UUID, rule_ids: Sequence[UUID]) -> dict[UUID, int]:
    """What was spent of these rules' budgets, by rule."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "SELECT rule_id, spent FROM earning_budget WHERE tenant_id = %s AND rule_id = ANY(%s)", (tenant_id, list(rule_ids))
        )
        return dict(await cursor.fetchall())


async def spend_budgets(connection: Connection, asked: Sequence[BudgetAsked]) -> dict[UUID, int]:
    """Take from each budget what is asked, or what is left in it: the points granted, by rule; an exhausted budget is left out.

    One entry a rule. The rows stay locked until commit, in the order of the rules, so that pumps neither deadlock nor give the same
    rest twice; an exhausted budget is not waited for.
    """
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            WITH asked AS (
                SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[])
                     AS asked (tenant_id, rule_id, points, budget, unit)
            ), locked AS MATERIALIZED (
                SELECT tenant_id, rule_id, points, budget, unit FROM asked JOIN earning_budget AS kept USING (tenant_id, rule_id)
                WHERE kept.spent < asked.budget ORDER BY rule_id FOR UPDATE OF kept
            )
            UPDATE earning_budget AS kept
            SET spent = kept.spent + least(locked.points, (locked.budget - kept.spent) / locked.unit * locked.unit)
            FROM locked
            WHERE kept.tenant_id = locked.tenant_id AND kept.rule_id = locked.rule_id AND kept.spent < locked.budget
            RETURNING kept.rule_id, new.spent - old.spent
            """,
            (
                [each.tenant_id for each in asked],
                [each.rule_id for each in asked],
                [each.points for each in asked],
                [each.budget for each in asked],
                [each.unit for each in asked],
            ),
        )
        return dict(await cursor.fetchall())
