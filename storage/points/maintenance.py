"""What the platform's schedules do to accounts, a page at a time: activation, expiry, notices ahead of it (contract 4, Points ledger)."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from domain.points.expiry import UNDATED_AT, end_of_day, notice_horizon, notices, remaining
from domain.points.ledger import Account, Currency
from domain.webhook.body import event_body
from domain.wire import amount_number, rfc3339
from runtime.postgres import Connection, is_away
from storage.points.currency import find_currency
from storage.points.due import live_credits
from storage.points.ledger import ACCOUNT_COLUMNS, lock_account
from storage.webhook.due_delivery import Notice, publish

log = logging.getLogger(__name__)

FIRST = UUID(int=0)
DATED_FROM = UNDATED_AT + timedelta(microseconds=1)


class AccountPlace(msgspec.Struct, frozen=True, kw_only=True):
    """How far a walk over the accounts that are due has come, in the order of `ix_account_next_expiry`.

    `until` is fixed when the walk begins: an account that stays due, because its points are held, is put off to the present, and must
    not be met again and again.
    """

    until: datetime
    tenant_id: UUID = FIRST
    currency_id: str = ""
    next_expiry_at: datetime = UNDATED_AT
    account_id: UUID = FIRST

    @classmethod
    def of(cls, words: Sequence[str]) -> "AccountPlace":
        """The place that `words` tells."""
        until, tenant_id, currency_id, next_expiry_at, account_id = words
        return cls(
            until=datetime.fromisoformat(until),
            tenant_id=UUID(tenant_id),
            currency_id=currency_id,
            next_expiry_at=datetime.fromisoformat(next_expiry_at),
            account_id=UUID(account_id),
        )

    def words(self) -> list[str]:
        """The place for a run's cursor."""
        return [self.until.isoformat(), str(self.tenant_id), self.currency_id, self.next_expiry_at.isoformat(), str(self.account_id)]


# For each currency that expires, in order, one walk along the index; points without a date are due together.
DUE = """
SELECT due.* FROM currency CROSS JOIN LATERAL (
    SELECT account.tenant_id, account_id, user_id, account.currency_id, next_expiry_at FROM account
    WHERE account.tenant_id = currency.tenant_id AND account.currency_id = currency.currency_id
      AND (account.tenant_id, account.currency_id, next_expiry_at, account_id)
          > (%(tenant_id)s, %(currency_id)s, %(next_expiry_at)s, %(account_id)s)
      AND next_expiry_at >= CASE WHEN undated_expires_at <= %(until)s THEN %(undated)s::timestamptz ELSE %(dated_from)s END
      AND next_expiry_at <= %(until)s
      AND (%(noticed_before)s::timestamptz IS NULL OR noticed_at IS NULL OR noticed_at < %(noticed_before)s)
    ORDER BY next_expiry_at, account_id LIMIT %(limit)s
) AS due
WHERE expires_after_days IS NOT NULL AND (currency.tenant_id, currency.currency_id) >= (%(tenant_id)s, %(currency_id)s)
ORDER BY currency.tenant_id, currency.currency_id, next_expiry_at, account_id LIMIT %(limit)s
"""


async def _due(connection: Connection, after: AccountPlace, noticed_before: datetime | None, limit: int) -> list[dict[str, Any]]:
    named = {"undated": UNDATED_AT, "dated_from": DATED_FROM, "noticed_before": noticed_before, "limit": limit}
    return await (await connection.execute(DUE, {**msgspec.structs.asdict(after), **named})).fetchall()


def _following(rows: list[dict[str, Any]], after: AccountPlace, limit: int) -> AccountPlace | None:
    if len(rows) < limit:
        return None
    last = rows[-1]
    return AccountPlace(
        until=after.until,
        tenant_id=last["tenant_id"],
        currency_id=last["currency_id"],
        next_expiry_at=last["next_expiry_at"],
        account_id=last["account_id"],
    )


class PendingPlace(msgspec.Struct, frozen=True, kw_only=True):
    """How far a walk over the credits that waited long enough has come, in the order of `ix_pending_credit_due`."""

    until: datetime
    available_at: datetime = UNDATED_AT
    tenant_id: UUID = FIRST
    transfer_id: UUID = FIRST

    @classmethod
    def of(cls, words: Sequence[str]) -> "PendingPlace":
        """The place that `words` tells."""
        until, available_at, tenant_id, transfer_id = words
        return cls(
            until=datetime.fromisoformat(until),
            available_at=datetime.fromisoformat(available_at),
            tenant_id=UUID(tenant_id),
            transfer_id=UUID(transfer_id),
        )

    def words(self) -> list[str]:
        """The place for a run's cursor."""
        return [self.until.isoformat(), self.available_at.isoformat(), str(self.tenant_id), str(self.transfer_id)]


async def activate_page(connection: Connection, after: PendingPlace | None, now: datetime, limit: int) -> tuple[int, PendingPlace | None]:
    """Make available what has waited long enough, of the next `limit` credits; answers on how many accounts, and where the walk goes on."""
    place = after or PendingPlace(until=now)
    cursor = await connection.execute(
        """
        SELECT due.tenant_id, transfer_id, due.available_at, account_id, user_id, currency_id FROM (
            SELECT tenant_id, transfer_id, account_id, available_at FROM pending_credit
            WHERE state = 'pending' AND available_at <= %(until)s
              AND (available_at, tenant_id, transfer_id) > (%(available_at)s, %(tenant_id)s, %(transfer_id)s)
            ORDER BY available_at, tenant_id, transfer_id LIMIT %(limit)s
        ) AS due JOIN account USING (tenant_id, account_id) ORDER BY due.available_at, due.tenant_id, transfer_id
        """,
        {**msgspec.structs.asdict(place), "limit": limit},
    )
    rows = await cursor.fetchall()
    accounts = {row["account_id"]: row for row in rows}
    await _settle(connection, list(accounts.values()), now)
    if len(rows) < limit:
        return len(accounts), None
    last = {name: rows[-1][name] for name in ("available_at", "tenant_id", "transfer_id")}
    return len(accounts), PendingPlace(until=place.until, **last)


async def expire_page(connection: Connection, after: AccountPlace | None, now: datetime, limit: int) -> tuple[int, AccountPlace | None]:
    """Expire what is past its date on the next `limit` accounts; answers on how many, and where the walk goes on (None: nowhere)."""
    place = after or AccountPlace(until=now)
    rows = await _due(connection, place, None, limit)
    await _settle(connection, rows, now)
    return len(rows), _following(rows, place, limit)


async def _settle(connection: Connection, rows: list[dict[str, Any]], now: datetime) -> None:
    async def settle(row: dict[str, Any]) -> None:
        await lock_account(connection, row["tenant_id"], row["user_id"], row["currency_id"], now=now)

    await _each(connection, rows, settle)


async def _each(connection: Connection, rows: list[dict[str, Any]], work: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Do the work on each account of a page, in the order in which everyone locks them.

    An account that cannot be done is logged and left out, whatever is wrong with it: the task is everybody's. Only then each account
    pays for a savepoint of its own.
    """
    ordered = sorted(rows, key=lambda row: row["account_id"])
    try:
        async with connection.transaction():
            for row in ordered:
                await work(row)
    except Exception as error:
        if is_away(error):
            raise
    else:
        return
    for row in ordered:
        try:
            async with connection.transaction():
                await work(row)
        except Exception as error:
            if is_away(error):
                raise
            log.exception("account %s of tenant %s is left out: laurel verify-ledger says more", row["account_id"], row["tenant_id"])


async def notice_page(connection: Connection, after: AccountPlace | None, now: datetime, limit: int) -> tuple[int, AccountPlace | None]:
    """Tell (`points.expiring`) of what expires within seven days, on the next `limit` accounts: once for each account and day.

    The notices are written with the mark that they were, so a run that is killed and repeated tells nobody twice.
    """
    place = after or AccountPlace(until=notice_horizon(now))
    rows = await _due(connection, place, now.replace(hour=0, minute=0, second=0, microsecond=0), limit)
    told: dict[UUID, int] = {}

    async def tell(row: dict[str, Any]) -> None:
        currency = await find_currency(connection, row["tenant_id"], row["currency_id"])
        if currency is not None:
            told[row["account_id"]] = await _notice(connection, row["tenant_id"], row["account_id"], currency=currency, now=now)

    await _each(connection, rows, tell)
    return sum(told.values()), _following(rows, place, limit)


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
        body = event_body("points.expiring", facts, now)
        await publish(connection, tenant_id, Notice(event="points.expiring", body=body, user_id=account.user_id), now)
    told_until = end_of_day(lots[-1].at) if lots else noticed_until
    await connection.execute(
        "UPDATE account SET noticed_at = %s, noticed_until = %s WHERE tenant_id = %s AND account_id = %s",
        (now, told_until, tenant_id, account_id),
    )
    return len(lots)
