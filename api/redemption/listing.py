"""Redemptions in lists: what they are asked for, as JSON in pages, and as CSV all at once (contract 4, Redemption)."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.response import Stream
from msgspec import Meta

from api.export import Exports
from api.pagination import Page
from api.principal import Principal
from api.query import Between
from api.rule import allow
from api.tenant.user import user_for
from domain.errors import UserNotFound, ValidationError
from domain.redemption.csv_export import csv_lines, header_line
from domain.redemption.redemption import RedemptionFlag, RedemptionState, SourceType
from domain.redemption.redemption_wire import RedemptionListAnswer
from runtime.postgres import Connection, Pool, transaction
from storage.redemption.listing import RedemptionFilter, page_of_redemptions
from storage.redemption.listing import list_redemptions as stored_redemptions

STAFF = allow("server", "read")
CSV = "text/csv"
CSV_PAGE = 100
AnyRequest = Request[Any, Any, Any]


UserParam = Annotated[Annotated[str, Meta(max_length=255)] | None, Meta(description="Your own id of a user", examples=["player-42"])]


class SourceParams(Between, frozen=True, kw_only=True):
    """When something was made, and what it comes from."""

    source_type: SourceType | None = None
    source_id: Annotated[str, Meta(max_length=255, description="Which window, run, change of tier or request")] | None = None


class OrderParams(SourceParams, frozen=True, kw_only=True):
    """Which orders a list shows."""

    reward_id: Annotated[UUID | None, Meta(description="Of a reward, or of a reward item")] = None
    status: RedemptionState | None = None
    flag: RedemptionFlag | None = None


class RedemptionParams(OrderParams, frozen=True, kw_only=True):
    """Which redemptions a list shows."""

    user_id: UserParam = None
    external_user_id: Annotated[UserParam, Meta(description="The same as `user_id`")] = None


def filter_of(params: OrderParams, user_id: UUID | None, page: Page) -> RedemptionFilter:
    """What a list is asked for."""
    return RedemptionFilter(
        user_id=user_id,
        reward_id=params.reward_id,
        status=params.status,
        source_type=params.source_type,
        source_id=params.source_id,
        flag=params.flag,
        created_from=params.since,
        created_to=params.until,
        before=page.after_id(),
        limit=page.limit,
    )


async def redemptions_asked_for(connection: Connection, principal: Principal, params: RedemptionParams, page: Page) -> RedemptionFilter:
    """What a list of staff is asked for; UserNotFound for a user whom nobody knows."""
    named = params.user_id or params.external_user_id
    return filter_of(params, None if named is None else (await user_for(connection, principal, named)).user_id, page)


@get("/v1/admin/redemptions", rule=STAFF, refusals=(UserNotFound,), tolerated=("format",))
async def list_redemptions(  # its query, and what answers it
    params: RedemptionParams, request: AnyRequest, principal: Principal, pool: Pool, page: Page, exports: Exports
) -> Response[RedemptionListAnswer]:
    """List redemptions, newest first."""
    async with transaction(pool) as connection:
        wanted = await redemptions_asked_for(connection, principal, params, page)
        if not _wants_csv(request):
            found = await stored_redemptions(connection, principal.tenant_id, wanted)
            return Response(RedemptionListAnswer(redemptions=found, next_cursor=page.cursor_of(found, "redemption_id")))
    return _streamed(pool, principal, exports, wanted)


def _wants_csv(request: AnyRequest) -> bool:
    """Whether the list is asked for as CSV, which was the way before there was an export."""
    wanted = request.query_params.get("format")
    if wanted not in (None, "json", "csv"):
        raise ValidationError.of("format", "must be json or csv")
    return wanted == "csv" or (wanted is None and request.headers.get("accept", "").startswith(CSV))


@get("/v1/admin/redemptions/export", rule=STAFF, media_type=CSV, refusals=(UserNotFound,), answers={200: str})
async def export_redemptions(params: RedemptionParams, principal: Principal, pool: Pool, exports: Exports) -> Response[Any]:
    """Export redemptions as CSV, newest first: all of them, while they are read."""
    async with transaction(pool) as connection:
        wanted = await redemptions_asked_for(connection, principal, params, Page())
    return _streamed(pool, principal, exports, wanted)


def _streamed(pool: Pool, principal: Principal, exports: Exports, wanted: RedemptionFilter) -> Response[Any]:
    pieces = exports.begin(principal.tenant_id).sent(_csv(pool, principal.tenant_id, wanted))
    return Stream(pieces, media_type=CSV, headers={"Content-Disposition": 'attachment; filename="redemptions.csv"'})


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


routes: list[Any] = [list_redemptions, export_redemptions]
