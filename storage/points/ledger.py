"""The points ledger: accounts, transfers, holds. Accounts are made when the first points arrive.

Lock order everywhere: account (several: by id), then the reward's stock. System accounts have no row, so nobody waits for them.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain.errors import InvalidState
from domain.points.ledger import POINTS, Account, Earning, GrantCredit, Hold, Transfer, TransferKind
from runtime.ids import new_id
from runtime.postgres import Connection, count_changed
from storage.points.credit import Credit, make_accounts, post_credits, post_what_fits
from storage.points.currency import find_currency
from storage.points.due import settle_due
from storage.points.tier import review_redemption, review_tiers

ACCOUNT_COLUMNS = "account_id, user_id, currency_id, posted, held, pending, lifetime_earned, lifetime_spent"


LOCK_ACCOUNT = f"""
SELECT {ACCOUNT_COLUMNS}, (
    pending > 0 AND EXISTS (
        SELECT FROM pending_credit AS waiting WHERE waiting.tenant_id = account.tenant_id AND waiting.account_id = account.account_id
        AND state = 'pending' AND available_at <= %(now)s)
    OR EXISTS (
        SELECT FROM currency WHERE currency.tenant_id = account.tenant_id AND currency.currency_id = account.currency_id
        AND expires_after_days IS NOT NULL
        AND CASE WHEN next_expiry_at = '1970-01-01Z' THEN undated_expires_at ELSE next_expiry_at END <= %(now)s)
) AS is_due
FROM account WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s AND currency_id = %(currency_id)s FOR UPDATE
"""


async def lock_account(connection: Connection, tenant_id: UUID, user_id: UUID, currency_id: str, *, now: datetime) -> Account | None:
    """The user's account, locked until the end of the transaction, or None when the user never had points of that currency.

    What had to happen to it by `now` has happened: points that waited long enough are available, points past their date are gone.
    """
    cursor = await connection.execute(LOCK_ACCOUNT, {"tenant_id": tenant_id, "user_id": user_id, "currency_id": currency_id, "now": now})
    row = await cursor.fetchone()
    if row is None:
        return None
    is_due, account = row.pop("is_due"), msgspec.convert(row, Account)
    if not is_due:
        return account
    currency = await find_currency(connection, tenant_id, currency_id)
    if currency is None:
        raise RuntimeError("an account without a currency")
    return await settle_due(connection, tenant_id, account, currency=currency, now=now)


async def accounts_of(connection: Connection, tenant_id: UUID, user_id: UUID) -> list[Account]:
    """The user's accounts, in the order of their currencies."""
    cursor = await connection.execute(
        f"SELECT {ACCOUNT_COLUMNS} FROM account WHERE tenant_id = %s AND user_id = %s ORDER BY currency_id", (tenant_id, user_id)
    )
    return [msgspec.convert(row, Account) for row in await cursor.fetchall()]


async def place_hold(connection: Connection, tenant_id: UUID, hold: Hold) -> None:
    """Reserve the hold's amount on its account. The account's CHECK refuses what `domain.points.ledger.place_hold` should have refused."""
    await connection.execute(
        """
        WITH reserved AS (
            UPDATE account SET held = held + %(amount)s WHERE tenant_id = %(tenant_id)s AND account_id = %(account_id)s
        )
        INSERT INTO hold (tenant_id, hold_id, account_id, amount, state, redemption_id, created_at)
        VALUES (%(tenant_id)s, %(hold_id)s, %(account_id)s, %(amount)s, 'held', %(redemption_id)s, %(created_at)s)
        """,
        {"tenant_id": tenant_id, **msgspec.structs.asdict(hold)},
    )


CAPTURE = """
WITH settled AS (
    UPDATE hold SET state = 'captured', settled_at = %(now)s
    WHERE tenant_id = %(tenant_id)s AND redemption_id = %(redemption_id)s AND state = 'held' RETURNING account_id, amount
), moved AS (
    UPDATE account SET posted = posted - amount, held = held - amount, lifetime_spent = lifetime_spent + amount
    FROM settled WHERE tenant_id = %(tenant_id)s AND account.account_id = settled.account_id
    RETURNING account.account_id, currency_id, amount
)
INSERT INTO transfer (tenant_id, transfer_id, debit_account_id, credit_account_id, user_account_id, amount, currency_id, kind,
                      cause_type, cause_id, created_at)
SELECT %(tenant_id)s, %(transfer_id)s, account_id, redemption_account_id, account_id, amount, currency_id, 'redeem',
       'redemption', %(redemption_id)s::uuid::text, %(now)s
FROM moved JOIN currency USING (currency_id) WHERE currency.tenant_id = %(tenant_id)s
"""

RELEASE = """
WITH settled AS (
    UPDATE hold SET state = 'released', settled_at = %(now)s
    WHERE tenant_id = %(tenant_id)s AND redemption_id = %(redemption_id)s AND state = 'held' RETURNING account_id, amount
)
UPDATE account SET held = held - amount
FROM settled WHERE tenant_id = %(tenant_id)s AND account.account_id = settled.account_id
"""


async def settle_hold(connection: Connection, tenant_id: UUID, redemption_id: UUID, *, capture: bool, now: datetime) -> None:
    """End the redemption's hold: capture spends the points (transfer `redeem`), otherwise they are available again.

    A redemption that cost nothing has no hold, and nothing happens. InvalidState with `present` when the hold was settled before.
    """
    changed = await count_changed(
        connection,
        CAPTURE if capture else RELEASE,
        {"tenant_id": tenant_id, "redemption_id": redemption_id, "transfer_id": new_id(), "now": now},
    )
    if changed == 1:
        if not capture:
            await review_redemption(connection, tenant_id, redemption_id, now)
        return
    cursor = await connection.execute("SELECT state FROM hold WHERE tenant_id = %s AND redemption_id = %s", (tenant_id, redemption_id))
    row = await cursor.fetchone()
    if row is not None:
        raise InvalidState(f"The hold is already {row['state']}", present=row["state"])


async def refund_redemption(connection: Connection, tenant_id: UUID, redemption_id: UUID, now: datetime) -> None:
    """Give back what a fulfilled redemption cost (transfer `refund`); nothing happens when it cost nothing.

    `lifetime_spent` goes back too. The points expire like others that are credited now. A second refund violates the uniqueness of its
    cause.
    """
    cursor = await connection.execute(
        """
        SELECT user_id, account.currency_id, hold.amount, redemption_account_id,
               (SELECT first.transfer_id FROM transfer AS first WHERE first.tenant_id = hold.tenant_id AND first.kind = 'redeem'
                AND first.cause_type = 'redemption' AND first.cause_id = hold.redemption_id::text) AS transfer_id
        FROM hold JOIN account USING (tenant_id, account_id) JOIN currency USING (tenant_id, currency_id)
        WHERE tenant_id = %s AND redemption_id = %s AND state = 'captured'
        """,
        (tenant_id, redemption_id),
    )
    spent = await cursor.fetchone()
    if spent is None:
        return
    refund = Credit(
        tenant_id=tenant_id,
        user_id=spent["user_id"],
        currency_id=spent["currency_id"],
        amount=spent["amount"],
        kind=TransferKind.REFUND,
        cause_type="redemption",
        cause_id=str(redemption_id),
        debit_account_id=spent["redemption_account_id"],
        reverses_transfer_id=spent["transfer_id"],
    )
    await post_credits(connection, [refund], now)
    await review_redemption(connection, tenant_id, redemption_id, now)


async def post_earnings(connection: Connection, earnings: Sequence[Earning], now: datetime) -> None:
    """Credit what the rules gave for a batch of events: one `earn` transfer each, one update for each account. What would carry a balance
    beyond what a JSON number carries is given in part, or not at all."""
    given = [
        Credit(
            tenant_id=earning.tenant_id,
            user_id=earning.user_id,
            currency_id=earning.currency_id,
            amount=earning.amount,
            kind=TransferKind.EARN,
            cause_type="event",
            cause_id=f"{earning.position}:{earning.rule_id}",
            note=earning.note,
        )
        for earning in earnings
    ]
    await post_what_fits(connection, given, now)


async def post_grants(connection: Connection, tenant_id: UUID, grants: Sequence[GrantCredit], now: datetime) -> None:
    """Credit what grants give: one `grant` transfer each, caused by its grant. The tiers of the users follow."""
    given = [
        Credit(
            tenant_id=tenant_id,
            user_id=grant.user_id,
            currency_id=grant.currency_id,
            amount=grant.amount,
            kind=TransferKind.GRANT,
            cause_type="grant",
            cause_id=str(grant.grant_id),
            note=grant.note,
        )
        for grant in grants
    ]
    await post_credits(connection, given, now)
    users = {grant.user_id for grant in grants if grant.currency_id == POINTS}
    if users:
        await review_tiers(connection, tenant_id, list(users), now)


async def make_account(connection: Connection, tenant_id: UUID, user_id: UUID, currency_id: str, *, now: datetime) -> None:
    """Make the user's account if there is none, without locking one that exists."""
    await make_accounts(connection, [(tenant_id, user_id, currency_id)], now)


async def open_account(connection: Connection, tenant_id: UUID, user_id: UUID, currency_id: str, *, now: datetime) -> Account:
    """The user's account, made if need be, locked until the end of the transaction."""
    await make_account(connection, tenant_id, user_id, currency_id, now=now)
    account = await lock_account(connection, tenant_id, user_id, currency_id, now=now)
    if account is None:
        raise RuntimeError("an account that was just made is gone")
    return account


async def transactions_of(connection: Connection, tenant_id: UUID, user_id: UUID, *, after: UUID | None, limit: int) -> list[Transfer]:
    """The user's transfers in all currencies, newest first, from behind the transfer `after`."""
    cursor = await connection.execute(
        """
        SELECT transfer_id, transfer.currency_id, CASE WHEN credit_account_id = account_id THEN amount ELSE -amount END AS amount,
               kind, cause_type, cause_id, note, reverses_transfer_id, transfer.created_at, available_at, expires_at
        FROM account JOIN transfer ON transfer.tenant_id = account.tenant_id AND transfer.user_account_id = account.account_id
        WHERE account.tenant_id = %(tenant_id)s AND account.user_id = %(user_id)s
          AND (%(after)s::uuid IS NULL OR transfer_id < %(after)s)
        ORDER BY transfer_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "user_id": user_id, "after": after, "limit": limit},
    )
    return [msgspec.convert(row, Transfer) for row in await cursor.fetchall()]
