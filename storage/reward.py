"""The rewards store: rewards by id and slug, and their stock."""

from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.types.json import Jsonb

from domain.error import AlreadyExists, OutOfStock
from domain.reward import Price, Reward, RewardBody
from runtime.postgres import Connection

COLUMNS = """reward_id, slug, name, description, image_url, active, type, value, prices, fields, fulfilment, config, stock, version,
    created_at, updated_at"""


async def find_reward(
    connection: Connection, tenant_id: UUID, *, reward_id: UUID | None = None, slug: str | None = None, lock: bool = False
) -> Reward | None:
    """The tenant's reward of that id or slug, or None when there is none or it is archived."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM reward
        WHERE tenant_id = %s AND archived_at IS NULL AND {"slug = %s" if reward_id is None else "reward_id = %s"}
        {"FOR UPDATE" if lock else ""}
        """,
        (tenant_id, slug if reward_id is None else reward_id),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, Reward)


async def list_rewards(connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[Reward]:
    """The tenant's rewards, newest first, from behind the reward `after`."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM reward
        WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL AND (%(after)s::uuid IS NULL OR reward_id < %(after)s)
        ORDER BY reward_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "after": after, "limit": limit},
    )
    return [msgspec.convert(row, Reward) for row in await cursor.fetchall()]


async def rewards_on_sale(
    connection: Connection, tenant_id: UUID, *, currency: str | None, purchasable: bool, after: UUID | None, limit: int
) -> list[Reward]:
    """The active rewards, newest first: with a price in `currency` if one is named, with a price and stock left if `purchasable`."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM reward
        WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL AND active AND (%(after)s::uuid IS NULL OR reward_id < %(after)s)
          AND (%(currency)s::text IS NULL OR prices @> jsonb_build_array(jsonb_build_object('currency', %(currency)s::text)))
          AND (NOT %(purchasable)s OR (prices <> '[]' AND stock IS DISTINCT FROM 0))
        ORDER BY reward_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "after": after, "currency": currency, "purchasable": purchasable, "limit": limit},
    )
    return [msgspec.convert(row, Reward) for row in await cursor.fetchall()]


async def write_reward(
    connection: Connection, tenant_id: UUID, reward_id: UUID, body: RewardBody, prices: list[Price], now: datetime
) -> Reward:
    """Make the reward or replace it (then lock it before); AlreadyExists when another reward has the slug."""
    try:
        cursor = await connection.execute(
            f"""
            INSERT INTO reward (tenant_id, reward_id, slug, name, description, image_url, active, type, value, prices, fields,
                                fulfilment, config, stock, created_at, updated_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (tenant_id, reward_id) DO UPDATE SET
                slug = excluded.slug, name = excluded.name, description = excluded.description, image_url = excluded.image_url,
                active = excluded.active, type = excluded.type, value = excluded.value, prices = excluded.prices,
                fields = excluded.fields, fulfilment = excluded.fulfilment, config = excluded.config, stock = excluded.stock,
                version = reward.version + 1, updated_at = excluded.updated_at
            RETURNING {COLUMNS}
            """,
            (
                tenant_id,
                reward_id,
                body.slug,
                body.name,
                body.description,
                body.image_url,
                body.active,
                body.type,
                Jsonb(body.value),
                Jsonb(msgspec.to_builtins(prices)),
                Jsonb(msgspec.to_builtins(body.fields)),
                Jsonb(msgspec.to_builtins(body.fulfilment)),
                Jsonb(body.config),
                body.stock,
                now,
                now,
            ),
        )
    except UniqueViolation:
        raise AlreadyExists(f"A reward with the slug '{body.slug}' already exists") from None
    row = await cursor.fetchone()
    return msgspec.convert(row, Reward)


async def archive_reward(connection: Connection, tenant_id: UUID, reward_id: UUID, now: datetime) -> bool:
    """Take the reward out of the store; what was redeemed stays. False when there is no such reward."""
    cursor = await connection.execute(
        "UPDATE reward SET archived_at = %s, version = version + 1 WHERE tenant_id = %s AND reward_id = %s AND archived_at IS NULL",
        (now, tenant_id, reward_id),
    )
    return cursor.rowcount == 1


TAKE_STOCK = "UPDATE reward SET stock = stock - 1 WHERE tenant_id = %s AND reward_id = %s"
STOCK_CHECK = "ck_reward_stock_not_negative"


async def take_stock(connection: Connection, tenant_id: UUID, reward_id: UUID) -> None:
    """Take one piece. The CHECK of the table refuses the piece after the last one, also when this runs in a pipeline: see `out_of_stock`.

    It is the last statement of its transaction, because everyone who wants the same reward waits for this row.
    """
    await connection.execute(TAKE_STOCK, (tenant_id, reward_id))


def out_of_stock(violation: CheckViolation) -> OutOfStock | None:
    """The refusal that a CHECK violation stands for, or None when it is another CHECK."""
    return OutOfStock("This reward is out of stock") if violation.diag.constraint_name == STOCK_CHECK else None


async def return_stock(connection: Connection, tenant_id: UUID, reward_id: UUID) -> None:
    """Give one piece back; nothing changes for a reward whose stock is unlimited by now."""
    await connection.execute(
        "UPDATE reward SET stock = stock + 1 WHERE tenant_id = %s AND reward_id = %s AND stock IS NOT NULL", (tenant_id, reward_id)
    )
