"""A table that has just grown is known to the planner at once, not when autovacuum comes by."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest_asyncio

from loops.statistics import run_statistics
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from storage.payout.page import MAKE_ACCOUNTS
from storage.platform.statistics import analyse_grown

PATIENCE_SECONDS = 60.0
USERS = 5000


@pytest_asyncio.fixture
async def unknown(pool: Pool) -> AsyncIterator[Pool]:
    """A database whose accounts the planner has never seen; autovacuum stays away."""
    async with pool.connection() as connection:
        await connection.execute("ALTER TABLE account SET (autovacuum_enabled = off)")
        await connection.execute("SELECT pg_stat_reset_single_table_counters('account'::regclass)")
        await connection.execute("DELETE FROM pg_statistic WHERE starelid = 'account'::regclass")
    yield pool
    async with pool.connection() as connection:
        await connection.execute("ALTER TABLE account RESET (autovacuum_enabled)")


async def fill(pool: Pool) -> UUID:
    """Accounts of new users, as the first pages of a payout make them."""
    tenant_id, now = new_id(), utc_now()
    async with transaction(pool) as connection:
        await connection.execute(
            "INSERT INTO tenant (tenant_id, name, created_at, updated_at) VALUES (%s, 'T', %s, %s)", (tenant_id, now, now)
        )
        await connection.execute(
            "INSERT INTO currency (tenant_id, currency_id, name, issue_account_id, redemption_account_id, created_at)"
            " VALUES (%s, 'points', 'Points', %s, %s, %s)",
            (tenant_id, new_id(), new_id(), now),
        )
        await connection.execute(
            "WITH users AS (INSERT INTO app_user (tenant_id, user_id, external_id, created_at, updated_at)"
            " SELECT %(tenant)s, uuidv7(), 'u' || n, %(now)s, %(now)s FROM generate_series(1, %(users)s) AS n RETURNING user_id)"
            " INSERT INTO account (tenant_id, account_id, user_id, currency_id, created_at)"
            " SELECT %(tenant)s, uuidv7(), user_id, 'points', %(now)s FROM users",
            {"tenant": tenant_id, "now": now, "users": USERS},
        )
        await connection.execute("SELECT pg_stat_force_next_flush()")
    return tenant_id


async def plan_of_page(pool: Pool, tenant_id: UUID) -> str:
    """How the accounts of a payout's page would be made."""
    named: dict[str, Any] = {"tenant_id": tenant_id, "run_id": new_id(), "after": 1000, "last": 2000, "now": utc_now()}
    async with transaction(pool) as connection:
        cursor = await connection.execute("EXPLAIN " + MAKE_ACCOUNTS, named | {"wallet_tiers": [0], "wallets": ["points"]})
        return "\n".join(row["QUERY PLAN"] for row in await cursor.fetchall())


async def analysed(pool: Pool) -> bool:
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT EXISTS (SELECT FROM pg_statistic WHERE starelid = 'account'::regclass) AS known")
        row = await cursor.fetchone()
    return bool(row and row["known"])


async def test_a_table_that_has_grown_is_analysed_once_and_its_plans_use_the_right_index(unknown: Pool) -> None:
    assert "account" not in await analyse_grown(unknown)
    tenant_id = await fill(unknown)
    assert "account" in await analyse_grown(unknown)
    plan = await plan_of_page(unknown, tenant_id)
    assert "uq_account_tenant_id_user_id_currency_id" in plan
    assert "ix_account_next_expiry" not in plan
    await fill(unknown)
    assert "account" not in await analyse_grown(unknown)


async def test_the_worker_looks_by_itself(unknown: Pool) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(run_statistics(unknown, stop, interval_seconds=0.05))
    await fill(unknown)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await analysed(unknown):
            await asyncio.sleep(0.02)
        stop.set()
        await running
