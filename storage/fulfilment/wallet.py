"""`wallet`: the user's own account is credited at once, with points or another currency of the tenant."""

from datetime import datetime
from typing import Any

from domain.ledger import POINTS, insufficient_points
from domain.redemption import Redemption
from domain.wire import amount_number
from runtime.ids import new_id
from runtime.postgres import Connection
from storage import ledger
from storage.fulfilment.kind import Kind
from storage.tier import review_tiers

GIVE = """
WITH moved AS (
    UPDATE account SET posted = posted + %(amount)s, lifetime_earned = lifetime_earned + %(amount)s
    WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s AND currency_id = %(currency)s RETURNING account_id, currency_id
)
INSERT INTO transfer (tenant_id, transfer_id, debit_account_id, credit_account_id, user_account_id, amount, currency_id, kind,
                      cause_type, cause_id, created_at)
SELECT %(tenant_id)s, %(transfer_id)s, issue_account_id, account_id, account_id, %(amount)s, currency_id, 'grant',
       'redemption', %(redemption_id)s::uuid::text, %(now)s
FROM moved JOIN currency USING (currency_id) WHERE currency.tenant_id = %(tenant_id)s
"""

TAKE_BACK = """
WITH given AS (
    SELECT transfer_id, credit_account_id AS account_id, debit_account_id AS issue_account_id, amount, currency_id FROM transfer
    WHERE tenant_id = %(tenant_id)s AND kind = 'grant' AND cause_type = 'redemption' AND cause_id = %(redemption_id)s::uuid::text
), moved AS (
    UPDATE account SET posted = posted - given.amount FROM given
    WHERE account.tenant_id = %(tenant_id)s AND account.account_id = given.account_id
)
INSERT INTO transfer (tenant_id, transfer_id, debit_account_id, credit_account_id, user_account_id, amount, currency_id, kind,
                      cause_type, cause_id, reverses_transfer_id, created_at)
SELECT %(tenant_id)s, %(transfer_id)s, account_id, issue_account_id, account_id, amount, currency_id, 'reverse',
       'redemption', %(redemption_id)s::uuid::text, given.transfer_id, %(now)s
FROM given
"""


async def hand_over(connection: Connection, redemption: Redemption, now: datetime) -> dict[str, Any]:
    """Credit the account by a transfer `grant`, whose cause makes a second one impossible."""
    credit = redemption.fulfilment["credit"]
    await ledger.make_account(connection, redemption.tenant_id, redemption.user_id, credit["currency"], now)
    await _lock_accounts(connection, redemption)
    await connection.execute(
        GIVE,
        {
            "tenant_id": redemption.tenant_id,
            "user_id": redemption.user_id,
            "redemption_id": redemption.redemption_id,
            "currency": credit["currency"],
            "amount": credit["amount"],
            "transfer_id": new_id(),
            "now": now,
        },
    )
    if credit["currency"] == POINTS:
        await review_tiers(connection, redemption.tenant_id, [redemption.user_id], now)
    return {"currency": credit["currency"], "amount": amount_number(credit["amount"], await _places(connection, redemption))}


async def take_back(connection: Connection, redemption: Redemption, now: datetime) -> None:
    """Take what was credited by a transfer `reverse`; InsufficientPoints when the user has spent it."""
    await _lock_accounts(connection, redemption)
    credit = redemption.fulfilment["credit"]
    account = await ledger.lock_account(connection, redemption.tenant_id, redemption.user_id, credit["currency"])
    available = 0 if account is None else account.available
    if available < credit["amount"]:
        raise insufficient_points(available, credit["amount"], await _places(connection, redemption))
    await connection.execute(
        TAKE_BACK,
        {"tenant_id": redemption.tenant_id, "redemption_id": redemption.redemption_id, "transfer_id": new_id(), "now": now},
    )


async def _lock_accounts(connection: Connection, redemption: Redemption) -> None:
    """Lock the account that paid and the one that is credited, in the order of their ids."""
    currencies = [redemption.fulfilment["credit"]["currency"], redemption.currency]
    await connection.execute(
        "SELECT FROM account WHERE tenant_id = %s AND user_id = %s AND currency_id = ANY(%s) ORDER BY account_id FOR UPDATE",
        (redemption.tenant_id, redemption.user_id, currencies),
    )


async def _places(connection: Connection, redemption: Redemption) -> int:
    currency = await ledger.find_currency(connection, redemption.tenant_id, redemption.fulfilment["credit"]["currency"])
    return 0 if currency is None else currency.decimal_places


KIND = Kind(begins="at_once", hand_over=hand_over, take_back=take_back)
