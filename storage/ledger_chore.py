"""What the platform's schedules do to accounts, a page at a time: activation, expiry, notices ahead of it (contract 4, Points ledger)."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.expiry import end_of_day, notice_horizon, notices, remaining
from domain.ledger import Account, Currency
from domain.webhook_body import event_body
from domain.wire import amount_number, rfc3339
from runtime.postgres import Connection
from storage.currency import find_currency
from storage.due_delivery import Notice, publish
from storage.ledger import ACCOUNT_COLUMNS, lock_account
from storage.ledger_due import live_credits

FIRST = UUID(int=0)
"""In front of every id: where a walk over accounts begins."""

Cursor = tuple[UUID, UUID]
"""A tenant and an account."""

# An account that only holds what is past its date stays due, so the walk goes by id and not by what is left.
DUE = """
SELECT account.tenant_id, account_id, user_id, account.currency_id FROM currency JOIN account USING (tenant_id, currency_id)
WHERE expires_after_days IS NOT NULL AND (account.tenant_id, account_id) > (%(tenant_id)s, %(account_id)s)
  AND (next_expiry_at <= %(until)s AND next_expiry_at > '1970-01-01Z'
       OR next_expiry_at = '1970-01-01Z' AND undated_expires_at <= %(until)s)
  AND (%(noticed_before)s::timestamptz IS NULL OR noticed_at IS NULL OR noticed_at < %(noticed_before)s)
ORDER BY account.tenant_id, account_id LIMIT %(limit)s
"""


async def activate_page(connection: Connection, now: datetime, limit: int) -> int:
    """Make available what has waited long enough, on up to `limit` accounts; answers on how many. None are left when it is 0."""
    cursor = await connection.execute(
        """
        SELECT DISTINCT tenant_id, account_id, user_id, currency_id FROM (
            SELECT tenant_id, account_id FROM pending_credit WHERE state = 'pending' AND available_at <= %s ORDER BY available_at LIMIT %s
        ) AS due JOIN account USING (tenant_id, account_id) ORDER BY account_id
        """,
        (now, limit),
    )
    rows = await cursor.fetchall()
    await _settle(connection, rows, now)
    return len(rows)


async def expire_page(connection: Connection, after: Cursor, now: datetime, limit: int) -> tuple[int, Cursor | None]:
    """Expire what is past its date on the next `limit` accounts; answers on how many, and where the walk goes on (None: nowhere)."""
    cursor = await connection.execute(
        DUE, {"tenant_id": after[0], "account_id": after[1], "until": now, "noticed_before": None, "limit": limit}
    )
    rows = await cursor.fetchall()
    await _settle(connection, rows, now)
    return len(rows), _following(rows, limit)


async def _settle(connection: Connection, rows: list[dict[str, Any]], now: datetime) -> None:
    for row in sorted(rows, key=lambda row: row["account_id"]):  # the order in which everyone locks accounts
        await lock_account(connection, row["tenant_id"], row["user_id"], row["currency_id"], now=now)


async def notice_page(connection: Connection, after: Cursor, now: datetime, limit: int) -> tuple[int, Cursor | None]:
    """Tell (`points.expiring`) of what expires within seven days, on the next `limit` accounts: once for each account and day.

    The notices are written with the mark that they were, so a run that is killed and repeated tells nobody twice.
    """
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    until = notice_horizon(now)
    cursor = await connection.execute(
        DUE, {"tenant_id": after[0], "account_id": after[1], "until": until, "noticed_before": today, "limit": limit}
    )
    rows = await cursor.fetchall()
    told = 0
    for row in sorted(rows, key=lambda row: row["account_id"]):
        currency = await find_currency(connection, row["tenant_id"], row["currency_id"])
        if currency is not None:
            told += await _notice(connection, row["tenant_id"], row["account_id"], currency=currency, now=now)
    return told, _following(rows, limit)


async def _notice(connection: Connection, tenant_id: UUID, account_id: UUID, *, currency: Currency, now: datetime) -> int:
    cursor = await connection.execute(
        f"""
        SELECT {ACCOUNT_COLUMNS}, noticed_until,
               (SELECT external_id FROM app_user AS u WHERE u.tenant_id = account.tenant_id AND u.user_id = account.user_id) AS external_id
        FROM account WHERE tenant_id = %s AND account_id = %s FOR UPDATE
        """,
        (tenant_id, account_id),
    )
    row = await cursor.fetchone()
    if row is None:
        return 0
    noticed_until, external_id = row.pop("noticed_until"), row.pop("external_id")
    account = msgspec.convert(row, Account)
    live = await live_credits(connection, tenant_id, account, currency=currency, now=now)
    lots = notices(remaining(account.liquid, live), noticed_until, now)
    for lot in lots:
        facts = {
            "user_id": str(account.user_id),
            "external_user_id": external_id,
            "currency": account.currency_id,
            "amount": amount_number(lot.amount, currency.decimal_places),
            "expires_at": rfc3339(lot.at),
        }
        await publish(connection, tenant_id, Notice(event="points.expiring", body=event_body("points.expiring", facts, now)), now)
    told_until = end_of_day(lots[-1].at) if lots else noticed_until
    await connection.execute(
        "UPDATE account SET noticed_at = %s, noticed_until = %s WHERE tenant_id = %s AND account_id = %s",
        (now, told_until, tenant_id, account_id),
    )
    return len(lots)


def _following(rows: list[dict[str, Any]], limit: int) -> Cursor | None:
    return (rows[-1]["tenant_id"], rows[-1]["account_id"]) if len(rows) == limit else None
