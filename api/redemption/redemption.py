"""Redemptions over HTTP: the partner's callback, reads, orders, and what staff may do (contract 4)."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch, post
from litestar.response import Stream

from api.export import Exports
from api.pagination import Page, encode_cursor
from api.principal import Principal
from api.query import instant_in, uuid_in
from api.rule import ADMIN, Audit, allow
from api.tenant.user import user_for
from domain.errors import RedemptionNotFound, ValidationError
from domain.misfit import choice_problem
from domain.player import order_for_player
from domain.redemption.csv_export import csv_lines, header_line
from domain.redemption.redemption import Decision, Move, Moved, Redemption, State, already_final, read_callback
from loops.relay import Relay
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.redemption.listing import RedemptionFilter, list_redemptions, page_of_redemptions
from storage.redemption.move import document_of, find_redemption, move_redemption

READERS = allow("server", "fulfilment", "read", "gamer")
AnyRequest = Request[Any, Any, Any]
CSV_PAGE = 100


class Reason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What staff say when they move a redemption by hand."""

    reason: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    fulfillment_data: dict[str, Any] | None = None


def redemption_id_of(text: str) -> UUID:
    """The id in a path; RedemptionNotFound for what cannot be one."""
    try:
        return UUID(text)
    except ValueError:
        raise RedemptionNotFound("Redemption not found") from None


@patch(
    "/v1/admin/rewards/redemptions/{redemption_id:str}",
    rule=allow("fulfilment", "server", even_suspended=True, audit=Audit.CHANGES_BY_ADMINS),
    operation_id="call_redemption_back",
)
async def call_back(redemption_id: str, data: dict[str, Any], principal: Principal, pool: Pool, relay: Relay) -> dict[str, Any]:
    """The partner's callback: `fulfilled`, `failed` or `processing`. Stored before the response, even if Temporal is unavailable."""
    return await make_move(pool, relay, principal.tenant_id, redemption_id_of(redemption_id), move=read_callback(data, principal.actor))


async def make_move(pool: Pool, relay: Relay, tenant_id: UUID, redemption_id: UUID, *, move: Move) -> dict[str, Any]:
    """Make the move and answer the redemption; RedemptionAlreadyFinal once the refusal stands in the timeline."""
    async with transaction(pool, reason=move.note) as connection:
        moved: Moved = await move_redemption(connection, tenant_id, redemption_id, move, now=utc_now())
        document = await document_of(connection, tenant_id, redemption_id)
    if moved.decision is Decision.REFUSED:
        raise already_final(moved.status)
    if moved.decision is Decision.MOVE:
        relay.try_start(moved.workflow_id)
    return document


@get("/v1/redemptions/{redemption_id:str}", rule=READERS, operation_id="read_redemption")
async def read_redemption(redemption_id: str, principal: Principal, pool: Pool) -> dict[str, Any]:
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


def filter_of(request: AnyRequest, page: Page, user_id: UUID | None) -> RedemptionFilter:
    """What a list's query asks for; ValidationError for a malformed value."""
    status = request.query_params.get("status")
    if status is not None and status not in set(State):
        raise ValidationError.of("status", choice_problem(status, [each.value for each in State]))
    return RedemptionFilter(
        user_id=user_id,
        reward_id=uuid_in(request, "reward_id"),
        status=status,
        source_type=request.query_params.get("source_type"),
        source_id=request.query_params.get("source_id"),
        flag=request.query_params.get("flag"),
        created_from=instant_in(request, "from"),
        created_to=instant_in(request, "to"),
        before=page.after_id(),
        limit=page.limit,
    )


async def _list(connection: Connection, principal: Principal, wanted: RedemptionFilter, noun: str) -> dict[str, Any]:
    found = await list_redemptions(connection, principal.tenant_id, wanted)
    return {noun: found, "next_cursor": encode_cursor(found[-1]["redemption_id"]) if len(found) == wanted.limit else None}


@get("/v1/admin/redemptions", rule=allow("server", "read"), operation_id="list_redemptions")
async def show_redemptions(request: AnyRequest, principal: Principal, pool: Pool, page: Page, exports: Exports) -> Response[Any]:
    """List redemptions, newest first. `format=csv` or `Accept: text/csv` streams all of them as CSV.

    Filters `user_id` (external id), `reward_id`, `status`, `flag`, `source_type`, `source_id`, `from`, `to`.
    """
    async with transaction(pool) as connection:
        named = request.query_params.get("user_id") or request.query_params.get("external_user_id")
        user_id = None if named is None else (await user_for(connection, principal, named)).user_id
        wanted = filter_of(request, page, user_id)
        if not _wants_csv(request):
            return Response(await _list(connection, principal, wanted, "redemptions"))
    headers = {"Content-Disposition": 'attachment; filename="redemptions.csv"'}
    pieces = exports.begin(principal.tenant_id).sent(_csv(pool, principal.tenant_id, wanted))
    return Stream(pieces, media_type="text/csv", headers=headers)


def _wants_csv(request: AnyRequest) -> bool:
    wanted = request.query_params.get("format")
    if wanted not in (None, "json", "csv"):
        raise ValidationError.of("format", "must be json or csv")
    return wanted == "csv" or (wanted is None and request.headers.get("accept", "").startswith("text/csv"))


async def _csv(pool: Pool, tenant_id: UUID, wanted: RedemptionFilter) -> AsyncIterator[bytes]:
    """Everything behind the cursor, page by page: a slow reader holds neither a connection nor a long transaction."""
    yield header_line().encode()
    wanted = msgspec.structs.replace(wanted, limit=CSV_PAGE)
    while True:
        async with transaction(pool) as connection:
            found = await page_of_redemptions(connection, tenant_id, wanted)
        if found:
            yield csv_lines(found).encode()
        if len(found) < CSV_PAGE:
            return
        wanted = msgspec.structs.replace(wanted, before=found[-1].redemption_id)


MOVES_BY_HAND = {
    "approve": State.PENDING,
    "reject": State.CANCELLED,
    "cancel": State.CANCELLED,
    "fulfil": State.FULFILLED,
    "fail": State.FAILED,
    "reverse": State.REVERSED,
}
AWAITED = frozenset({State.PENDING_APPROVAL})
"""Only what waits for an approval can be approved or rejected."""


@post("/v1/admin/redemptions/{redemption_id:str}/{move:str}", rule=ADMIN, status_code=200, operation_id="move_redemption")
async def move_by_hand(redemption_id: str, move: str, data: Reason, principal: Principal, pool: Pool, relay: Relay) -> dict[str, Any]:
    """Approve, reject, cancel, fulfil, fail or reverse a redemption. Its timeline shows the reason.

    InvalidState for an illegal move.
    """
    if move not in MOVES_BY_HAND:
        raise RedemptionNotFound("Unknown move")
    if move == "reverse" and not data.reason:
        raise ValidationError.of("reason", "is required")
    if data.fulfillment_data is not None:
        read_callback({"status": "fulfilled", "fulfillment_data": data.fulfillment_data}, principal.actor)
    wanted = Move(
        to=MOVES_BY_HAND[move],
        by=principal.actor,
        note=data.reason,
        fulfillment_data=data.fulfillment_data,
        failure_reason=data.reason if move == "fail" else None,
        only_from=AWAITED if move in ("approve", "reject") else frozenset(),
    )
    return await make_move(pool, relay, principal.tenant_id, redemption_id_of(redemption_id), move=wanted)


routes = [call_back, read_redemption, show_redemptions, move_by_hand]
