"""How points come into and go out of users' accounts: one statement for credits, one for debits.

Whoever gives points goes through `post_credits`: it fixes when they can be spent and when they expire (contract 4, Points ledger).
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain import limits
from domain.errors import LimitReached
from domain.points.ledger import Account, Currency, Transfer, TransferKind
from runtime.ids import new_id
from runtime.postgres import Connection


class Credit(msgspec.Struct, frozen=True, kw_only=True):
    """Points for a user. `debit_account_id` None: out of the currency's issue account. `amount` > 0, unique by kind and cause."""

    tenant_id: UUID
    user_id: UUID
    currency_id: str
    amount: int
    kind: TransferKind
    cause_type: str
    cause_id: str
    note: str | None = None
    debit_account_id: UUID | None = None
    reverses_transfer_id: UUID | None = None


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

# `expires_at`: never before that of an earlier credit, dated or not. `next_expiry_at`: see the table. It may be too early, which costs
# one look, and never too late: the day of undated points is not known while expiry is off, and moves when it is switched on again.
# To be put behind a CTE `given` (transfer_id, tenant_id, user_id, currency_id, amount, kind, cause_type, cause_id, note,
# debit_account_id, reverses) of users whose accounts exist; `posted` has a row for each transfer. Takes `now`.
# The rows of `given` and `locked` all match. A full join says so to a planner that takes them for a row each and would compare
# every one with every other, which costs most of a second for a thousand: it cannot be a nested loop.
# `full_ones`: accounts that would have more than a JSON number carries; as long as there is one, nothing at all is written.
CREDITING = f"""owners AS (
    SELECT DISTINCT tenant_id, user_id, currency_id FROM given
), locked AS MATERIALIZED (
    SELECT account.tenant_id, account.account_id, account.user_id, account.currency_id, issue_account_id, pending_seconds,
           CASE WHEN expires_after_days IS NOT NULL THEN greatest(
               %(now)s + make_interval(days => expires_after_days, secs => pending_seconds), last_expires_at,
               CASE WHEN account.created_at < expiry_from THEN undated_expires_at END) END AS expires_at,
           account.created_at < expiry_from AS may_hold_undated, undated_expires_at, account.posted + account.pending AS had
    FROM owners JOIN account USING (tenant_id, user_id, currency_id) JOIN currency USING (tenant_id, currency_id)
    ORDER BY account.account_id FOR UPDATE OF account
), due AS MATERIALIZED (
    SELECT given.*, account_id, expires_at, coalesce(debit_account_id, issue_account_id) AS debit, may_hold_undated, undated_expires_at,
           had,
           CASE WHEN kind IN ('earn', 'grant') AND pending_seconds > 0
                THEN %(now)s + make_interval(secs => pending_seconds) END AS available_at
    FROM given FULL JOIN locked USING (tenant_id, user_id, currency_id)
), sums AS (
    SELECT tenant_id, account_id, max(expires_at) AS expires_at, bool_or(may_hold_undated) AS may_hold_undated,
           max(undated_expires_at) AS undated_expires_at, max(had) AS had,
           coalesce(sum(amount) FILTER (WHERE available_at IS NULL), 0)::bigint AS posted,
           coalesce(sum(amount) FILTER (WHERE available_at IS NOT NULL), 0)::bigint AS pending,
           coalesce(sum(amount) FILTER (WHERE kind IN ('earn', 'grant')), 0)::bigint AS earned,
           coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunded
    FROM due GROUP BY tenant_id, account_id
), full_ones AS MATERIALIZED (
    SELECT tenant_id, account_id, {limits.BALANCE.value} - had AS room FROM sums WHERE had + posted + pending > {limits.BALANCE.value}
), moved AS (
    UPDATE account SET posted = account.posted + sums.posted, pending = account.pending + sums.pending,
        lifetime_earned = lifetime_earned + earned, lifetime_spent = lifetime_spent - refunded,
        last_expires_at = coalesce(sums.expires_at, last_expires_at),
        next_expiry_at = CASE
            WHEN sums.expires_at IS NULL THEN CASE
                WHEN next_expiry_at = '1970-01-01Z' OR next_expiry_at >= '9999-01-01Z' THEN '1970-01-01Z'
                ELSE least(next_expiry_at, %(now)s) END
            WHEN may_hold_undated AND next_expiry_at = '1970-01-01Z' THEN least(undated_expires_at, sums.expires_at)
            ELSE least(nullif(next_expiry_at, '1970-01-01Z'), sums.expires_at) END
    FROM sums WHERE account.tenant_id = sums.tenant_id AND account.account_id = sums.account_id AND NOT EXISTS (SELECT FROM full_ones)
), waiting AS (
    INSERT INTO pending_credit (tenant_id, transfer_id, account_id, amount, available_at)
    SELECT tenant_id, transfer_id, account_id, amount, available_at FROM due
    WHERE available_at IS NOT NULL AND NOT EXISTS (SELECT FROM full_ones)
), posted AS (
    INSERT INTO transfer (tenant_id, transfer_id, debit_account_id, credit_account_id, user_account_id, amount, currency_id, kind,
                          cause_type, cause_id, note, reverses_transfer_id, created_at, available_at, expires_at)
    SELECT tenant_id, transfer_id, debit, account_id, account_id, amount, currency_id, kind, cause_type, cause_id, note, reverses,
           %(now)s, available_at, expires_at
    FROM due WHERE NOT EXISTS (SELECT FROM full_ones) RETURNING 1
)"""

POST_CREDITS = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(%(transfers)b::uuid[], %(tenants)b::uuid[], %(users)b::uuid[], %(currencies)s::text[], %(amounts)s::bigint[],
                         %(kinds)s::text[], %(cause_types)s::text[], %(causes)s::text[], %(notes)s::text[], %(debits)b::uuid[],
                         %(reversed)b::uuid[])
         AS given (transfer_id, tenant_id, user_id, currency_id, amount, kind, cause_type, cause_id, note, debit_account_id, reverses)
), {CREDITING}
SELECT (SELECT count(*) FROM posted) AS made,
       (SELECT jsonb_agg(jsonb_build_array(tenant_id, user_id, currency_id, greatest(room, 0)))
        FROM full_ones JOIN locked USING (tenant_id, account_id)) AS rooms
"""

Rooms = dict[tuple[UUID, UUID, str], int]
"""How much more (smallest unit) these accounts of (tenant, user, currency) may have."""


async def make_accounts(connection: Connection, owners: Sequence[tuple[UUID, UUID, str]], now: datetime) -> None:
    """Make those of these accounts, (tenant, user, currency), that are missing, without locking one that exists."""
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


async def post_credits(connection: Connection, credits: Sequence[Credit], now: datetime) -> list[UUID]:
    """Credit users: one transfer each, one update for each account; answers the transfers' ids, in order.

    Two statements whatever the size. Accounts are made where they are missing and locked in the order of their ids. `earn` and `grant`
    count as earned and wait where the currency says so, a `refund` takes back what was spent. LimitReached, and nothing written, when a
    balance would have more than a JSON number carries. A cause that was posted before raises psycopg's UniqueViolation: hiding it would
    hide a double payment. The caller calls `review_tiers` for those who got `points`.
    """
    transfers, rooms = await _post(connection, credits, now)
    if rooms:
        most = limits.BALANCE.value
        raise LimitReached(f"A balance can have at most {most} of the smallest unit, the largest exact JSON number", limit=most)
    return transfers


async def post_what_fits(connection: Connection, credits: Sequence[Credit], now: datetime) -> None:
    """The same, but an account that would have too much gets what it has room for, the first credits first: events are no one's error,
    and a user whose balance is full must not hold up the others of a batch."""
    _, rooms = await _post(connection, credits, now)
    if rooms:
        await post_credits(connection, _fitting(credits, rooms), now)


def _fitting(credits: Sequence[Credit], rooms: Rooms) -> list[Credit]:
    left, fitting = dict(rooms), []
    for credit in credits:
        owner = (credit.tenant_id, credit.user_id, credit.currency_id)
        amount = min(credit.amount, left.get(owner, credit.amount))
        if owner in left:
            left[owner] -= amount
        if amount > 0:
            fitting.append(msgspec.structs.replace(credit, amount=amount))
    return fitting


async def _post(connection: Connection, credits: Sequence[Credit], now: datetime) -> tuple[list[UUID], Rooms]:
    """The ids of the transfers; or the rooms of the accounts that have too little, and nothing written."""
    if not credits:
        return [], {}
    await make_accounts(connection, list({(each.tenant_id, each.user_id, each.currency_id) for each in credits}), now)
    transfers = [new_id() for _ in credits]
    cursor = await connection.execute(
        POST_CREDITS,
        {
            "transfers": transfers,
            "tenants": [each.tenant_id for each in credits],
            "users": [each.user_id for each in credits],
            "currencies": [each.currency_id for each in credits],
            "amounts": [each.amount for each in credits],
            "kinds": [each.kind.value for each in credits],
            "cause_types": [each.cause_type for each in credits],
            "causes": [each.cause_id for each in credits],
            "notes": [each.note for each in credits],
            "debits": [each.debit_account_id for each in credits],
            "reversed": [each.reverses_transfer_id for each in credits],
            "now": now,
        },
    )
    row = await cursor.fetchone()
    if row is not None and row["rooms"]:
        return [], {(UUID(tenant), UUID(user), currency): room for tenant, user, currency, room in row["rooms"]}
    if row is None or row["made"] != len(credits):
        raise RuntimeError(f"{len(credits)} credits made {row and row['made']} transfers")
    return transfers, {}


async def post_debit(
    connection: Connection,
    tenant_id: UUID,
    account: Account,
    *,
    currency: Currency,
    transfer: Transfer,
    cancels_pending: bool = False,
    no_longer_earned: int = 0,
) -> None:
    """Take −`transfer.amount` from the account back to the issue account; lock it before, and look that it has as much.

    With `cancels_pending` it is taken from what waits, where the transfer that is reversed still is.
    """
    await connection.execute(
        """
        WITH moved AS (
            UPDATE account SET posted = posted + CASE WHEN %(cancels)s THEN 0 ELSE %(amount)s END,
                               pending = pending + CASE WHEN %(cancels)s THEN %(amount)s ELSE 0 END,
                               lifetime_earned = lifetime_earned - %(no_longer_earned)s
            WHERE tenant_id = %(tenant_id)s AND account_id = %(account_id)s
        ), cancelled AS (
            UPDATE pending_credit SET state = 'cancelled', settled_at = %(created_at)s
            WHERE %(cancels)s AND tenant_id = %(tenant_id)s AND transfer_id = %(reverses_transfer_id)s AND state = 'pending'
        )
        INSERT INTO transfer (tenant_id, transfer_id, debit_account_id, credit_account_id, user_account_id, amount, currency_id, kind,
                              cause_type, cause_id, note, reverses_transfer_id, created_at)
        VALUES (%(tenant_id)s, %(transfer_id)s, %(account_id)s, %(issue)s, %(account_id)s, -%(amount)s::bigint, %(currency_id)s, %(kind)s,
                %(cause_type)s, %(cause_id)s, %(note)s, %(reverses_transfer_id)s, %(created_at)s)
        """,
        {
            "tenant_id": tenant_id,
            "account_id": account.account_id,
            "issue": currency.issue_account_id,
            "cancels": cancels_pending,
            "no_longer_earned": no_longer_earned,
            **msgspec.structs.asdict(transfer),
        },
    )
