"""`codes`: the user gets one code of the pool imported for the reward, or for its variant.

It is reserved when the user redeems and shown when it is fulfilled.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.errors import InvalidState, OutOfStock
from domain.redemption.redemption import NewRedemption, Redemption
from runtime.postgres import Connection, count_changed
from storage.redemption.fulfilment.kind import Kind

# Nobody waits for a code that another redemption is just taking: the next one is as good.
RESERVE = """
UPDATE reward_code SET redemption_id = %(redemption_id)s
WHERE tenant_id = %(tenant_id)s AND reward_id = %(reward_id)s AND code = (
    SELECT code FROM reward_code
    WHERE tenant_id = %(tenant_id)s AND reward_id = %(reward_id)s AND variant_id = %(variant_id)s AND redemption_id IS NULL
    ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING code
"""

# Who gets no code is marked so for good: a look that skips what others are just taking is followed by one that waits for them.
RESERVE_MANY = """
WITH free AS MATERIALIZED (
    SELECT code, number FROM reward_code
    WHERE tenant_id = %(tenant_id)s AND reward_id = %(reward_id)s AND variant_id = '' AND redemption_id IS NULL
    ORDER BY number LIMIT %(wanted)s FOR UPDATE {held}
), taken AS (
    SELECT code, redemption_id FROM (SELECT code, row_number() OVER (ORDER BY number) AS place FROM free) AS numbered
    JOIN unnest(%(redemptions)s::uuid[]) WITH ORDINALITY AS given (redemption_id, place) USING (place)
)
UPDATE reward_code AS c SET redemption_id = taken.redemption_id FROM taken
WHERE c.tenant_id = %(tenant_id)s AND c.reward_id = %(reward_id)s AND c.code = taken.code
"""


async def reserve_many(connection: Connection, tenant_id: UUID, reward_id: UUID, redemptions: Sequence[UUID]) -> int:
    """Set the oldest free codes of a reward without variants apart for these redemptions, in their order; for how many there were."""
    served = 0
    for held in ("SKIP LOCKED", ""):
        left = list(redemptions[served:])
        if left:
            given = {"tenant_id": tenant_id, "reward_id": reward_id, "wanted": len(left), "redemptions": left}
            served += await count_changed(connection, RESERVE_MANY.format(held=held), given)
    return served


async def reserve(connection: Connection, tenant_id: UUID, new: NewRedemption) -> None:
    """Set the oldest free code apart for this redemption; OutOfStock when there is none."""
    pool = {"tenant_id": tenant_id, "reward_id": new.reward_id, "variant_id": new.variant_id or "", "redemption_id": new.redemption_id}
    cursor = await connection.execute(RESERVE, pool)
    if await cursor.fetchone() is None:
        raise OutOfStock("This reward is out of stock")


async def hand_over(connection: Connection, redemption: Redemption, now: datetime) -> dict[str, Any]:
    """The code as fulfilment data; it stays with this redemption for ever."""
    cursor = await connection.execute(
        "SELECT code FROM reward_code WHERE tenant_id = %s AND redemption_id = %s", (redemption.tenant_id, redemption.redemption_id)
    )
    row = await cursor.fetchone()
    if row is None:
        raise InvalidState("No code is reserved for this redemption", present=redemption.status.value)
    return {"code": row["code"]}


async def give_back(connection: Connection, redemption: Redemption, now: datetime) -> None:
    """Put the code, which nobody has seen, back into the pool."""
    await connection.execute(
        "UPDATE reward_code SET redemption_id = NULL WHERE tenant_id = %s AND redemption_id = %s",
        (redemption.tenant_id, redemption.redemption_id),
    )


KIND = Kind(begins="at_once", reserve=reserve, hand_over=hand_over, give_back=give_back)
