"""API keys: kept as hashes, found by their public id."""

import os
from datetime import datetime
from uuid import UUID

import msgspec

from domain import limits
from domain.tenant.credential import RANDOM_BYTES, KeyRole, compose_key, parse_key
from domain.tenant.tenant import TenantAccess
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, count_changed
from storage.limit import check_room


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as its tenant may see it."""

    tenant_id: UUID
    key_id: UUID
    public_id: str
    name: str
    role: KeyRole
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class KeyAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What proves a key, with its tenant."""

    key_id: UUID
    public_id: str
    secret_hash: bytes
    role: KeyRole
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    tenant: TenantAccess


ACCESS_COLUMNS = "tenant_id, status, cors_origins, settings - 'metadata' AS settings, event_types_version, rate_limit_per_second"
TOKEN_COLUMNS = f"""{ACCESS_COLUMNS},
    (SELECT max(erased_at) FROM erased_name AS gone WHERE gone.tenant_id = tenant.tenant_id) AS last_erased_at"""
KEY_COLUMNS = "tenant_id, key_id, public_id, name, role, created_at, expires_at, revoked_at, last_used_at"


class MadeKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key with its text, which nobody can find out later."""

    key: ApiKey
    text: str


async def create_key(connection: Connection, tenant_id: UUID, *, name: str, role: KeyRole, expires_at: datetime | None = None) -> MadeKey:
    """Make a key and keep its hash. The public id is random; that two are equal (1 in 2.8 million million) ends in UniqueViolation."""
    text = compose_key(os.urandom(RANDOM_BYTES))
    parsed = parse_key(text)
    if parsed is None:
        raise AssertionError("a new key does not parse")
    key = ApiKey(
        tenant_id=tenant_id, key_id=new_id(), public_id=parsed.public_id, name=name, role=role, created_at=utc_now(), expires_at=expires_at
    )
    await insert_key(connection, tenant_id, key, parsed.secret_hash)
    return MadeKey(key=key, text=text)


async def insert_key(connection: Connection, tenant_id: UUID, key: ApiKey, secret_hash: bytes) -> None:
    """Keep a key whose text the caller knows."""
    await check_room(connection, tenant_id, limits.API_KEYS)
    await connection.execute(
        """
        INSERT INTO api_key (tenant_id, key_id, public_id, secret_hash, name, role, created_at, expires_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (tenant_id, key.key_id, key.public_id, secret_hash, key.name, key.role.value, key.created_at, key.expires_at),
    )


async def find_key_access(connection: Connection, public_id: str) -> KeyAccess | None:
    """The key of that public id, in whatever tenant, with its tenant's present state. The one query that is not told a tenant."""
    cursor = await connection.execute(
        """
        SELECT k.key_id, k.public_id, k.secret_hash, k.role, k.expires_at, k.revoked_at, k.last_used_at,
               json_build_object('tenant_id', t.tenant_id, 'status', t.status, 'cors_origins', t.cors_origins,
                                 'settings', t.settings - 'metadata', 'event_types_version', t.event_types_version,
                                 'rate_limit_per_second', t.rate_limit_per_second) AS tenant
        FROM api_key AS k JOIN tenant AS t USING (tenant_id) WHERE k.public_id = %s
        """,
        (public_id,),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, KeyAccess)


async def find_tenant_access(connection: Connection, tenant_id: UUID) -> TenantAccess | None:
    """What requests need to know of a tenant, or None when there is none of that id."""
    cursor = await connection.execute(
        f"SELECT {TOKEN_COLUMNS} FROM tenant WHERE tenant_id = %s",
        (tenant_id,),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, TenantAccess)


async def find_tenant_access_by_org(connection: Connection, org_id: str) -> TenantAccess | None:
    """The tenant whose `org_id` equals a token's claim, or None."""
    cursor = await connection.execute(
        f"SELECT {TOKEN_COLUMNS} FROM tenant WHERE org_id = %s",
        (org_id,),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, TenantAccess)


async def origin_is_allowed_somewhere(connection: Connection, origin: str) -> bool:
    """Whether any active tenant lists the origin (a preflight names no tenant)."""
    cursor = await connection.execute(
        "SELECT 1 AS found FROM tenant WHERE status = 'active' AND cors_origins && %s::text[] LIMIT 1", ([origin, "*"],)
    )
    return await cursor.fetchone() is not None


async def list_keys(connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[ApiKey]:
    """The tenant's keys, newest first, from behind the key `after`."""
    cursor = await connection.execute(
        f"SELECT {KEY_COLUMNS} FROM api_key WHERE tenant_id = %s AND (%s::uuid IS NULL OR key_id < %s) ORDER BY key_id DESC LIMIT %s",
        (tenant_id, after, after, limit),
    )
    return [msgspec.convert(row, ApiKey) for row in await cursor.fetchall()]


async def revoke_key(connection: Connection, tenant_id: UUID, key_id: UUID, now: datetime) -> bool:
    """Revoke a key from `now` on; false when the tenant has no such key. Revoking twice keeps the first instant."""
    changed = await count_changed(
        connection,
        "UPDATE api_key SET revoked_at = coalesce(revoked_at, %s) WHERE tenant_id = %s AND key_id = %s",
        (now, tenant_id, key_id),
    )
    return changed == 1


async def touch_key(connection: Connection, tenant_id: UUID, key_id: UUID, now: datetime) -> None:
    """Note that the key was used; coarse, so that a busy key is not a busy row."""
    await connection.execute(
        "UPDATE api_key SET last_used_at = %s WHERE tenant_id = %s AND key_id = %s",
        (now, tenant_id, key_id),
    )
