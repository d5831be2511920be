"""Currencies: what a tenant counts in, and when its points wait and expire."""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from msgspec import UNSET
from psycopg.types.json import Jsonb

from domain import limits
from domain.errors import AlreadyExists, InvalidState, NotFound
from domain.points.ledger import Currency, CurrencyChange, CurrencyDefinition
from runtime.ids import new_id
from runtime.postgres import Connection
from storage.limit import check_room
from storage.rules_lock import change_instant

CURRENCY_COLUMNS = """currency_id, name, symbol, decimal_places, is_spendable, expires_after_days, pending_seconds,
    issue_account_id, redemption_account_id, created_at, expiry_from, undated_expires_at"""


async def add_currency(connection: Connection, tenant_id: UUID, definition: CurrencyDefinition, now: datetime) -> Currency:
    """Keep a new currency with its two system accounts; AlreadyExists when the tenant has one of that id."""
    await check_room(connection, tenant_id, limits.CURRENCIES, beside=definition.currency_id)
    days = definition.expires_after_days
    cursor = await connection.execute(
        f"""
        INSERT INTO currency (tenant_id, currency_id, name, symbol, decimal_places, is_spendable, expires_after_days,
                              pending_seconds, issue_account_id, redemption_account_id, created_at, expiry_from,
                              undated_expires_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING {CURRENCY_COLUMNS}
        """,
        (tenant_id, *msgspec.structs.astuple(definition), new_id(), new_id(), now, *_expiry(days, now)),
    )
    row = await cursor.fetchone()
    if row is None:
        raise AlreadyExists(f"Currency '{definition.currency_id}' already exists")
    return msgspec.convert(row, Currency)


async def find_currency(connection: Connection, tenant_id: UUID, currency_id: str) -> Currency | None:
    """The tenant's currency of that id, or None."""
    cursor = await connection.execute(
        f"SELECT {CURRENCY_COLUMNS} FROM currency WHERE tenant_id = %s AND currency_id = %s", (tenant_id, currency_id)
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, Currency)


async def currencies_of(connection: Connection, tenant_id: UUID) -> dict[str, Currency]:
    """All currencies of the tenant by id, in the order of their ids."""
    cursor = await connection.execute(f"SELECT {CURRENCY_COLUMNS} FROM currency WHERE tenant_id = %s ORDER BY currency_id", (tenant_id,))
    return {row["currency_id"]: msgspec.convert(row, Currency) for row in await cursor.fetchall()}


async def change_currency(connection: Connection, tenant_id: UUID, currency_id: str, *, change: CurrencyChange, now: datetime) -> Currency:
    """Change a currency and answer it; NotFound for none. What was credited before keeps its dates.

    Expiry that is switched on counts, for points without a date, from now. Switched off, nothing expires; dates already fixed wait,
    and switching it on again never brings the day of undated points forward: accounts were told it (`next_expiry_at`).
    InvalidState for other `decimal_places` once there is a transfer, or anything else that is kept in the smallest unit.
    """
    cursor = await connection.execute(
        f"SELECT {CURRENCY_COLUMNS} FROM currency WHERE tenant_id = %s AND currency_id = %s FOR UPDATE", (tenant_id, currency_id)
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"Currency '{currency_id}' not found")
    present = msgspec.convert(row, Currency)
    given = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}
    days = given.get("expires_after_days")
    if days is not None and present.expires_after_days is None:
        earlier = present.undated_expires_at or now
        given["expiry_from"], given["undated_expires_at"] = now, max(earlier, now + timedelta(days=days))
    changed = msgspec.structs.replace(present, **given)
    if changed.decimal_places != present.decimal_places:
        await change_instant(connection, tenant_id, asked_for=True)  # no pump may go on with the old places
        await _check_unused(connection, tenant_id, currency_id)
    await connection.execute(
        """
        UPDATE currency SET name = %(name)s, symbol = %(symbol)s, decimal_places = %(decimal_places)s,
            is_spendable = %(is_spendable)s, pending_seconds = %(pending_seconds)s,
            expires_after_days = %(expires_after_days)s, expiry_from = %(expiry_from)s, undated_expires_at = %(undated_expires_at)s
        WHERE tenant_id = %(tenant_id)s AND currency_id = %(currency_id)s
        """,
        {"tenant_id": tenant_id, **msgspec.structs.asdict(changed)},
    )
    return changed


async def _check_unused(connection: Connection, tenant_id: UUID, currency_id: str) -> None:
    cursor = await connection.execute(
        """
        SELECT CASE
            WHEN EXISTS (
                SELECT FROM account JOIN transfer ON transfer.tenant_id = account.tenant_id AND user_account_id = account_id
                WHERE account.tenant_id = %(tenant_id)s AND account.currency_id = %(currency_id)s) THEN 'a transfer'
            WHEN EXISTS (
                SELECT FROM reward WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL AND (prices @> %(price)s OR EXISTS (
                    SELECT FROM jsonb_array_elements(variants) AS variant WHERE variant -> 'prices' @> %(price)s))) THEN 'a price'
            WHEN EXISTS (SELECT FROM reward_item WHERE tenant_id = %(tenant_id)s AND currency = %(currency_id)s) THEN 'a reward item'
            WHEN EXISTS (SELECT FROM reward_config WHERE tenant_id = %(tenant_id)s AND budget ? %(currency_id)s) THEN 'a budget'
            WHEN EXISTS (SELECT FROM payout_schedule WHERE tenant_id = %(tenant_id)s AND budget ? %(currency_id)s) THEN 'a budget'
            WHEN %(currency_id)s = 'points' AND EXISTS (SELECT FROM tier WHERE tenant_id = %(tenant_id)s AND threshold > 0) THEN 'a tier'
        END AS used
        """,
        {"tenant_id": tenant_id, "currency_id": currency_id, "price": Jsonb([{"currency": currency_id}])},
    )
    row = await cursor.fetchone()
    if row is not None and row["used"] is not None:
        raise InvalidState(f"decimal_places cannot change: {row['used']} already uses '{currency_id}'", present="fixed")


def _expiry(days: int | None, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Since when points expire, and when undated ones do."""
    return (None, None) if days is None else (now, now + timedelta(days=days))
