"""Reward configs with every version that was ever in force, and what a run copies from them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain import limits
from domain.errors import InvalidState, NotFound, ValidationError
from domain.reward.config import ConfigTier, RewardConfig, RunConfig
from domain.reward.item import item_copy
from runtime.postgres import Connection, count_changed
from storage.limit import check_room
from storage.points.currency import currencies_of
from storage.reward.item import items_by_id

COLUMNS = "reward_config_id, name, tiers, budget, version, created_at, updated_at, archived_at"


class WrittenConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a config's body."""

    name: str
    tiers: list[ConfigTier]
    budget: dict[str, int]


async def find_config(connection: Connection, tenant_id: UUID, reward_config_id: UUID, *, lock: bool = False) -> RewardConfig:
    """The config; NotFound when there is none or it is archived."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM reward_config WHERE tenant_id = %s AND reward_config_id = %s AND archived_at IS NULL"
        + (" FOR UPDATE" if lock else ""),
        (tenant_id, reward_config_id),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("Reward config not found")
    return msgspec.convert(row, RewardConfig)


async def check_config(connection: Connection, tenant_id: UUID, reward_config_id: UUID | None) -> None:
    """ValidationError of `reward_config_id` when something names a config that there is not; it stays until the end of the transaction."""
    if reward_config_id is None:
        return
    changed = await count_changed(
        connection,
        "SELECT FROM reward_config WHERE tenant_id = %s AND reward_config_id = %s AND archived_at IS NULL FOR SHARE",
        (tenant_id, reward_config_id),
    )
    if changed == 0:
        raise ValidationError.of("reward_config_id", "does not exist")


async def list_configs(connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[RewardConfig]:
    """The tenant's configs, newest first, from behind the config `after`."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM reward_config
        WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL AND (%(after)s::uuid IS NULL OR reward_config_id < %(after)s)
        ORDER BY reward_config_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "after": after, "limit": limit},
    )
    return [msgspec.convert(row, RewardConfig) for row in await cursor.fetchall()]


async def write_config(
    connection: Connection, tenant_id: UUID, reward_config_id: UUID, written: WrittenConfig, *, now: datetime
) -> RewardConfig:
    """Make the config or replace it (then lock it before); the new version pays windows that close from now on."""
    await check_room(connection, tenant_id, limits.REWARD_CONFIGS, beside=reward_config_id)
    cursor = await connection.execute(
        f"""
        INSERT INTO reward_config (tenant_id, reward_config_id, name, tiers, budget, version, created_at, updated_at)
        VALUES (%s, %s, %s, %s, %s, 1, %s, %s)
        ON CONFLICT (tenant_id, reward_config_id) DO UPDATE SET name = excluded.name, tiers = excluded.tiers, budget = excluded.budget,
            version = reward_config.version + 1, updated_at = excluded.updated_at
        RETURNING {COLUMNS}
        """,
        (tenant_id, reward_config_id, written.name, Jsonb(msgspec.to_builtins(written.tiers)), Jsonb(written.budget), now, now),
    )
    config = msgspec.convert(await cursor.fetchone(), RewardConfig)
    await connection.execute(
        """
        INSERT INTO reward_config_version (tenant_id, reward_config_id, version, tiers, budget, valid_from)
        SELECT tenant_id, reward_config_id, version, tiers, budget, clock_timestamp() FROM reward_config
        WHERE tenant_id = %s AND reward_config_id = %s
        """,
        (tenant_id, reward_config_id),
    )
    return config


async def archive_config(connection: Connection, tenant_id: UUID, reward_config_id: UUID, now: datetime) -> None:
    """Put a config away; NotFound, or InvalidState while a board or a schedule pays by it."""
    await find_config(connection, tenant_id, reward_config_id, lock=True)
    cursor = await connection.execute(
        "SELECT leaderboard_id FROM leaderboard WHERE tenant_id = %s AND reward_config_id = %s AND status <> 'archived' LIMIT 1",
        (tenant_id, reward_config_id),
    )
    row = await cursor.fetchone()
    if row is not None:
        raise InvalidState(f"Leaderboard '{row['leaderboard_id']}' uses this reward config")
    cursor = await connection.execute(
        "SELECT name FROM payout_schedule WHERE tenant_id = %s AND reward_config_id = %s AND archived_at IS NULL LIMIT 1",
        (tenant_id, reward_config_id),
    )
    row = await cursor.fetchone()
    if row is not None:
        raise InvalidState(f"Schedule '{row['name']}' uses this reward config")
    await connection.execute(
        "UPDATE reward_config SET archived_at = %s, updated_at = %s WHERE tenant_id = %s AND reward_config_id = %s",
        (now, now, tenant_id, reward_config_id),
    )


async def run_config_at(connection: Connection, tenant_id: UUID, reward_config_id: UUID, instant: datetime) -> RunConfig:
    """What the config gives by its version in force just before `instant` (before its first one, by that), with the items of now."""
    cursor = await connection.execute(
        """
        SELECT tiers, budget FROM reward_config_version WHERE tenant_id = %s AND reward_config_id = %s
        ORDER BY (valid_from < %s) DESC, CASE WHEN valid_from < %s THEN version ELSE -version END DESC LIMIT 1
        """,
        (tenant_id, reward_config_id, instant, instant),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("Reward config not found")
    return await run_config_of(connection, tenant_id, msgspec.convert(row["tiers"], list[ConfigTier]), row["budget"])


async def run_config_of(connection: Connection, tenant_id: UUID, tiers: Sequence[ConfigTier], budget: dict[str, int]) -> RunConfig:
    """These tiers with copies of their items. For a schedule's bare `item_ids`: one tier without bounds."""
    wanted = {item_id for tier in tiers for item_id in tier.item_ids}
    items = await items_by_id(connection, tenant_id, wanted, archived=True)
    currencies = await currencies_of(connection, tenant_id)
    named = {item.currency for item in items.values() if item.currency is not None} | set(budget)
    return RunConfig(
        tiers=list(tiers),
        items={item_id: item_copy(item) for item_id, item in items.items()},
        budget=budget,
        places={key: currencies[key].decimal_places for key in named if key in currencies},
    )
