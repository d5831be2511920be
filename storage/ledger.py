"""The points ledger: accounts, transfers, holds. Accounts are made when the first points arrive.

Lock order everywhere: account (several: by id), then the reward's stock. System accounts have no row, so nobody waits for them.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from domain.error import AlreadyExists, InvalidState, ValidationFault
from domain.ledger import (
    POINTS,
    Account,
    Adjustment,
    Currency,
    CurrencyDefinition,
    Earning,
    GrantCredit,
    Hold,
    Transfer,
    TransferKind,
    insufficient_points,
)
from runtime.ids import new_id
from runtime.postgres import Connection
from storage.tier import review_redemption, review_tiers

ACCOUNT_COLUMNS = "account_id, user_id, currency_id, posted, held, lifetime_earned, lifetime_spent"
CURRENCY_COLUMNS = """currency_id, name, symbol, decimal_places, is_spendable, expires_after_days, pending_seconds,
    issue_account_id, redemption_account_id, created_at"""


async def create_currency(connection: Connection, tenant_id: UUID, definition: CurrencyDefinition, now: datetime) -> Currency:
    """Keep a new currency with its two system accounts; AlreadyExists when the tenant has one of that id."""
    cursor = await connection.execute(
        f"""
        INSERT INTO currency (tenant_id, currency_id, name, symbol, decimal_places, is_spendable, expires_after_days,
                              pending_seconds, issue_account_id, redemption_account_id, created_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING {CURRENCY_COLUMNS}
        """,
        (tenant_id, *msgspec.structs.astuple(definition), new_id(), new_id(), now),
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


async def lock_account(connection: Connection, tenant_id: UUID, user_id: UUID, currency_id: str) -> Account | None:
    """The user's account, locked until the end of the transaction, or None when the user never had points of that currency."""
    cursor = await connection.execute(
        f"SELECT {ACCOUNT_COLUMNS} FROM account WHERE tenant_id = %s AND user_id = %s AND currency_id = %s FOR UPDATE",
        (tenant_id, user_id, currency_id),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, Account)


async def accounts_of(connection: Connection, tenant_id: UUID, user_id: UUID) -> list[Account]:
    """The user's accounts, in the order of their currencies."""
    cursor = await connection.execute(
        f"SELECT {ACCOUNT_COLUMNS} FROM account WHERE tenant_id = %s AND user_id = %s ORDER BY currency_id", (tenant_id, user_id)
    )
    return [msgspec.convert(row, Account) for row in await cursor.fetchall()]


async def place_hold(connection: Connection, tenant_id: UUID, hold: Hold) -> None:
    """Reserve the hold's amount on its account. The account's CHECK refuses what `domain.ledger.place_hold` should have refused."""
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
    cursor = await connection.execute(
        CAPTURE if capture else RELEASE,
        {"tenant_id": tenant_id, "redemption_id": redemption_id, "transfer_id": new_id(), "now": now},
    )
    if cursor.rowcount == 1:
        if not capture:
            await review_redemption(connection, tenant_id, redemption_id, now)
        return
    cursor = await connection.execute("SELECT state FROM hold WHERE tenant_id = %s AND redemption_id = %s", (tenant_id, redemption_id))
    row = await cursor.fetchone()
    if row is not None:
        raise InvalidState(f"The hold is already {row['state']}", present=row["state"])


async def refund_redemption(connection: Connection, tenant_id: UUID, redemption_id: UUID, now: datetime) -> None:
    """Give back what a fulfilled redemption cost (transfer `refund`); nothing happens when it cost nothing.

    `lifetime_spent` goes back too. A second refund violates the uniqueness of its cause.
    """
    await connection.execute(
        """
        WITH spent AS (
            SELECT account_id, amount FROM hold
            WHERE tenant_id = %(tenant_id)s AND redemption_id = %(redemption_id)s AND state = 'captured'
        ), moved AS (
            UPDATE account SET posted = posted + amount, lifetime_spent = lifetime_spent - amount
            FROM spent WHERE tenant_id = %(tenant_id)s AND account.account_id = spent.account_id
            RETURNING account.account_id, currency_id, amount
        )
        INSERT INTO transfer (tenant_id, transfer_id, debit_account_id, credit_account_id, user_account_id, amount, currency_id, kind,
                              cause_type, cause_id, reverses_transfer_id, created_at)
        SELECT %(tenant_id)s, %(transfer_id)s, redemption_account_id, account_id, account_id, amount, currency_id, 'refund',
               'redemption', %(redemption_id)s::uuid::text,
               (SELECT first.transfer_id FROM transfer AS first WHERE first.tenant_id = %(tenant_id)s AND first.kind = 'redeem'
                AND first.cause_type = 'redemption' AND first.cause_id = %(redemption_id)s::uuid::text), %(now)s
        FROM moved JOIN currency USING (currency_id) WHERE currency.tenant_id = %(tenant_id)s
        """,
        {"tenant_id": tenant_id, "redemption_id": redemption_id, "transfer_id": new_id(), "now": now},
    )
    await review_redemption(connection, tenant_id, redemption_id, now)


MAKE_MISSING_ACCOUNTS = """
INSERT INTO account (tenant_id, account_id, user_id, currency_id, created_at)
SELECT tenant_id, account_id, user_id, currency_id, %(now)s
FROM unnest(%(tenants)s::uuid[], %(accounts)s::uuid[], %(users)s::uuid[], %(currencies)s::text[])
     AS given (tenant_id, account_id, user_id, currency_id)
WHERE NOT EXISTS (SELECT FROM account AS known WHERE known.tenant_id = given.tenant_id AND known.user_id = given.user_id
                  AND known.currency_id = given.currency_id)
ORDER BY tenant_id, user_id, currency_id
ON CONFLICT (tenant_id, user_id, currency_id) DO NOTHING
"""

POST_CREDITS = """
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(%(transfers)s::uuid[], %(tenants)s::uuid[], %(users)s::uuid[], %(currencies)s::text[], %(amounts)s::bigint[],
                         %(causes)s::text[], %(notes)s::text[])
         AS given (transfer_id, tenant_id, user_id, currency_id, amount, cause_id, note)
), sums AS (
    SELECT tenant_id, user_id, currency_id, sum(amount)::bigint AS amount FROM given GROUP BY tenant_id, user_id, currency_id
), locked AS MATERIALIZED (
    SELECT account.tenant_id, account.account_id, account.user_id, account.currency_id, sums.amount
    FROM sums JOIN account USING (tenant_id, user_id, currency_id) ORDER BY account.account_id FOR UPDATE OF account
), moved AS (
    UPDATE account SET posted = posted + locked.amount, lifetime_earned = lifetime_earned + locked.amount
    FROM locked WHERE account.tenant_id = locked.tenant_id AND account.account_id = locked.account_id
), made AS (
    INSERT INTO transfer (tenant_id, transfer_id, debit_account_id, credit_account_id, user_account_id, amount, currency_id, kind,
                          cause_type, cause_id, note, created_at)
    SELECT given.tenant_id, given.transfer_id, currency.issue_account_id, locked.account_id, locked.account_id, given.amount,
           given.currency_id, %(kind)s, %(cause_type)s, given.cause_id, given.note, %(now)s
    FROM given JOIN locked USING (tenant_id, user_id, currency_id) JOIN currency USING (tenant_id, currency_id)
    RETURNING 1
)
SELECT count(*) AS transfers FROM made
"""


async def post_earnings(connection: Connection, earnings: Sequence[Earning], now: datetime) -> None:
    """Credit what the rules gave for a batch of events: one `earn` transfer each, one update for each account.

    Two statements whatever the size. Accounts are locked in the order of their ids. A cause that was posted before raises psycopg's
    UniqueViolation: the caller's cursor makes it impossible, and hiding it would hide a double payment.
    """
    credited = [
        Credit(
            earning.tenant_id, earning.user_id, earning.currency_id, earning.amount, f"{earning.position}:{earning.rule_id}", earning.note
        )
        for earning in earnings
    ]
    await _post_credits(connection, credited, now, kind=TransferKind.EARN, cause_type="event")


async def post_grants(connection: Connection, tenant_id: UUID, grants: Sequence[GrantCredit], now: datetime) -> None:
    """Credit what grants give: one `grant` transfer each, caused by its grant, with the same care. The tiers of the users follow."""
    credited = [Credit(tenant_id, grant.user_id, grant.currency_id, grant.amount, str(grant.grant_id), grant.note) for grant in grants]
    await _post_credits(connection, credited, now, kind=TransferKind.GRANT, cause_type="grant")
    users = {grant.user_id for grant in grants if grant.currency_id == POINTS}
    if users:
        await review_tiers(connection, tenant_id, list(users), now)


class Credit(NamedTuple):
    """Points for an account out of its currency's issue."""

    tenant_id: UUID
    user_id: UUID
    currency_id: str
    amount: int
    cause_id: str
    note: str | None


async def _post_credits(connection: Connection, credited: Sequence[Credit], now: datetime, *, kind: TransferKind, cause_type: str) -> None:
    if not credited:
        return
    owners = list({(credit.tenant_id, credit.user_id, credit.currency_id) for credit in credited})
    await connection.execute(
        MAKE_MISSING_ACCOUNTS,
        {
            "tenants": [owner[0] for owner in owners],
            "accounts": [new_id() for _ in owners],
            "users": [owner[1] for owner in owners],
            "currencies": [owner[2] for owner in owners],
            "now": now,
        },
    )
    cursor = await connection.execute(
        POST_CREDITS,
        {
            "transfers": [new_id() for _ in credited],
            "tenants": [credit.tenant_id for credit in credited],
            "users": [credit.user_id for credit in credited],
            "currencies": [credit.currency_id for credit in credited],
            "amounts": [credit.amount for credit in credited],
            "causes": [credit.cause_id for credit in credited],
            "notes": [credit.note for credit in credited],
            "kind": kind.value,
            "cause_type": cause_type,
            "now": now,
        },
    )
    made = await cursor.fetchone()
    if made is None or made["transfers"] != len(credited):
        raise RuntimeError(f"{len(credited)} credits made {made and made['transfers']} transfers")


async def make_account(connection: Connection, tenant_id: UUID, user_id: UUID, currency_id: str, now: datetime) -> None:
    """Make the user's account if there is none, without locking one that exists."""
    await connection.execute(
        MAKE_MISSING_ACCOUNTS,
        {"tenants": [tenant_id], "accounts": [new_id()], "users": [user_id], "currencies": [currency_id], "now": now},
    )


async def open_account(connection: Connection, tenant_id: UUID, user_id: UUID, currency_id: str, now: datetime) -> Account:
    """The user's account, made if need be, locked until the end of the transaction."""
    await make_account(connection, tenant_id, user_id, currency_id, now)
    account = await lock_account(connection, tenant_id, user_id, currency_id)
    if account is None:
        raise RuntimeError("an account that was just made is gone")
    return account


async def adjust(connection: Connection, tenant_id: UUID, adjustment: Adjustment, now: datetime) -> tuple[Transfer, Account]:
    """Correct a balance by a transfer `adjust` from or to the issue account; answers it with the account as it is then.

    InsufficientPoints when more would be taken than is available; ValidationFault for an unknown currency. Does not count as earned.
    """
    currency = await find_currency(connection, tenant_id, adjustment.currency_id)
    if currency is None:
        raise ValidationFault.of("currency", "is not a currency of this tenant")
    account = await open_account(connection, tenant_id, adjustment.user_id, adjustment.currency_id, now)
    if account.available + adjustment.amount < 0:
        raise insufficient_points(account.available, -adjustment.amount, currency.decimal_places)
    debit, credit = currency.issue_account_id, account.account_id
    if adjustment.amount < 0:
        debit, credit = credit, debit
    transfer = Transfer(
        transfer_id=new_id(),
        currency_id=adjustment.currency_id,
        amount=adjustment.amount,
        kind=TransferKind.ADJUST,
        cause_type="adjustment",
        cause_id=adjustment.cause_id,
        note=adjustment.reason,
        reverses_transfer_id=None,
        created_at=now,
    )
    await connection.execute(
        """
        WITH moved AS (
            UPDATE account SET posted = posted + %(amount)s WHERE tenant_id = %(tenant_id)s AND account_id = %(account_id)s
        )
        INSERT INTO transfer (tenant_id, transfer_id, debit_account_id, credit_account_id, user_account_id, amount, currency_id, kind,
                              cause_type, cause_id, note, created_at)
        VALUES (%(tenant_id)s, %(transfer_id)s, %(debit)s, %(credit)s, %(account_id)s, abs(%(amount)s), %(currency_id)s, %(kind)s,
                %(cause_type)s, %(cause_id)s, %(note)s, %(created_at)s)
        """,
        {"tenant_id": tenant_id, "account_id": account.account_id, "debit": debit, "credit": credit, **msgspec.structs.asdict(transfer)},
    )
    await review_tiers(connection, tenant_id, [adjustment.user_id], now)
    return transfer, msgspec.structs.replace(account, posted=account.posted + adjustment.amount)


async def transactions_of(connection: Connection, tenant_id: UUID, user_id: UUID, *, after: UUID | None, limit: int) -> list[Transfer]:
    """The user's transfers in all currencies, newest first, from behind the transfer `after`."""
    cursor = await connection.execute(
        """
        SELECT transfer_id, transfer.currency_id, CASE WHEN credit_account_id = account_id THEN amount ELSE -amount END AS amount,
               kind, cause_type, cause_id, note, reverses_transfer_id, transfer.created_at
        FROM account JOIN transfer ON transfer.tenant_id = account.tenant_id AND transfer.user_account_id = account.account_id
        WHERE account.tenant_id = %(tenant_id)s AND account.user_id = %(user_id)s
          AND (%(after)s::uuid IS NULL OR transfer_id < %(after)s)
        ORDER BY transfer_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "user_id": user_id, "after": after, "limit": limit},
    )
    return [msgspec.convert(row, Transfer) for row in await cursor.fetchall()]
