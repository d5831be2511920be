"""Declared event types, and the number by which processes learn that they changed."""

from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain import limits
from domain.event.event_type import EventType
from runtime.postgres import Connection
from storage.limit import check_room

COLUMNS = "name, description, schema, server_only, is_system, created_at, updated_at"


async def find_type(connection: Connection, tenant_id: UUID, name: str) -> EventType | None:
    """The declared type of that name, or None."""
    cursor = await connection.execute(f"SELECT {COLUMNS} FROM event_type WHERE tenant_id = %s AND name = %s", (tenant_id, name))
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, EventType)


async def list_types(connection: Connection, tenant_id: UUID, *, after: str | None, limit: int) -> list[EventType]:
    """The tenant's types by name, from behind the name `after`."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM event_type WHERE tenant_id = %s AND (%s::text IS NULL OR name > %s) ORDER BY name LIMIT %s",
        (tenant_id, after, after, limit),
    )
    return [msgspec.convert(row, EventType) for row in await cursor.fetchall()]


async def begin_change(connection: Connection, tenant_id: UUID) -> None:
    """Let one change of the tenant's types happen at a time, and make every process read them again within a second of the commit."""
    await connection.execute("UPDATE tenant SET event_types_version = event_types_version + 1 WHERE tenant_id = %s", (tenant_id,))


async def insert_type(connection: Connection, tenant_id: UUID, declared: EventType) -> None:
    """Keep a new type. Raises psycopg's UniqueViolation when the name is taken."""
    await check_room(connection, tenant_id, limits.EVENT_TYPES, beside=declared.name)
    await connection.execute(
        f"INSERT INTO event_type (tenant_id, {COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            tenant_id,
            declared.name,
            declared.description,
            _json(declared.schema),
            declared.server_only,
            declared.is_system,
            declared.created_at,
            declared.updated_at,
        ),
    )


async def update_type(connection: Connection, tenant_id: UUID, declared: EventType) -> None:
    """Replace what a type says; its name stays."""
    await connection.execute(
        "UPDATE event_type SET description = %s, schema = %s, server_only = %s, updated_at = %s WHERE tenant_id = %s AND name = %s",
        (declared.description, _json(declared.schema), declared.server_only, declared.updated_at, tenant_id, declared.name),
    )


async def delete_type(connection: Connection, tenant_id: UUID, name: str) -> None:
    """Forget a type; events of it that were accepted stay."""
    await connection.execute("DELETE FROM event_type WHERE tenant_id = %s AND name = %s", (tenant_id, name))


def _json(schema: dict[str, Any] | None) -> Jsonb | None:
    return None if schema is None else Jsonb(schema)
