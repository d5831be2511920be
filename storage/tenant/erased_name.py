"""Whose tokens are worth nothing any more: users who were erased, known by a hash of their external ids as long as a token may live."""

import hashlib
from datetime import datetime
from uuid import UUID

from runtime.postgres import Connection, count_changed


def _hash(tenant_id: UUID, external_id: str) -> bytes:
    return hashlib.sha256(tenant_id.bytes + external_id.encode()).digest()


async def keep_erased_name(connection: Connection, tenant_id: UUID, external_id: str, now: datetime) -> None:
    """From now on, tokens that this user had are refused."""
    await connection.execute(
        """
        INSERT INTO erased_name (tenant_id, name_hash, erased_at) VALUES (%s, %s, %s)
        ON CONFLICT (tenant_id, name_hash) DO UPDATE SET erased_at = excluded.erased_at
        """,
        (tenant_id, _hash(tenant_id, external_id), now),
    )


async def erased_at(connection: Connection, tenant_id: UUID, external_id: str) -> datetime | None:
    """When the user of that external id was erased lately, or None."""
    cursor = await connection.execute(
        "SELECT erased_at FROM erased_name WHERE tenant_id = %s AND name_hash = %s", (tenant_id, _hash(tenant_id, external_id))
    )
    row = await cursor.fetchone()
    return None if row is None else row["erased_at"]


async def forget_erased_names(connection: Connection, before: datetime, limit: int) -> int:
    """Forget up to `limit` of those erased before this instant; how many."""
    return await count_changed(
        connection,
        """
        DELETE FROM erased_name WHERE (tenant_id, name_hash) IN (
            SELECT tenant_id, name_hash FROM erased_name WHERE erased_at < %s LIMIT %s)
        """,
        (before, limit),
    )
