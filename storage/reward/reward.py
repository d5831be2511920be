"""The rewards store: rewards by id and slug, and their stock."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.types.json import Jsonb

from domain import limits
from domain.errors import AlreadyExists, OutOfStock
from domain.points.ledger import Currency
from domain.reward.reward import Reward, RewardBody, prices_of, variants_of
from runtime.postgres import Connection, count_changed
from storage.limit import check_room
from storage.reward.code import free_codes

COLUMNS = """reward_id, slug, name, description, image_url, active, type, value, prices, fields, fulfilment, config, stock, version,
    created_at, updated_at, variants, max_per_user, per_user_period, visible_from, visible_until, available_from, available_until,
    eligibility, requires_claim, requires_approval,
    coalesce((SELECT jsonb_object_agg(variant_id, limited.stock) FROM reward_variant AS limited
              WHERE limited.tenant_id = reward.tenant_id AND limited.reward_id = reward.reward_id), '{}') AS variant_stock"""


async def find_reward(
    connection: Connection, tenant_id: UUID, *, reward_id: UUID | None = None, slug: str | None = None, lock: bool = False
) -> Reward | None:
    """The tenant's reward of that id or slug, or None when there is none or it is archived. `lock` keeps its stock still until commit."""
    named = f"tenant_id = %s AND archived_at IS NULL AND {'slug = %s' if reward_id is None else 'reward_id = %s'}"
    parameters = (tenant_id, slug if reward_id is None else reward_id)
    if lock:
        await connection.execute(f"SELECT FROM reward WHERE {named} FOR UPDATE", parameters)
        await connection.execute(
            f"""
            SELECT FROM reward_variant WHERE (tenant_id, reward_id) IN (SELECT tenant_id, reward_id FROM reward WHERE {named}) FOR UPDATE
            """,
            parameters,
        )
    cursor = await connection.execute(f"SELECT {COLUMNS} FROM reward WHERE {named}", parameters)
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
    connection: Connection, tenant_id: UUID, *, currency: str | None, purchasable: bool, now: datetime, after: UUID | None, limit: int
) -> list[Reward]:
    """The active rewards that are visible now, newest first.

    With a price in `currency` if one is named; if `purchasable`, those with a price and stock left whose time has come. A variant's price
    and stock count too.
    """
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM reward
        WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL AND active AND (%(after)s::uuid IS NULL OR reward_id < %(after)s)
          AND (visible_from IS NULL OR visible_from <= %(now)s) AND (visible_until IS NULL OR %(now)s < visible_until)
          AND (%(currency)s::text IS NULL OR prices @> jsonb_build_array(jsonb_build_object('currency', %(currency)s::text))
               OR jsonb_path_exists(variants, '$[*].prices[*] ? (@.currency == $wanted)',
                                    jsonb_build_object('wanted', %(currency)s::text)))
          AND (NOT %(purchasable)s OR (
              (available_from IS NULL OR available_from <= %(now)s) AND (available_until IS NULL OR %(now)s < available_until)
              AND (prices <> '[]' OR jsonb_path_exists(variants, '$[*].prices[*]'))
              AND CASE WHEN variants = '[]' THEN stock IS DISTINCT FROM 0 ELSE EXISTS (
                  SELECT FROM jsonb_array_elements(variants) AS variant
                  LEFT JOIN reward_variant AS limited ON limited.tenant_id = reward.tenant_id
                       AND limited.reward_id = reward.reward_id AND limited.variant_id = variant ->> 'id'
                  WHERE coalesce(limited.stock, reward.stock) IS DISTINCT FROM 0
              ) END
          ))
        ORDER BY reward_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "after": after, "currency": currency, "purchasable": purchasable, "now": now, "limit": limit},
    )
    return [msgspec.convert(row, Reward) for row in await cursor.fetchall()]


WRITTEN = (
    "slug", "name", "description", "image_url", "active", "type", "value", "prices", "fields", "fulfilment", "config", "variants", "stock",
    "max_per_user", "per_user_period", "visible_from", "visible_until", "available_from", "available_until", "eligibility",
    "requires_claim", "requires_approval", "updated_at",
)  # fmt: skip
AS_JSON = frozenset({"value", "prices", "fields", "fulfilment", "config", "variants"})

WRITE = f"""
INSERT INTO reward (tenant_id, reward_id, created_at, {", ".join(WRITTEN)})
VALUES (%(tenant_id)s, %(reward_id)s, %(updated_at)s, {", ".join(f"%({name})s" for name in WRITTEN)})
ON CONFLICT (tenant_id, reward_id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in WRITTEN)}, version = reward.version + 1
"""


async def write_reward(
    connection: Connection, tenant_id: UUID, reward_id: UUID, *, body: RewardBody, currencies: Mapping[str, Currency], now: datetime
) -> Reward:
    """Make the reward or replace it (then lock it before); AlreadyExists when another reward has the slug, ValidationError for its prices.

    The stock of a reward that gives codes is what is left of its pool, or of the pool of each variant, whatever the body says.
    """
    await check_room(connection, tenant_id, limits.REWARDS, beside=reward_id)
    values = {name: getattr(body, name) for name in WRITTEN if name != "updated_at"}
    values |= {"prices": prices_of(body, currencies), "variants": variants_of(body, currencies)}
    values = {name: Jsonb(msgspec.to_builtins(value)) if name in AS_JSON else value for name, value in values.items()}
    values["eligibility"] = None if body.eligibility is None else Jsonb(body.eligibility)
    variant_stock = {variant.id: variant.stock for variant in body.variants if variant.stock is not None}
    if body.fulfilment.type == "codes":
        left = await free_codes(connection, tenant_id, reward_id)
        values["stock"] = None if body.variants else left.get("", 0)
        variant_stock = {variant.id: left.get(variant.id, 0) for variant in body.variants}
    try:
        await connection.execute(WRITE, {"tenant_id": tenant_id, "reward_id": reward_id, "updated_at": now, **values})
    except UniqueViolation:
        raise AlreadyExists(f"A reward with the slug '{body.slug}' already exists") from None
    await _write_variant_stock(connection, tenant_id, reward_id, variant_stock)
    written = await find_reward(connection, tenant_id, reward_id=reward_id)
    if written is None:
        raise RuntimeError("a reward that was just written is gone")
    return written


async def _write_variant_stock(connection: Connection, tenant_id: UUID, reward_id: UUID, limited: Mapping[str, int]) -> None:
    await connection.execute(
        "DELETE FROM reward_variant WHERE tenant_id = %s AND reward_id = %s AND variant_id <> ALL(%s)",
        (tenant_id, reward_id, list(limited)),
    )
    await connection.execute(
        """
        INSERT INTO reward_variant (tenant_id, reward_id, variant_id, stock)
        SELECT %s, %s, variant_id, stock FROM unnest(%s::text[], %s::integer[]) AS given (variant_id, stock)
        ON CONFLICT (tenant_id, reward_id, variant_id) DO UPDATE SET stock = excluded.stock
        """,
        (tenant_id, reward_id, list(limited), list(limited.values())),
    )


async def archive_reward(connection: Connection, tenant_id: UUID, reward_id: UUID, now: datetime) -> bool:
    """Take the reward out of the store; what was redeemed stays. False when there is no such reward."""
    changed = await count_changed(
        connection,
        "UPDATE reward SET archived_at = %s, version = version + 1 WHERE tenant_id = %s AND reward_id = %s AND archived_at IS NULL",
        (now, tenant_id, reward_id),
    )
    return changed == 1


TAKE_STOCK = "UPDATE reward SET stock = stock - 1 WHERE tenant_id = %s AND reward_id = %s"
TAKE_VARIANT_STOCK = "UPDATE reward_variant SET stock = stock - 1 WHERE tenant_id = %s AND reward_id = %s AND variant_id = %s"
STOCK_CHECKS = frozenset({"ck_reward_stock_not_negative", "ck_reward_variant_stock_not_negative"})


async def take_stock(connection: Connection, tenant_id: UUID, reward_id: UUID, variant_id: str | None = None) -> None:
    """Take one piece, of the variant's own stock if one is named.

    The CHECK of the table refuses the piece after the last one, also when this runs in a pipeline: see `out_of_stock`.
    It is the last statement of its transaction, because everyone who wants the same reward waits for this row.
    """
    if variant_id is None:
        await connection.execute(TAKE_STOCK, (tenant_id, reward_id))
    else:
        await connection.execute(TAKE_VARIANT_STOCK, (tenant_id, reward_id, variant_id))


def out_of_stock(violation: CheckViolation) -> OutOfStock | None:
    """The refusal that a CHECK violation stands for, or None when it is another CHECK."""
    return OutOfStock("This reward is out of stock") if violation.diag.constraint_name in STOCK_CHECKS else None


RETURN_STOCK = """
UPDATE reward SET stock = stock + 1
WHERE tenant_id = %(tenant_id)s AND reward_id = %(reward_id)s AND stock IS NOT NULL
  AND (coalesce(fulfilment ->> 'type', '') = 'codes') = %(is_code)s
"""
RETURN_VARIANT_STOCK = """
UPDATE reward_variant AS limited SET stock = limited.stock + 1 FROM reward
WHERE limited.tenant_id = %(tenant_id)s AND limited.reward_id = %(reward_id)s AND variant_id = %(variant_id)s
  AND reward.tenant_id = %(tenant_id)s AND reward.reward_id = %(reward_id)s
  AND (coalesce(fulfilment ->> 'type', '') = 'codes') = %(is_code)s
"""


async def return_stock(
    connection: Connection, tenant_id: UUID, reward_id: UUID, variant_id: str | None = None, *, is_code: bool = False
) -> None:
    """Give one piece back to where it was taken; nothing changes where the stock is unlimited by now.

    Nor where the reward has begun, or ceased, to give codes since the piece was taken (`is_code`): its stock counts other things now.
    """
    piece = {"tenant_id": tenant_id, "reward_id": reward_id, "variant_id": variant_id, "is_code": is_code}
    await connection.execute(RETURN_STOCK if variant_id is None else RETURN_VARIANT_STOCK, piece)
