"""Orders of a user: redemptions, and grants that needed none, in one list."""

from typing import Any
from uuid import UUID

from domain.payout.grant import order_wire
from domain.redemption.redemption import State
from runtime.postgres import Connection
from storage.payout.grant_list import GrantFilter, list_grants
from storage.redemption.listing import RedemptionFilter, list_redemptions


async def list_orders(connection: Connection, tenant_id: UUID, wanted: RedemptionFilter) -> list[dict[str, Any]]:
    """A page of orders as contract 4 shows them, the newest first. What was given at once is fulfilled."""
    orders = await list_redemptions(connection, tenant_id, wanted)
    if wanted.status in (None, State.FULFILLED.value) and wanted.flag is None:
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
        orders += [order_wire(grant) for grant in grants]
    return sorted(orders, key=lambda order: str(order["redemption_id"]), reverse=True)[: wanted.limit]


async def grant_order(connection: Connection, tenant_id: UUID, grant_id: UUID) -> dict[str, Any] | None:
    """The grant of that id as an order, or None."""
    found = await list_grants(connection, tenant_id, GrantFilter(grant_id=grant_id, without_redemption=True, limit=1))
    return order_wire(found[0]) if found else None
