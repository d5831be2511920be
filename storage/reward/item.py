"""Reward items by id. One that is archived stays readable: runs, grants and older versions of configs name it."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain import limits
from domain.errors import InvalidState, NotFound
from domain.reward.item import RewardItem, RewardItemBody
from runtime.postgres import Connection
from storage.limit import check_room

COLUMNS = """item_id, name, description, reward_type, reward_value, payload, fulfilment, currency, amount, version, created_at,
    updated_at, archived_at"""


async def find_item(connection: Connection, tenant_id: UUID, item_id: UUID, *, lock: bool = False) -> RewardItem:
    """The item; NotFound when there is none or it is archived."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM reward_item WHERE tenant_id = %s AND item_id = %s AND archived_at IS NULL"
        + (" FOR UPDATE" if lock else ""),
        (tenant_id, item_id),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("Reward item not found")
    return msgspec.convert(row, RewardItem)


async def items_by_id(
    connection: Connection, tenant_id: UUID, item_ids: Collection[UUID], *, archived: bool = False
) -> dict[UUID, RewardItem]:
    """Those of these items that there are; `archived` ones too if asked."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM reward_item WHERE tenant_id = %s AND item_id = ANY(%s) AND (%s OR archived_at IS NULL)",
        (tenant_id, list(item_ids), archived),
    )
    return {row["item_id"]: msgspec.convert(row, RewardItem) for row in await cursor.fetchall()}


async def list_items(connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[RewardItem]:
    """The tenant's items, newest first, from behind the item `after`."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM reward_item
        WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL AND (%(after)s::uuid IS NULL OR item_id < %(after)s)
        ORDER BY item_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "after": after, "limit": limit},
    )
    return [msgspec.convert(row, RewardItem) for row in await cursor.fetchall()]


async def write_item(
    connection: Connection, tenant_id: UUID, item_id: UUID, body: RewardItemBody, *, credit: tuple[str | None, int | None], now: datetime
) -> RewardItem:
    """Make the item or replace it (then lock it before). What was given keeps what it was given as."""
    await check_room(connection, tenant_id, limits.REWARD_ITEMS, beside=item_id)
    cursor = await connection.execute(
        f"""
        INSERT INTO reward_item (tenant_id, item_id, name, description, reward_type, reward_value, payload, fulfilment, currency, amount,
                                 created_at, updated_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (tenant_id, item_id) DO UPDATE SET name = excluded.name, description = excluded.description,
            reward_type = excluded.reward_type, reward_value = excluded.reward_value, payload = excluded.payload,
            fulfilment = excluded.fulfilment, currency = excluded.currency, amount = excluded.amount, version = reward_item.version + 1,
            updated_at = excluded.updated_at
        RETURNING {COLUMNS}
        """,
        (
            tenant_id,
            item_id,
            body.name,
            body.description,
            body.reward_type,
            Jsonb(body.reward_value),
            Jsonb(body.payload),
            Jsonb(msgspec.to_builtins(body.fulfilment)),
            *credit,
            now,
            now,
        ),
    )
    return msgspec.convert(await cursor.fetchone(), RewardItem)


async def archive_item(connection: Connection, tenant_id: UUID, item_id: UUID, now: datetime) -> None:
    """Put an item away; NotFound, or InvalidState while a config gives it."""
    await find_item(connection, tenant_id, item_id, lock=True)
    cursor = await connection.execute(
        """
        SELECT name FROM reward_config
        WHERE tenant_id = %s AND archived_at IS NULL AND jsonb_path_exists(tiers, '$[*].item_ids[*] ? (@ == $item)', %s) LIMIT 1
        """,
        (tenant_id, Jsonb({"item": str(item_id)})),
    )
    row = await cursor.fetchone()
    if row is not None:
        raise InvalidState(f"Reward config '{row['name']}' uses this item")
    await connection.execute(
        "UPDATE reward_item SET archived_at = %s, updated_at = %s WHERE tenant_id = %s AND item_id = %s", (now, now, tenant_id, item_id)
    )
