"""The proof that the ledger is right, from its own rows (contract 4): `laurel verify-ledger`.

Each check is one statement over whole tables that answers the offending rows, `tenant_id`, `id` and `detail`. It repeats in SQL what
the code and the constraints promise, so it trusts neither, and sees a row that was changed, added or taken away in any ledger table.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID

import msgspec

from domain import limits
from runtime.postgres import Connection

MAX_FINDINGS_PER_CHECK = 1000


class Check(NamedTuple):
    """One promise, in a few words, and the statement that finds what breaks it."""

    promise: str
    query: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A row that breaks a promise."""

    promise: str
    tenant_id: UUID
    id: str
    detail: str


BALANCES = """
WITH summed AS (
    SELECT tenant_id, user_account_id AS account_id,
           sum(CASE WHEN credit_account_id = user_account_id THEN amount ELSE -amount END) AS posted,
           coalesce(sum(amount) FILTER (WHERE kind IN ('earn', 'grant')), 0)
               - coalesce(sum(amount) FILTER (WHERE kind = 'reverse' AND EXISTS (
                     SELECT FROM transfer AS first WHERE first.tenant_id = transfer.tenant_id
                     AND first.transfer_id = transfer.reverses_transfer_id AND first.kind IN ('earn', 'grant'))), 0) AS earned,
           coalesce(sum(amount) FILTER (WHERE kind = 'redeem'), 0) - coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS spent
    FROM transfer GROUP BY tenant_id, user_account_id
)
SELECT tenant_id, account_id::text AS id,
       format('posted and pending %s, transfers say %s; earned %s, transfers say %s; spent %s, transfers say %s',
              coalesce((account.posted + account.pending)::text, 'no account'), coalesce(summed.posted, 0), account.lifetime_earned,
              coalesce(summed.earned, 0), account.lifetime_spent, coalesce(summed.spent, 0)) AS detail
FROM account FULL JOIN summed USING (tenant_id, account_id)
WHERE (account.posted + account.pending, account.lifetime_earned, account.lifetime_spent)
      IS DISTINCT FROM (coalesce(summed.posted, 0), coalesce(summed.earned, 0), coalesce(summed.spent, 0))
"""

PENDING = """
WITH summed AS (
    SELECT tenant_id, account_id, sum(amount) AS pending FROM pending_credit WHERE state = 'pending' GROUP BY tenant_id, account_id
)
SELECT tenant_id, account_id::text AS id,
       format('pending %s, credits that wait say %s', coalesce(account.pending::text, 'no account'), coalesce(summed.pending, 0)) AS detail
FROM account FULL JOIN summed USING (tenant_id, account_id)
WHERE account.pending IS DISTINCT FROM coalesce(summed.pending, 0)
"""

# A credit that waits stands in both tables; it is cancelled by the reversal of its transfer, and only before it was available.
WAITING = """
SELECT tenant_id, transfer_id::text AS id,
       format('%s of %s waits %s, until %s; reversed: %s', coalesce(kind, 'no transfer'), credit.amount, coalesce(state, 'nowhere'),
              credit.available_at, later_id) AS detail
FROM (SELECT * FROM transfer WHERE available_at IS NOT NULL) AS credit
FULL JOIN pending_credit AS waiting USING (tenant_id, transfer_id)
LEFT JOIN (
    SELECT tenant_id, reverses_transfer_id AS transfer_id, transfer_id AS later_id, created_at AS reversed_at
    FROM transfer WHERE reverses_transfer_id IS NOT NULL
) AS later USING (tenant_id, transfer_id)
WHERE (credit.amount = waiting.amount AND credit.user_account_id = waiting.account_id AND credit.available_at = waiting.available_at
       AND CASE state WHEN 'cancelled' THEN reversed_at = settled_at
                      WHEN 'active' THEN settled_at >= waiting.available_at
                          -- a minute, because instants are read before the account is locked
                          AND (later_id IS NULL OR reversed_at > settled_at - interval '1 minute')
                      ELSE later_id IS NULL END) IS NOT TRUE
"""

# Undated points may have had another date then, so they count as past theirs.
EXPIRED = """
SELECT expired.tenant_id, expired.transfer_id::text AS id,
       format('%s had expired, but credits of %s were past their date', gone.amount, coalesce(past.amount, 0)) AS detail
FROM transfer AS expired
CROSS JOIN LATERAL (
    SELECT sum(amount) AS amount FROM transfer AS t
    WHERE t.tenant_id = expired.tenant_id AND t.user_account_id = expired.user_account_id AND t.kind = 'expire'
      AND t.created_at <= expired.created_at
) AS gone
CROSS JOIN LATERAL (
    SELECT sum(amount) AS amount FROM transfer AS t
    WHERE t.tenant_id = expired.tenant_id AND t.credit_account_id = expired.user_account_id
      AND coalesce(t.expires_at, t.created_at) <= expired.created_at
) AS past
WHERE expired.kind = 'expire' AND gone.amount > coalesce(past.amount, 0)
"""

DATES = """
WITH dated AS (
    SELECT tenant_id, credit_account_id AS account_id, max(expires_at) AS last, count(*) FILTER (WHERE kind IN ('redeem', 'expire')) AS odd
    FROM transfer WHERE expires_at IS NOT NULL GROUP BY tenant_id, credit_account_id
)
SELECT tenant_id, account_id::text AS id,
       format('the last credit expires %s, the account says %s', coalesce(dated.last::text, 'never'), last_expires_at) AS detail
FROM account FULL JOIN dated USING (tenant_id, account_id)
WHERE last_expires_at IS DISTINCT FROM dated.last OR odd > 0
UNION ALL
SELECT tenant_id, account_id::text, format('points expire at %s, but the account is not looked at before %s', due.at, next_expiry_at)
FROM account JOIN currency USING (tenant_id, currency_id) CROSS JOIN LATERAL (
    SELECT min(at) AS at FROM (
        SELECT at, amount, sum(amount) OVER (ORDER BY at DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS later
        FROM (
            SELECT coalesce(expires_at, greatest(undated_expires_at, available_at)) AS at, amount
            FROM transfer AS t WHERE t.tenant_id = account.tenant_id AND t.credit_account_id = account.account_id
              AND NOT EXISTS (SELECT FROM transfer AS undone
                              WHERE undone.tenant_id = t.tenant_id AND undone.reverses_transfer_id = t.transfer_id)
        ) AS credit WHERE at IS NOT NULL
    ) AS lot WHERE later - amount < posted + pending
) AS due
WHERE expires_after_days IS NOT NULL AND due.at IS NOT NULL AND next_expiry_at > greatest(due.at, now())
"""

HELD = """
WITH summed AS (
    SELECT tenant_id, account_id, sum(amount) AS held FROM hold WHERE state = 'held' GROUP BY tenant_id, account_id
)
SELECT tenant_id, account_id::text AS id,
       format('held %s, holds say %s', coalesce(account.held::text, 'no account'), coalesce(summed.held, 0)) AS detail
FROM account FULL JOIN summed USING (tenant_id, account_id)
WHERE account.held IS DISTINCT FROM coalesce(summed.held, 0)
"""

NOT_NEGATIVE = """
SELECT tenant_id, account_id::text AS id, format('posted %s, held %s', posted, held) AS detail
FROM account WHERE pending < 0 OR posted < 0 OR held < 0 OR held > posted OR lifetime_earned < 0 OR lifetime_spent < 0
UNION ALL SELECT tenant_id, transfer_id::text, format('amount %s', amount) FROM transfer WHERE amount <= 0
UNION ALL SELECT tenant_id, hold_id::text, format('amount %s', amount) FROM hold WHERE amount <= 0
UNION ALL SELECT tenant_id, transfer_id::text, format('amount %s', amount) FROM pending_credit WHERE amount <= 0
"""

SIDES = """
SELECT transfer.tenant_id, transfer_id::text AS id,
       format('%s of %s from %s to %s', kind, transfer.currency_id, debit_account_id, credit_account_id) AS detail
FROM transfer
LEFT JOIN account ON account.tenant_id = transfer.tenant_id AND account.account_id = user_account_id
LEFT JOIN currency ON currency.tenant_id = transfer.tenant_id AND currency.currency_id = transfer.currency_id
WHERE (account.currency_id = transfer.currency_id AND CASE kind
    WHEN 'earn' THEN debit_account_id = issue_account_id AND credit_account_id = user_account_id
    WHEN 'grant' THEN debit_account_id = issue_account_id AND credit_account_id = user_account_id
    WHEN 'redeem' THEN debit_account_id = user_account_id AND credit_account_id = redemption_account_id
    WHEN 'refund' THEN debit_account_id = redemption_account_id AND credit_account_id = user_account_id
    WHEN 'expire' THEN debit_account_id = user_account_id AND credit_account_id = issue_account_id
    ELSE (debit_account_id = user_account_id AND credit_account_id IN (issue_account_id, redemption_account_id))
      OR (credit_account_id = user_account_id AND debit_account_id IN (issue_account_id, redemption_account_id))
END) IS NOT TRUE
"""

ZERO = """
WITH entry AS (
    SELECT tenant_id, credit_account_id AS account_id, amount FROM transfer
    UNION ALL SELECT tenant_id, debit_account_id, -amount FROM transfer
), system AS (
    SELECT currency.tenant_id, currency_id, sum(amount) AS total FROM currency
    JOIN entry ON entry.tenant_id = currency.tenant_id AND entry.account_id IN (issue_account_id, redemption_account_id)
    GROUP BY currency.tenant_id, currency_id
), owned AS (
    SELECT tenant_id, currency_id, sum(posted + pending) AS total FROM account GROUP BY tenant_id, currency_id
)
SELECT tenant_id, currency_id AS id, format('the accounts sum to %s', coalesce(system.total, 0) + coalesce(owned.total, 0)) AS detail
FROM system FULL JOIN owned USING (tenant_id, currency_id)
WHERE coalesce(system.total, 0) + coalesce(owned.total, 0) <> 0
"""

HOLDS = """
SELECT tenant_id, redemption_id::text AS id,
       format('redemption %s of %s %s, hold %s of %s %s', coalesce(status, 'missing'), points_spent, currency,
              coalesce(state, 'missing'), hold.amount, account.currency_id) AS detail
FROM redemption FULL JOIN hold USING (tenant_id, redemption_id)
LEFT JOIN account USING (tenant_id, account_id)
WHERE points_spent IS DISTINCT FROM 0 AND (
    hold.amount = points_spent AND account.user_id = redemption.user_id AND account.currency_id = redemption.currency
    AND state = ANY (CASE status
        WHEN 'fulfilled' THEN ARRAY['captured'] WHEN 'reversed' THEN ARRAY['captured']
        WHEN 'failed' THEN ARRAY['released'] WHEN 'cancelled' THEN ARRAY['released'] WHEN 'expired' THEN ARRAY['released', 'expired']
        ELSE ARRAY['held'] END)
) IS NOT TRUE
UNION ALL
SELECT tenant_id, redemption_id::text, 'a hold for a redemption that cost nothing'
FROM hold JOIN redemption USING (tenant_id, redemption_id) WHERE points_spent = 0
"""

SPENT = """
WITH moved AS (
    SELECT tenant_id, cause_id, user_account_id, amount, kind FROM transfer WHERE kind IN ('redeem', 'refund')
), due AS (
    SELECT tenant_id, redemption_id::text AS cause_id, account_id AS user_account_id, amount, 'redeem' AS kind
    FROM hold WHERE state = 'captured'
    UNION ALL
    SELECT tenant_id, redemption_id::text, account_id, amount, 'refund'
    FROM hold JOIN redemption USING (tenant_id, redemption_id) WHERE status = 'reversed'
)
SELECT tenant_id, cause_id AS id, format('%s of %s: %s', kind, amount, CASE WHEN n > 0 THEN 'no transfer' ELSE 'no reason' END) AS detail
FROM (
    SELECT tenant_id, cause_id, user_account_id, amount, kind, sum(sign) AS n
    FROM (SELECT *, 1 AS sign FROM due UNION ALL SELECT *, -1 FROM moved) AS both_sides
    GROUP BY tenant_id, cause_id, user_account_id, amount, kind
) AS compared WHERE n <> 0
"""

CREDITED = """
WITH moved AS (
    SELECT tenant_id, cause_id, amount, currency_id, kind FROM transfer
    WHERE kind IN ('grant', 'reverse') AND cause_type = 'redemption'
), due AS (
    SELECT tenant_id, redemption_id::text AS cause_id, (fulfilment #>> '{credit,amount}')::bigint AS amount,
           fulfilment #>> '{credit,currency}' AS currency_id, kind
    FROM redemption, unnest(CASE status WHEN 'reversed' THEN ARRAY['grant', 'reverse'] ELSE ARRAY['grant'] END) AS kind
    WHERE status IN ('fulfilled', 'reversed') AND fulfilment ->> 'type' = 'wallet'
)
SELECT tenant_id, cause_id AS id,
       format('%s of %s %s: %s', kind, amount, currency_id, CASE WHEN n > 0 THEN 'no transfer' ELSE 'no reason' END) AS detail
FROM (
    SELECT tenant_id, cause_id, amount, currency_id, kind, sum(sign) AS n
    FROM (SELECT *, 1 AS sign FROM due UNION ALL SELECT *, -1 FROM moved) AS both_sides
    GROUP BY tenant_id, cause_id, amount, currency_id, kind
) AS compared WHERE n <> 0
"""

CODES = """
SELECT tenant_id, redemption_id::text AS id,
       format('%s with %s', coalesce(status, 'missing'), CASE WHEN code IS NULL THEN 'no code' ELSE 'a code' END) AS detail
FROM redemption FULL JOIN reward_code USING (tenant_id, redemption_id)
WHERE (fulfilment ->> 'type' = 'codes' OR code IS NOT NULL) AND redemption_id IS NOT NULL
  AND (code IS NOT NULL) IS DISTINCT FROM (fulfilment ->> 'type' = 'codes' AND status NOT IN ('failed', 'cancelled', 'expired'))
"""

REVERSALS = """
SELECT later.tenant_id, later.transfer_id::text AS id, format('does not undo %s', later.reverses_transfer_id) AS detail
FROM transfer AS later
LEFT JOIN transfer AS first ON first.tenant_id = later.tenant_id AND first.transfer_id = later.reverses_transfer_id
WHERE (later.reverses_transfer_id IS NOT NULL OR later.kind IN ('reverse', 'refund'))
  AND (first.amount, first.debit_account_id, first.credit_account_id)
      IS DISTINCT FROM (later.amount, later.credit_account_id, later.debit_account_id)
"""

CURRENCIES = """
SELECT redemption.tenant_id, redemption_id::text AS id,
       format('the currency has %s decimal places, the redemption %s', currency.decimal_places, redemption.decimal_places) AS detail
FROM redemption LEFT JOIN currency ON currency.tenant_id = redemption.tenant_id AND currency.currency_id = redemption.currency
WHERE points_spent > 0 AND currency.decimal_places IS DISTINCT FROM redemption.decimal_places
"""

BOUND = f"""
SELECT tenant_id, account_id::text AS id,
       format('posted and pending %s, at most {limits.BALANCE.value}', posted::numeric + pending) AS detail
FROM account WHERE posted::numeric + pending > {limits.BALANCE.value}
"""

CHECKS = (
    Check("every balance equals its transfers", BALANCES),
    Check("what is held equals the holds", HELD),
    Check("what is pending equals the credits that wait", PENDING),
    Check("a credit that waits is a transfer", WAITING),
    Check("no more has expired than was past its date", EXPIRED),
    Check("credits and accounts agree on when points expire", DATES),
    Check("nothing is negative", NOT_NEGATIVE),
    Check("no balance is more than a JSON number carries", BOUND),
    Check("every transfer runs between the right accounts", SIDES),
    Check("everything sums to zero", ZERO),
    Check("holds match redemptions", HOLDS),
    Check("points are spent and refunded once for each redemption", SPENT),
    Check("a wallet is credited once for each redemption that gives it", CREDITED),
    Check("a code has one redemption, and a redemption that gives codes one", CODES),
    Check("a reversal is the opposite of what it names", REVERSALS),
    Check("redemptions count in the units of their currency", CURRENCIES),
)


async def verify(connection: Connection) -> AsyncIterator[tuple[Check, list[Finding]]]:
    """Each check with what it found, as it is done; at most 1000 rows each. Open a repeatable-read transaction first.

    In that snapshot the proof holds while others go on writing.
    """
    for check in CHECKS:
        cursor = await connection.execute(f"SELECT * FROM ({check.query}) AS found ORDER BY tenant_id, id LIMIT {MAX_FINDINGS_PER_CHECK}")
        yield check, [Finding(promise=check.promise, **row) for row in await cursor.fetchall()]


async def verify_ledger(connection: Connection) -> list[Finding]:
    """Everything that breaks a promise of the ledger, of all tenants; empty when the ledger is right."""
    return [finding async for _, findings in verify(connection) for finding in findings]
