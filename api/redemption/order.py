"""What a user does with its own order: claim it, or call it off while nothing has been done for it (contract 4)."""

from typing import Any

import msgspec
from litestar import post

from api.auth import Principal, allow
from api.redemption.redemption import make_move, own_redemption, redemption_id_of
from domain.errors import InvalidState
from domain.redemption.redemption import WAITING, Move, Redemption, State
from domain.reward.reward import Field, check_fields
from domain.tenant.player import order_for_player
from loops.relay import Relay
from runtime.postgres import Pool, transaction
from storage.redemption.move import check_size

USERS = [allow("server", "gamer")]
BY_USER = "called off by the user"


class ClaimBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the user fills in; it is laid over what was given when redeeming."""

    fields: dict[str, Any] = {}


async def _own(pool: Pool, principal: Principal, order_id: str) -> Redemption:
    async with transaction(pool) as connection:
        return await own_redemption(connection, principal, redemption_id_of(order_id))


@post("/v1/orders/{order_id:str}/claim", guards=USERS, status_code=200, operation_id="claim_order")
async def claim(order_id: str, data: ClaimBody, principal: Principal, pool: Pool, relay: Relay) -> dict[str, Any]:
    """Claim an order within 7 days, with the fields its reward requires. 409 `INVALID_STATE` unless it is `pending_claim`."""
    order = await _own(pool, principal, order_id)
    if order.status is not State.PENDING_CLAIM:
        raise InvalidState(f"A redemption that is {order.status} cannot be claimed", present=order.status.value)
    filled = {**order.fields, **data.fields}
    check_fields(msgspec.convert(order.fulfilment.get("claim_fields", []), list[Field]), filled)
    check_size(filled)
    to = State.PENDING_APPROVAL if order.fulfilment.get("requires_approval") else State.PENDING
    move = Move(to=to, by=principal.actor, note="claimed", fields=filled, only_from=frozenset({State.PENDING_CLAIM}))
    return principal.shown(await make_move(pool, relay, principal.tenant_id, order.redemption_id, move), order_for_player)


@post("/v1/orders/{order_id:str}/cancel", guards=USERS, status_code=200, operation_id="cancel_order")
async def call_off(order_id: str, principal: Principal, pool: Pool, relay: Relay) -> dict[str, Any]:
    """Cancel an order while it is `pending_claim` or `pending_approval`. The points are returned. 409 `INVALID_STATE` afterwards."""
    order = await _own(pool, principal, order_id)
    move = Move(to=State.CANCELLED, by=principal.actor, note=BY_USER, only_from=WAITING)
    return principal.shown(await make_move(pool, relay, principal.tenant_id, order.redemption_id, move), order_for_player)


routes: list[Any] = [claim, call_off]
