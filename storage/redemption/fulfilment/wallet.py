"""`wallet`: the user's own account is credited at once, with points or another currency of the tenant."""

from datetime import datetime
from typing import Any

from domain.points.ledger import POINTS, TransferKind
from domain.redemption.redemption import Redemption
from domain.wire import amount_number
from runtime.postgres import Connection
from storage.points.credit import Credit, make_accounts, post_credits
from storage.points.currency import find_currency
from storage.points.reversal import find_first, undo
from storage.points.tier import review_tiers
from storage.redemption.fulfilment.kind import Kind


async def hand_over(connection: Connection, redemption: Redemption, now: datetime) -> dict[str, Any]:
    """Credit the account by a transfer `grant`, whose cause makes a second one impossible."""
    credit = redemption.fulfilment["credit"]
    await make_accounts(connection, [(redemption.tenant_id, redemption.user_id, credit["currency"])], now)
    await _lock_accounts(connection, redemption)
    given = Credit(
        tenant_id=redemption.tenant_id,
        user_id=redemption.user_id,
        currency_id=credit["currency"],
        amount=credit["amount"],
        kind=TransferKind.GRANT,
        cause_type="redemption",
        cause_id=str(redemption.redemption_id),
    )
    await post_credits(connection, [given], now)
    if credit["currency"] == POINTS:
        await review_tiers(connection, redemption.tenant_id, [redemption.user_id], now)
    return {"currency": credit["currency"], "amount": amount_number(credit["amount"], await _places(connection, redemption))}


async def take_back(connection: Connection, redemption: Redemption, now: datetime) -> None:
    """Take what was credited by a transfer `reverse`, also while it waits; InsufficientPoints when the user has spent it."""
    await _lock_accounts(connection, redemption)
    cursor = await connection.execute(
        "SELECT transfer_id FROM transfer WHERE tenant_id = %s AND kind = 'grant' AND cause_type = 'redemption' AND cause_id = %s",
        (redemption.tenant_id, str(redemption.redemption_id)),
    )
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a wallet that was never credited")
    first = await find_first(connection, redemption.tenant_id, row["transfer_id"])
    await undo(connection, redemption.tenant_id, first, reason=None, cause=("redemption", str(redemption.redemption_id)), now=now)


async def _lock_accounts(connection: Connection, redemption: Redemption) -> None:
    """Lock the account that paid and the one that is credited, in the order of their ids."""
    currencies = [redemption.fulfilment["credit"]["currency"], redemption.currency]
    await connection.execute(
        "SELECT FROM account WHERE tenant_id = %s AND user_id = %s AND currency_id = ANY(%s) ORDER BY account_id FOR UPDATE",
        (redemption.tenant_id, redemption.user_id, currencies),
    )


async def _places(connection: Connection, redemption: Redemption) -> int:
    currency = await find_currency(connection, redemption.tenant_id, redemption.fulfilment["credit"]["currency"])
    return 0 if currency is None else currency.decimal_places


KIND = Kind(begins="at_once", hand_over=hand_over, take_back=take_back)
