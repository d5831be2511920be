"""A redemption as it is read (contract 4, Redemption)."""

from typing import Any
from uuid import UUID

from litestar import get

from api.principal import Principal
from api.rule import allow
from domain.errors import RedemptionNotFound
from domain.player import order_for_player
from domain.redemption.redemption import Redemption
from domain.redemption.redemption_wire import RedemptionAnswer
from runtime.postgres import Connection, Pool, transaction
from storage.redemption.redemption import document_of, find_redemption

READERS = allow("server", "fulfilment", "read", "gamer")


def redemption_id_of(text: str) -> UUID:
    """The id in a path; RedemptionNotFound for what cannot be one."""
    try:
        return UUID(text)
    except ValueError:
        raise RedemptionNotFound("Redemption not found") from None


@get("/v1/redemptions/{redemption_id:str}", rule=READERS)
async def get_redemption(redemption_id: str, principal: Principal, pool: Pool) -> RedemptionAnswer:
    """Get a redemption with its timeline and deliveries. Gamers only see their own."""
    async with transaction(pool) as connection:
        identity = redemption_id_of(redemption_id)
        await own_redemption(connection, principal, identity)
        return principal.shown(await document_of(connection, principal.tenant_id, identity), order_for_player)


async def own_redemption(connection: Connection, principal: Principal, redemption_id: UUID) -> Redemption:
    """The redemption; RedemptionNotFound for none, and for a gamer another's is none: ids cannot be tried out."""
    redemption = await find_redemption(connection, principal.tenant_id, redemption_id)
    if principal.role == "gamer" and redemption.external_user_id != principal.external_user_id:
        raise RedemptionNotFound("Redemption not found")
    return redemption


routes: list[Any] = [get_redemption]
