"""The users of a tenant: made by Identify, or by the first event that names them."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET
from psycopg.types.json import Jsonb

from domain.tenant.user import Identify, User
from runtime.ids import new_id
from runtime.postgres import Connection

PROFILE_CHANNEL = "laurel_profile"
"""Told `<tenant>:<external id>` when what boards show of a user has changed: the profile caches listen."""

COLUMNS = "user_id, external_id, display_name, email, avatar_url, attributes, created_at, updated_at"


async def find_user(connection: Connection, tenant_id: UUID, external_id: str) -> User | None:
    """The tenant's user of that external id, or None."""
    cursor = await connection.execute(f"SELECT {COLUMNS} FROM app_user WHERE tenant_id = %s AND external_id = %s", (tenant_id, external_id))
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, User)


async def users_named(connection: Connection, tenant_id: UUID, external_ids: Collection[str]) -> dict[str, UUID]:
    """The ids of those of these users that there are, by their external ids."""
    cursor = await connection.execute(
        "SELECT external_id, user_id FROM app_user WHERE tenant_id = %s AND external_id = ANY(%s)", (tenant_id, list(external_ids))
    )
    return {row["external_id"]: row["user_id"] for row in await cursor.fetchall()}


IDENTIFY = f"""
WITH before AS (
    SELECT display_name, avatar_url FROM app_user WHERE tenant_id = %(tenant_id)s AND external_id = %(external_id)s
), kept AS (
    INSERT INTO app_user AS known (tenant_id, user_id, external_id, display_name, email, avatar_url, attributes, created_at, updated_at)
    VALUES (%(tenant_id)s, %(user_id)s, %(external_id)s, %(display_name)s, %(email)s, %(avatar_url)s, %(attributes)s, %(now)s, %(now)s)
    ON CONFLICT (tenant_id, external_id) DO UPDATE SET
        display_name = CASE WHEN %(has_display_name)s THEN excluded.display_name ELSE known.display_name END,
        email = CASE WHEN %(has_email)s THEN excluded.email ELSE known.email END,
        avatar_url = CASE WHEN %(has_avatar_url)s THEN excluded.avatar_url ELSE known.avatar_url END,
        attributes = (known.attributes || excluded.attributes) - %(removed)s::text[],
        updated_at = excluded.updated_at
    RETURNING {COLUMNS}, xmax = 0 AS created
)
SELECT kept.*, (kept.display_name, kept.avatar_url) IS DISTINCT FROM (before.display_name, before.avatar_url) AS is_seen_otherwise
FROM kept LEFT JOIN before ON true
"""


async def identify(connection: Connection, tenant_id: UUID, external_id: str, body: Identify, *, now: datetime) -> tuple[User, bool]:
    """Make the user or merge what is given into it; answers the user and whether it is new."""
    profile = {"display_name": body.display_name, "email": body.email, "avatar_url": body.avatar_url}
    parameters: dict[str, Any] = {name: None if value is UNSET else value for name, value in profile.items()}
    parameters |= {f"has_{name}": value is not UNSET for name, value in profile.items()}
    parameters["attributes"] = Jsonb({name: value for name, value in body.attributes.items() if value is not None})
    parameters["removed"] = [name for name, value in body.attributes.items() if value is None]
    parameters |= {"tenant_id": tenant_id, "external_id": external_id, "user_id": new_id(), "now": now}
    cursor = await connection.execute(IDENTIFY, parameters)
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("an upsert returned no row")
    created, is_seen_otherwise = row.pop("created"), row.pop("is_seen_otherwise")
    if is_seen_otherwise:
        await connection.execute("SELECT pg_notify(%s, %s)", (PROFILE_CHANNEL, f"{tenant_id}:{external_id}"))
    return msgspec.convert(row, User), created
