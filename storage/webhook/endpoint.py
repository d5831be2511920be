"""Webhook endpoints and their secrets, which are sealed before they get here."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg import sql

from domain import limits
from domain.errors import InvalidState, NotFound
from domain.webhook.webhook import DEFAULT_RATE_PER_SECOND, DEFAULT_RETRY_DELAYS, DEFAULT_TIMEOUT_SECONDS, Endpoint
from runtime.ids import new_id
from runtime.postgres import Connection
from storage.limit import check_room
from storage.webhook.delivery import cancel_due, hold_due

SECRET_PURPOSE = "webhook secret"  # noqa: S105 - names what is sealed

COLUMNS = """endpoint_id, url, events, enabled, disabled_reason, description, rate_per_second, timeout_seconds, retry_delays_seconds,
    created_at, updated_at"""


class NewEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint is made of."""

    url: str
    events: list[str] = msgspec.field(default_factory=lambda: ["*"])
    enabled: bool = True
    description: str | None = None
    rate_per_second: float = DEFAULT_RATE_PER_SECOND
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    retry_delays_seconds: list[float] = msgspec.field(default_factory=lambda: list(DEFAULT_RETRY_DELAYS))


async def create_endpoint(connection: Connection, tenant_id: UUID, new: NewEndpoint, sealed: bytes, *, now: datetime) -> Endpoint:
    """Keep a new endpoint with its sealed secret."""
    await check_room(connection, tenant_id, limits.WEBHOOK_ENDPOINTS)
    endpoint_id = new_id()
    cursor = await connection.execute(
        f"""
        INSERT INTO webhook_endpoint (tenant_id, endpoint_id, url, events, enabled, description, rate_per_second, timeout_seconds,
            retry_delays_seconds, created_at, updated_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING {COLUMNS}
        """,
        (
            tenant_id,
            endpoint_id,
            new.url,
            new.events,
            new.enabled,
            new.description,
            new.rate_per_second,
            new.timeout_seconds,
            new.retry_delays_seconds,
            now,
            now,
        ),
    )
    row = await cursor.fetchone()
    await _insert_secret(connection, tenant_id, endpoint_id, sealed, now=now)
    return msgspec.convert(row, Endpoint)


async def _insert_secret(connection: Connection, tenant_id: UUID, endpoint_id: UUID, sealed: bytes, *, now: datetime) -> None:
    await connection.execute(
        "INSERT INTO webhook_secret (tenant_id, secret_id, endpoint_id, sealed, created_at) VALUES (%s, %s, %s, %s, %s)",
        (tenant_id, new_id(), endpoint_id, sealed, now),
    )


async def find_endpoint(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> Endpoint:
    """The endpoint; raises NotFound, also for an archived one."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM webhook_endpoint WHERE tenant_id = %s AND endpoint_id = %s AND archived_at IS NULL",
        (tenant_id, endpoint_id),
    )
    return _endpoint(await cursor.fetchone())


async def delays_of(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> tuple[float, ...]:
    """The waits before an endpoint's retries, in seconds, also of an archived one."""
    cursor = await connection.execute(
        "SELECT retry_delays_seconds FROM webhook_endpoint WHERE tenant_id = %s AND endpoint_id = %s", (tenant_id, endpoint_id)
    )
    row = await cursor.fetchone()
    return DEFAULT_RETRY_DELAYS if row is None else tuple(row["retry_delays_seconds"])


def _endpoint(row: dict[str, Any] | None) -> Endpoint:
    if row is None:
        raise NotFound("Webhook endpoint not found")
    return msgspec.convert(row, Endpoint)


async def list_endpoints(connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[Endpoint]:
    """A page of the tenant's endpoints, the oldest first."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM webhook_endpoint
        WHERE tenant_id = %s AND archived_at IS NULL AND endpoint_id > %s ORDER BY endpoint_id LIMIT %s
        """,
        (tenant_id, after or UUID(int=0), limit),
    )
    return msgspec.convert(await cursor.fetchall(), list[Endpoint])


async def update_endpoint(
    connection: Connection, tenant_id: UUID, endpoint_id: UUID, changes: dict[str, Any], *, now: datetime
) -> Endpoint:
    """Change the given columns; raises NotFound. Another rate counts from now on, whatever turns the old one has given out."""
    if "rate_per_second" in changes:
        changes = {**changes, "next_turn_at": None}
    assignments = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in [*changes, "updated_at"]]
    query = sql.SQL(
        "UPDATE webhook_endpoint SET {} WHERE tenant_id = %(tenant_id)s AND endpoint_id = %(endpoint_id)s AND archived_at IS NULL"
        " RETURNING {}"
    ).format(sql.SQL(", ").join(assignments), sql.SQL(COLUMNS))
    values = {**changes, "updated_at": now, "tenant_id": tenant_id, "endpoint_id": endpoint_id}
    cursor = await connection.execute(query, values)
    return _endpoint(await cursor.fetchone())


async def disable_endpoint(connection: Connection, tenant_id: UUID, endpoint_id: UUID, reason: str, *, now: datetime) -> Endpoint:
    """Send nothing more to this endpoint until it is enabled again; what is due is held. Raises NotFound."""
    await hold_due(connection, tenant_id, endpoint_id, now)
    return await update_endpoint(connection, tenant_id, endpoint_id, {"enabled": False, "disabled_reason": reason}, now=now)


async def archive_endpoint(connection: Connection, tenant_id: UUID, endpoint_id: UUID, now: datetime) -> None:
    """Take the endpoint away; its deliveries stay for the record, those that are due are cancelled. Raises NotFound."""
    await cancel_due(connection, tenant_id, endpoint_id, now)
    await update_endpoint(
        connection, tenant_id, endpoint_id, {"enabled": False, "disabled_reason": "archived", "archived_at": now}, now=now
    )


async def rotate_secret(
    connection: Connection, tenant_id: UUID, endpoint_id: UUID, sealed: bytes, *, overlap: timedelta, now: datetime
) -> None:
    """Make this the present secret; the one before signs along for the overlap. Raises NotFound, and InvalidState during an overlap."""
    cursor = await connection.execute(
        "SELECT 1 FROM webhook_endpoint WHERE tenant_id = %s AND endpoint_id = %s AND archived_at IS NULL FOR UPDATE",
        (tenant_id, endpoint_id),
    )
    if await cursor.fetchone() is None:
        raise NotFound("Webhook endpoint not found")
    if len(await live_secrets(connection, tenant_id, endpoint_id, now)) > 1 and overlap > timedelta(0):
        raise InvalidState("The overlap of the last rotation has not ended", present="rotating")
    await connection.execute(
        """
        UPDATE webhook_secret SET expires_at = least(coalesce(expires_at, %(end)s), %(end)s)
        WHERE tenant_id = %(tenant_id)s AND endpoint_id = %(endpoint_id)s
        """,
        {"end": now + overlap, "tenant_id": tenant_id, "endpoint_id": endpoint_id},
    )
    await _insert_secret(connection, tenant_id, endpoint_id, sealed, now=now)


async def live_secrets(connection: Connection, tenant_id: UUID, endpoint_id: UUID, now: datetime) -> list[bytes]:
    """The sealed secrets that sign now, the newest first: two during a rotation."""
    cursor = await connection.execute(
        """
        SELECT sealed FROM webhook_secret
        WHERE tenant_id = %s AND endpoint_id = %s AND (expires_at IS NULL OR expires_at > %s)
        ORDER BY expires_at DESC NULLS FIRST, created_at DESC LIMIT 2
        """,
        (tenant_id, endpoint_id, now),
    )
    return [row["sealed"] for row in await cursor.fetchall()]


async def fulfilment_endpoint(connection: Connection, tenant_id: UUID, endpoint_id: UUID | None) -> Endpoint | None:
    """The endpoint whose answers move a redemption: the reward's own, else the oldest enabled one that asks for `reward_redeemed`."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM webhook_endpoint
        WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL
          AND CASE WHEN %(endpoint_id)s::uuid IS NULL THEN enabled AND events && ARRAY['*', 'reward_redeemed']
                   ELSE endpoint_id = %(endpoint_id)s END
        ORDER BY created_at, endpoint_id LIMIT 1
        """,
        {"tenant_id": tenant_id, "endpoint_id": endpoint_id},
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, Endpoint)


async def secrets_to_seal_again(connection: Connection, sealed_with: bytes, limit: int) -> list[tuple[UUID, UUID, bytes]]:
    """Kept secrets of every tenant that do not begin with this prefix, locked: tenant, id and what is kept."""
    cursor = await connection.execute(
        "SELECT tenant_id, secret_id, sealed FROM webhook_secret WHERE substr(sealed, 1, %s) <> %s"
        " ORDER BY tenant_id, secret_id LIMIT %s FOR UPDATE",
        (len(sealed_with), sealed_with, limit),
    )
    return [(row["tenant_id"], row["secret_id"], bytes(row["sealed"])) for row in await cursor.fetchall()]


async def count_secrets_to_seal_again(connection: Connection, sealed_with: bytes) -> int:
    """How many kept secrets of all tenants do not begin with this prefix."""
    cursor = await connection.execute(
        "SELECT count(*) AS secrets FROM webhook_secret WHERE substr(sealed, 1, %s) <> %s", (len(sealed_with), sealed_with)
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row["secrets"])


async def seal_again(connection: Connection, tenant_id: UUID, secret_id: UUID, sealed: bytes) -> None:
    """Keep the same secret under another seal."""
    await connection.execute(
        "UPDATE webhook_secret SET sealed = %s WHERE tenant_id = %s AND secret_id = %s", (sealed, tenant_id, secret_id)
    )
