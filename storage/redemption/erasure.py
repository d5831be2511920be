"""What the erasure of a user does to its redemptions: those that are open are cancelled."""

from datetime import datetime
from uuid import UUID

from domain.redemption.redemption import FINAL, Move, RedemptionState
from runtime.postgres import Connection
from storage.redemption.move import move_redemption
from storage.redemption.redemption import lock_redemption
from storage.tenant.erasure import Erasure

BY = "erasure"
NOTE = "the user was erased"


async def open_redemptions_of(connection: Connection, of: Erasure) -> list[UUID]:
    """The user's redemptions that are not final."""
    cursor = await connection.execute(
        "SELECT redemption_id FROM redemption WHERE tenant_id = %s AND user_id = %s AND status <> ALL(%s) ORDER BY redemption_id",
        (of.tenant_id, of.user_id, [state.value for state in FINAL]),
    )
    return [row["redemption_id"] for row in await cursor.fetchall()]


async def cancel_redemption(connection: Connection, of: Erasure, redemption_id: UUID, now: datetime) -> None:
    """Cancel it, unless somebody has settled it meanwhile: the points and the stock go back."""
    if (await lock_redemption(connection, of.tenant_id, redemption_id)).status not in FINAL:
        await move_redemption(connection, of.tenant_id, redemption_id, Move(to=RedemptionState.CANCELLED, by=BY, note=NOTE), now=now)
