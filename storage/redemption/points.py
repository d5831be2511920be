"""What a redemption did to the points: its hold, and the transfers that it caused."""

from datetime import datetime
from uuid import UUID

import msgspec

from runtime.postgres import Connection


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the ledger. `amount` is signed as the user's account saw it, in the currency's smallest unit, with `decimal_places`.

    `kind` is `hold`, or a transfer's kind; `state` is the hold's: `held`, `captured`, `released` or `expired`.
    """

    kind: str
    state: str | None
    transfer_id: UUID | None
    currency_id: str
    amount: int
    decimal_places: int
    created_at: datetime
    settled_at: datetime | None


EFFECT = """
SELECT 'hold' AS kind, state, NULL::uuid AS transfer_id, account.currency_id, -hold.amount AS amount, decimal_places,
       hold.created_at, settled_at
FROM hold JOIN account USING (tenant_id, account_id) JOIN currency USING (tenant_id, currency_id)
WHERE hold.tenant_id = %(tenant_id)s AND redemption_id = %(redemption_id)s
UNION ALL
SELECT kind, NULL, transfer_id, currency_id,
       CASE WHEN user_account_id = credit_account_id THEN transfer.amount ELSE -transfer.amount END,
       decimal_places, transfer.created_at, NULL
FROM transfer JOIN currency USING (tenant_id, currency_id)
WHERE transfer.tenant_id = %(tenant_id)s AND cause_type = 'redemption' AND cause_id = %(redemption_id)s::uuid::text
ORDER BY created_at, transfer_id NULLS FIRST
"""


async def ledger_effect(connection: Connection, tenant_id: UUID, redemption_id: UUID) -> list[LedgerEntry]:
    """The hold and the transfers of a redemption, the oldest first; none when it cost nothing. Two looks at unique indexes."""
    cursor = await connection.execute(EFFECT, {"tenant_id": tenant_id, "redemption_id": redemption_id})
    return [msgspec.convert(row, LedgerEntry) for row in await cursor.fetchall()]
