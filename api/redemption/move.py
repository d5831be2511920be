"""Redemptions are moved: by the partner's callback, and by staff (contract 4, Redemption)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import patch, post
from msgspec import Meta

from api.declared import As
from api.principal import Principal
from api.redemption.redemption import redemption_id_of
from api.rule import ADMIN, Audit, allow
from domain.errors import InsufficientPoints, InvalidState, LimitReached, RedemptionAlreadyFinal, ValidationError
from domain.redemption.redemption import Decision, Move, Moved, RedemptionCallbackBody, RedemptionState, already_final, read_callback
from domain.redemption.redemption_wire import FulfillmentData, RedemptionAnswer
from loops.relay import Relay
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.redemption.move import move_redemption
from storage.redemption.redemption import document_of

PARTNERS = allow("fulfilment", "server", even_suspended=True, audit=Audit.CHANGES_BY_ADMINS)
AWAITED = frozenset({RedemptionState.PENDING_APPROVAL})
"""Only what waits for an approval can be approved or rejected."""


class RedemptionMoveBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What staff say when they move a redemption by hand."""

    reason: Annotated[str, Meta(max_length=1000, description="For the timeline", examples=["Sent by post"])] | None = None
    fulfillment_data: FulfillmentData | None = None


@patch("/v1/admin/rewards/redemptions/{redemption_id:str}", rule=PARTNERS, refusals=(InvalidState, RedemptionAlreadyFinal, LimitReached))
async def report_redemption_outcome(
    redemption_id: str, data: Annotated[dict[str, Any], As(RedemptionCallbackBody)], principal: Principal, pool: Pool, relay: Relay
) -> RedemptionAnswer:
    """Report what became of a redemption, as its partner: `fulfilled`, `failed` or `processing`.

    The report is stored before the response, even if Temporal is unavailable. The same report again changes nothing.
    """
    return await make_move(pool, relay, principal.tenant_id, redemption_id_of(redemption_id), move=read_callback(data, principal.actor))


async def make_move(pool: Pool, relay: Relay, tenant_id: UUID, redemption_id: UUID, *, move: Move) -> RedemptionAnswer:
    """Make the move and answer the redemption; RedemptionAlreadyFinal once the refusal stands in the timeline."""
    async with transaction(pool, reason=move.note) as connection:
        moved: Moved = await move_redemption(connection, tenant_id, redemption_id, move, now=utc_now())
        document = await document_of(connection, tenant_id, redemption_id)
    if moved.decision is Decision.REFUSED:
        raise already_final(moved.status)
    if moved.decision is Decision.MOVE:
        relay.try_start(moved.workflow_id)
    return document


@post("/v1/admin/redemptions/{redemption_id:str}/approve", rule=ADMIN, status_code=200, refusals=(InvalidState,))
async def approve_redemption(
    redemption_id: str, data: RedemptionMoveBody, principal: Principal, pool: Pool, relay: Relay
) -> RedemptionAnswer:
    """Approve a redemption that is `pending_approval`. Its fulfilment begins."""
    move = _by_hand(RedemptionState.PENDING, data, principal, only_from=AWAITED)
    return await make_move(pool, relay, principal.tenant_id, redemption_id_of(redemption_id), move=move)


@post("/v1/admin/redemptions/{redemption_id:str}/reject", rule=ADMIN, status_code=200, refusals=(InvalidState,))
async def reject_redemption(
    redemption_id: str, data: RedemptionMoveBody, principal: Principal, pool: Pool, relay: Relay
) -> RedemptionAnswer:
    """Reject a redemption that is `pending_approval`. The points are returned."""
    move = _by_hand(RedemptionState.CANCELLED, data, principal, only_from=AWAITED)
    return await make_move(pool, relay, principal.tenant_id, redemption_id_of(redemption_id), move=move)


@post("/v1/admin/redemptions/{redemption_id:str}/cancel", rule=ADMIN, status_code=200, refusals=(InvalidState,))
async def cancel_redemption(
    redemption_id: str, data: RedemptionMoveBody, principal: Principal, pool: Pool, relay: Relay
) -> RedemptionAnswer:
    """Cancel a redemption that is not final. The points are returned."""
    move = _by_hand(RedemptionState.CANCELLED, data, principal)
    return await make_move(pool, relay, principal.tenant_id, redemption_id_of(redemption_id), move=move)


@post("/v1/admin/redemptions/{redemption_id:str}/fulfil", rule=ADMIN, status_code=200, refusals=(InvalidState, LimitReached))
async def fulfil_redemption(
    redemption_id: str, data: RedemptionMoveBody, principal: Principal, pool: Pool, relay: Relay
) -> RedemptionAnswer:
    """Mark a redemption fulfilled. The points are spent; the user sees `fulfillment_data`."""
    move = _by_hand(RedemptionState.FULFILLED, data, principal)
    return await make_move(pool, relay, principal.tenant_id, redemption_id_of(redemption_id), move=move)


@post("/v1/admin/redemptions/{redemption_id:str}/fail", rule=ADMIN, status_code=200, refusals=(InvalidState,))
async def fail_redemption(redemption_id: str, data: RedemptionMoveBody, principal: Principal, pool: Pool, relay: Relay) -> RedemptionAnswer:
    """Mark a redemption failed, with the reason. The points are returned."""
    move = _by_hand(RedemptionState.FAILED, data, principal)
    return await make_move(pool, relay, principal.tenant_id, redemption_id_of(redemption_id), move=move)


@post(
    "/v1/admin/redemptions/{redemption_id:str}/reverse",
    rule=ADMIN,
    status_code=200,
    refusals=(InvalidState, InsufficientPoints, LimitReached),
)
async def reverse_redemption(
    redemption_id: str, data: RedemptionMoveBody, principal: Principal, pool: Pool, relay: Relay
) -> RedemptionAnswer:
    """Reverse a fulfilled redemption. The points are refunded. `reason` is required."""
    if not data.reason:
        raise ValidationError.of("reason", "is required")
    move = _by_hand(RedemptionState.REVERSED, data, principal)
    return await make_move(pool, relay, principal.tenant_id, redemption_id_of(redemption_id), move=move)


def _by_hand(
    to: RedemptionState, data: RedemptionMoveBody, principal: Principal, *, only_from: frozenset[RedemptionState] = frozenset()
) -> Move:
    """The move that staff want; ValidationError for data that a partner could not have left."""
    if data.fulfillment_data is not None:
        read_callback({"status": RedemptionState.FULFILLED.value, "fulfillment_data": data.fulfillment_data}, principal.actor)
    return Move(
        to=to,
        by=principal.actor,
        note=data.reason,
        fulfillment_data=data.fulfillment_data,
        failure_reason=data.reason if to is RedemptionState.FAILED else None,
        only_from=only_from,
    )


routes: list[Any] = [
    report_redemption_outcome,
    approve_redemption,
    reject_redemption,
    cancel_redemption,
    fulfil_redemption,
    fail_redemption,
    reverse_redemption,
]
