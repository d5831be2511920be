"""What time does to an account: credits that waited become available, old points expire.

A platform schedule sees to it for everyone, and `storage.points.ledger.lock_account` for the account that it locks: whoever spends sees the
account as it is at that instant, whether the schedule has come by or not.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain.points.expiry import NEVER_AT, Lot, lapsed, remaining
from domain.points.ledger import POINTS, Account, Currency, NextExpiry, Transfer, TransferKind
from runtime.ids import new_id
from runtime.postgres import Connection
from storage.points.credit import post_debit
from storage.points.tier import review_tiers

ACTIVATE = """
WITH active AS (
    UPDATE pending_credit SET state = 'active', settled_at = %(now)s
    WHERE tenant_id = %(tenant_id)s AND account_id = %(account_id)s AND state = 'pending' AND available_at <= %(now)s
    RETURNING amount
), total AS (
    SELECT coalesce(sum(amount), 0)::bigint AS amount FROM active
)
UPDATE account SET posted = posted + total.amount, pending = pending - total.amount FROM total
WHERE tenant_id = %(tenant_id)s AND account_id = %(account_id)s RETURNING total.amount
"""

# A credit that was reversed counts no more, and neither does its reversal. Each arm has its index. What still waits is not there to
# expire: a credit without a date that becomes available after the day of the undated ones expires the moment it is.
LIVE = """
SELECT at, sum(amount)::bigint AS amount FROM (
    SELECT transfer_id, expires_at AS at, amount FROM transfer
    WHERE tenant_id = %(tenant_id)s AND user_account_id = %(account_id)s AND expires_at > %(now)s
    UNION ALL
    SELECT transfer_id, greatest(%(undated)s, available_at), amount FROM transfer
    WHERE %(undated)s::timestamptz > %(now)s AND tenant_id = %(tenant_id)s AND user_account_id = %(account_id)s
      AND expires_at IS NULL AND credit_account_id = user_account_id
    UNION ALL
    SELECT transfer_id, waiting.available_at, waiting.amount
    FROM pending_credit AS waiting JOIN transfer USING (tenant_id, transfer_id)
    WHERE %(undated)s::timestamptz <= %(now)s AND tenant_id = %(tenant_id)s AND waiting.account_id = %(account_id)s
      AND waiting.state = 'pending' AND waiting.available_at > %(now)s AND expires_at IS NULL
) AS credit
WHERE NOT EXISTS (SELECT FROM transfer AS later WHERE later.tenant_id = %(tenant_id)s AND later.reverses_transfer_id = credit.transfer_id)
GROUP BY at
"""


async def live_credits(connection: Connection, tenant_id: UUID, account: Account, *, currency: Currency, now: datetime) -> list[Lot]:
    """What was credited to the account and is not past its date, summed by date."""
    cursor = await connection.execute(
        LIVE, {"tenant_id": tenant_id, "account_id": account.account_id, "undated": currency.undated_expires_at, "now": now}
    )
    return [Lot(at=row["at"], amount=row["amount"]) for row in await cursor.fetchall()]


async def settle_due(connection: Connection, tenant_id: UUID, account: Account, *, currency: Currency, now: datetime) -> Account:
    """Make available what has waited long enough, then expire what is past its date; answers the account as it is then.

    Lock the account before. Safe to repeat: what is due is told from the sums, so a second call finds nothing.
    """
    cursor = await connection.execute(ACTIVATE, {"tenant_id": tenant_id, "account_id": account.account_id, "now": now})
    row = await cursor.fetchone()
    active = 0 if row is None else row["amount"]
    settled = msgspec.structs.replace(account, posted=account.posted + active, pending=account.pending - active)
    expired = 0
    if currency.expires_after_days is not None:
        settled, expired = await _expire(connection, tenant_id, settled, currency=currency, now=now)
    if (active or expired) and account.currency_id == POINTS:
        await review_tiers(connection, tenant_id, [account.user_id], now)
    return settled


async def _expire(connection: Connection, tenant_id: UUID, account: Account, *, currency: Currency, now: datetime) -> tuple[Account, int]:
    live = await live_credits(connection, tenant_id, account, currency=currency, now=now)
    due = lapsed(account.liquid, live)
    if due:
        transfer = Transfer(
            transfer_id=new_id(),
            currency_id=account.currency_id,
            amount=-due,
            kind=TransferKind.EXPIRE,
            cause_type="expiry",
            cause_id=f"{account.account_id}:{now.isoformat()}",
            note=None,
            reverses_transfer_id=None,
            created_at=now,
        )
        await post_debit(connection, tenant_id, account, currency=currency, transfer=transfer)
    following = await _next_look(connection, tenant_id, account, live=live, now=now)
    await connection.execute(
        "UPDATE account SET next_expiry_at = %s WHERE tenant_id = %s AND account_id = %s", (following, tenant_id, account.account_id)
    )
    return msgspec.structs.replace(account, posted=account.posted - due), due


async def _next_look(connection: Connection, tenant_id: UUID, account: Account, *, live: Sequence[Lot], now: datetime) -> datetime:
    """When something may expire next. Held points may be released at any time, and be due at once: then it is now."""
    if account.held > 0:
        whole = account.liquid + account.held
        if lapsed(whole, live) > 0:
            return now
        lots = remaining(whole, live)
    else:
        lots = remaining(account.liquid, live)
    return lots[0].at if lots else NEVER_AT


async def balances_of(
    connection: Connection, tenant_id: UUID, accounts: Sequence[Account], *, currencies: dict[str, Currency], now: datetime
) -> dict[str, Account]:
    """The accounts by currency as they are at `now`, with what expires next, without writing what is due."""
    shown = {}
    for account in accounts:
        currency = currencies[account.currency_id]
        seen = account
        if account.pending > 0:
            cursor = await connection.execute(
                """
                SELECT coalesce(sum(amount), 0)::bigint AS due FROM pending_credit
                WHERE tenant_id = %s AND account_id = %s AND state = 'pending' AND available_at <= %s
                """,
                (tenant_id, account.account_id, now),
            )
            row = await cursor.fetchone()
            due = 0 if row is None else row["due"]
            seen = msgspec.structs.replace(account, posted=account.posted + due, pending=account.pending - due)
        if currency.expires_after_days is not None:
            live = await live_credits(connection, tenant_id, account, currency=currency, now=now)
            lots = remaining(seen.liquid, live)
            following = NextExpiry(at=lots[0].at, amount=lots[0].amount) if lots else None
            seen = msgspec.structs.replace(seen, posted=seen.posted - lapsed(seen.liquid, live), next_expiry=following)
        shown[account.currency_id] = seen
    return shown
