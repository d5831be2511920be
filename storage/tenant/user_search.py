"""Users as people look for them: by the beginning of the external id, or the newest. Each answer is one walk along an index."""

from typing import Any
from uuid import UUID

from runtime.postgres import Connection

SHOWN = "user_id, external_id, display_name, email, created_at"
LAST = chr(0x10FFFF)


async def users_beginning_with(connection: Connection, tenant_id: UUID, beginning: str, *, after: str, limit: int) -> list[dict[str, Any]]:
    """Users whose external id begins so, in the order of their ids, from behind `after`."""
    cursor = await connection.execute(
        f"""
        SELECT {SHOWN} FROM app_user
        WHERE tenant_id = %(tenant_id)s AND external_id >= %(beginning)s AND external_id < %(end)s AND external_id > %(after)s
        ORDER BY external_id LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "beginning": beginning, "end": beginning + LAST, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def newest_users(connection: Connection, tenant_id: UUID, *, before: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Users by when they were made, the newest first, from behind the user `before`."""
    cursor = await connection.execute(
        f"""
        SELECT {SHOWN} FROM app_user WHERE tenant_id = %(tenant_id)s AND (%(before)s::uuid IS NULL OR user_id < %(before)s)
        ORDER BY user_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "before": before, "limit": limit},
    )
    return await cursor.fetchall()
