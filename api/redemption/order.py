"""A user's orders: redemptions, and grants that needed none, in one list; the user claims one, or calls it off in time (contract 4)."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import get, post

from api.pagination import Page
from api.principal import Principal
from api.redemption.listing import OrderParams, filter_of
from api.redemption.move import make_move
from api.redemption.redemption import own_redemption, redemption_id_of
from api.rule import USER_READERS, USERS
from api.tenant.user import user_for
from domain.errors import InvalidState, RedemptionNotFound
from domain.payout.grant_wire import grant_order
from domain.player import order_for_player
from domain.redemption.redeem import check_size
from domain.redemption.redemption import WAITING, Move, Redemption, RedemptionState
from domain.redemption.redemption_wire import Fields, OrderAnswer, OrderListAnswer, order_answer
from domain.reward.reward import RewardField, check_fields
from loops.relay import Relay
from runtime.postgres import Connection, Pool, transaction
from storage.payout.grant_list import GrantFilter, list_grants
from storage.redemption.listing import RedemptionFilter, list_redemptions
from storage.redemption.redemption import document_of

BY_USER = "called off by the user"


class ClaimBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the user fills in; it is laid over what was given when redeeming."""

    fields: Fields = {}


async def _orders_of(connection: Connection, tenant_id: UUID, wanted: RedemptionFilter) -> list[OrderAnswer]:
    """A page of orders as contract 4 shows them, the newest first. What was given at once is fulfilled."""
    orders = [order_answer(each) for each in await list_redemptions(connection, tenant_id, wanted)]
    if wanted.status in (None, RedemptionState.FULFILLED.value) and wanted.flag is None:
        grants = await list_grants(
            connection,
            tenant_id,
            GrantFilter(
                user_id=wanted.user_id,
                source_type=wanted.source_type,
                source_id=wanted.source_id,
                item_id=wanted.reward_id,
                created_from=wanted.created_from,
                created_to=wanted.created_to,
                without_redemption=True,
                before=wanted.before,
                limit=wanted.limit,
            ),
        )
        orders += [grant_order(grant) for grant in grants]
    return sorted(orders, key=lambda order: order.redemption_id, reverse=True)[: wanted.limit]


async def _grant_order(connection: Connection, tenant_id: UUID, grant_id: UUID) -> OrderAnswer | None:
    """The grant of that id as an order, or None."""
    found = await list_grants(connection, tenant_id, GrantFilter(grant_id=grant_id, without_redemption=True, limit=1))
    return grant_order(found[0]) if found else None


@get("/v1/orders/user/{user_id:str}", rule=USER_READERS)
async def list_user_orders(user_id: str, params: OrderParams, principal: Principal, pool: Pool, page: Page) -> OrderListAnswer:
    """List a user's orders, newest first: purchases and grants."""
    async with transaction(pool) as connection:
        user = await user_for(connection, principal, user_id)
        orders = await _orders_of(connection, principal.tenant_id, filter_of(params, user.user_id, page))
    shown = [principal.shown(order, order_for_player) for order in orders]
    return OrderListAnswer(orders=shown, next_cursor=page.cursor_of(orders, "redemption_id"))


@get("/v1/orders/user/{user_id:str}/{order_id:str}", rule=USER_READERS)
async def get_user_order(user_id: str, order_id: str, principal: Principal, pool: Pool) -> OrderAnswer:
    """Get an order of the user."""
    async with transaction(pool) as connection:
        user = await user_for(connection, principal, user_id)
        order = await _order(connection, principal, redemption_id_of(order_id))
        if order.user_id != user.user_id:
            raise RedemptionNotFound("Order not found")
    return order


@get("/v1/orders/{order_id:str}", rule=USER_READERS)
async def get_order(order_id: str, principal: Principal, pool: Pool) -> OrderAnswer:
    """Get an order by its id: a purchase or a grant. Gamers only see their own; another user's order is a 404."""
    async with transaction(pool) as connection:
        return await _order(connection, principal, redemption_id_of(order_id))


async def _order(connection: Connection, principal: Principal, order_id: UUID) -> OrderAnswer:
    given = await _grant_order(connection, principal.tenant_id, order_id)
    if given is not None:
        if principal.role == "gamer" and given.external_user_id != principal.external_user_id:
            raise RedemptionNotFound("Order not found")
        return principal.shown(given, order_for_player)
    redemption = await own_redemption(connection, principal, order_id)
    found = await document_of(connection, principal.tenant_id, redemption.redemption_id)
    return principal.shown(order_answer(found), order_for_player)


async def _own(pool: Pool, principal: Principal, order_id: str) -> Redemption:
    async with transaction(pool) as connection:
        return await own_redemption(connection, principal, redemption_id_of(order_id))


@post("/v1/orders/{order_id:str}/claim", rule=USERS, status_code=200, refusals=(InvalidState,))
async def claim_order(order_id: str, data: ClaimBody, principal: Principal, pool: Pool, relay: Relay) -> OrderAnswer:
    """Claim an order within 7 days, with the fields its reward requires. 409 `INVALID_STATE` unless it is `pending_claim`."""
    order = await _own(pool, principal, order_id)
    if order.status is not RedemptionState.PENDING_CLAIM:
        raise InvalidState(f"A redemption that is {order.status} cannot be claimed", present=order.status.value)
    filled = {**order.fields, **data.fields}
    check_fields(msgspec.convert(order.fulfilment.get("claim_fields", []), list[RewardField]), filled)
    check_size(filled)
    to = RedemptionState.PENDING_APPROVAL if order.fulfilment.get("requires_approval") else RedemptionState.PENDING
    move = Move(to=to, by=principal.actor, note="claimed", fields=filled, only_from=frozenset({RedemptionState.PENDING_CLAIM}))
    moved = await make_move(pool, relay, principal.tenant_id, order.redemption_id, move=move)
    return principal.shown(order_answer(moved), order_for_player)


@post("/v1/orders/{order_id:str}/cancel", rule=USERS, status_code=200, refusals=(InvalidState,))
async def cancel_order(order_id: str, principal: Principal, pool: Pool, relay: Relay) -> OrderAnswer:
    """Cancel an order while it is `pending_claim` or `pending_approval`. The points are returned. 409 `INVALID_STATE` afterwards."""
    order = await _own(pool, principal, order_id)
    move = Move(to=RedemptionState.CANCELLED, by=principal.actor, note=BY_USER, only_from=WAITING)
    moved = await make_move(pool, relay, principal.tenant_id, order.redemption_id, move=move)
    return principal.shown(order_answer(moved), order_for_player)


routes: list[Any] = [list_user_orders, get_user_order, get_order, claim_order, cancel_order]
