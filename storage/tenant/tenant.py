"""Tenants and the people of their console."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain import limits
from domain.points.ledger import POINTS_CURRENCY
from domain.tenant.tenant import Tenant, TenantStatus
from runtime.ids import new_id
from runtime.postgres import Connection
from storage.limit import check_room
from storage.points.currency import add_currency
from storage.rules_lock import change_instant
from storage.walk import readable

COLUMNS = "tenant_id, name, status, org_id, timezone, cors_origins, settings, is_demo, created_at, updated_at, rate_limit_per_second"


async def create_tenant(connection: Connection, tenant: Tenant) -> None:
    """Keep a new tenant with its currency `points`. Raises psycopg's UniqueViolation when its `org_id` is taken."""
    await connection.execute(
        f"INSERT INTO tenant ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            tenant.tenant_id,
            tenant.name,
            tenant.status,
            tenant.org_id,
            tenant.timezone,
            list(tenant.cors_origins),
            Jsonb(msgspec.to_builtins(tenant.settings)),
            tenant.is_demo,
            tenant.created_at,
            tenant.updated_at,
            tenant.rate_limit_per_second,
        ),
    )
    await add_currency(connection, tenant.tenant_id, POINTS_CURRENCY, tenant.created_at)


async def find_tenant(connection: Connection, tenant_id: UUID) -> Tenant | None:
    """The tenant of that id, or None."""
    row = await (await connection.execute(f"SELECT {COLUMNS} FROM tenant WHERE tenant_id = %s", (tenant_id,))).fetchone()
    return None if row is None else msgspec.convert(row, Tenant)


async def is_suspended(connection: Connection, tenant_id: UUID) -> bool:
    """Whether the tenant is suspended: nothing new begins for it, what is under way goes on."""
    cursor = await connection.execute("SELECT FROM tenant WHERE tenant_id = %s AND status = 'suspended'", (tenant_id,))
    return await cursor.fetchone() is not None


async def lock_tenant(connection: Connection, tenant_id: UUID) -> Tenant | None:
    """The tenant, locked until the end of the present transaction, or None."""
    row = await (await connection.execute(f"SELECT {COLUMNS} FROM tenant WHERE tenant_id = %s FOR NO KEY UPDATE", (tenant_id,))).fetchone()
    return None if row is None else msgspec.convert(row, Tenant)


async def find_demo_tenant(connection: Connection) -> Tenant | None:
    """The demo's tenant, or None before the first start with it."""
    row = await (await connection.execute(f"SELECT {COLUMNS} FROM tenant WHERE is_demo ORDER BY tenant_id LIMIT 1")).fetchone()
    return None if row is None else msgspec.convert(row, Tenant)


async def list_tenants(connection: Connection, *, after: UUID | None, limit: int) -> list[Tenant]:
    """Every tenant, newest first, from behind the tenant `after`."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM tenant WHERE %s::uuid IS NULL OR tenant_id < %s ORDER BY tenant_id DESC LIMIT %s", (after, after, limit)
    )
    return readable(await cursor.fetchall(), lambda row: msgspec.convert(row, Tenant))


async def update_tenant(connection: Connection, tenant_id: UUID, changes: dict[str, Any], now: datetime) -> Tenant:
    """Change the given columns of a tenant that exists; the tenant as it is then. The caller chose the names of the columns.

    A suspension signs the people of its console out. A change of the timezone makes the scoring pumps read their rules again: days,
    weeks and months of caps are of that timezone.
    """
    values = {name: Jsonb(value) if name == "settings" else value for name, value in changes.items()}
    assignments = "".join(f"{name} = %s, " for name in values)
    cursor = await connection.execute(
        f"UPDATE tenant SET {assignments}updated_at = %s WHERE tenant_id = %s RETURNING {COLUMNS}", (*values.values(), now, tenant_id)
    )
    tenant = msgspec.convert(await cursor.fetchone(), Tenant)
    if tenant.status is not TenantStatus.ACTIVE:
        await connection.execute("DELETE FROM console_session WHERE tenant_id = %s", (tenant_id,))
    if "timezone" in changes:
        await change_instant(connection, tenant_id, asked_for=True)
    return tenant


async def lock_demo(connection: Connection) -> None:
    """Let one process at a time look for the demo tenant and make it, until the end of the present transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock(7204, 0)")


async def insert_console_user(
    connection: Connection, tenant_id: UUID, *, email: str, password_hash: str, role: str, now: datetime, is_invited: bool = False
) -> None:
    """Let a person sign in to the tenant's console. Raises psycopg's UniqueViolation when the address is taken.

    The password of somebody who `is_invited` holds for some days, in which the person chooses its own.
    """
    until = now + timedelta(days=limits.FIRST_PASSWORD_DAYS.value) if is_invited else None
    await check_room(connection, tenant_id, limits.CONSOLE_USERS)
    await connection.execute(
        """
        INSERT INTO console_user (tenant_id, console_user_id, email, password_hash, role, created_at, first_password_until)
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        """,
        (tenant_id, new_id(), email, password_hash, role, now, until),
    )
