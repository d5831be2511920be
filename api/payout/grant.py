"""Grants over HTTP: what users were given, and giving by hand (contract 4, Grant)."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post

from api.idempotency import idempotent, write_of
from api.pagination import Page
from api.principal import Principal
from api.redemption.listing import SourceParams, UserParam
from api.rule import ADMIN, USER_READERS
from api.tenant.user import user_for
from domain.errors import IdempotencyConflict, LimitReached, OutOfStock, UserNotFound
from domain.payout.grant import GrantBody, check_grant
from domain.payout.grant_wire import CreatedGrants, GrantListAnswer, grant_answer
from domain.player import grant_for_player
from domain.redemption.redemption import SourceType, workflow_id
from domain.reward.item import item_copy
from loops.relay import Relay
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.payout.grant import Cause, GrantedItem, give
from storage.payout.grant_list import GrantFilter
from storage.payout.grant_list import list_grants as stored_grants
from storage.reward.item import find_item
from storage.tenant.audit import record, summarised
from storage.tenant.user import users_named

AnyRequest = Request[Any, Any, Any]


class UserGrantParams(SourceParams, frozen=True, kw_only=True):
    """Which grants of a user a list shows."""

    item_id: UUID | None = None


class GrantParams(UserGrantParams, frozen=True, kw_only=True):
    """Which grants a list shows."""

    user_id: UserParam = None


def _filter(params: UserGrantParams, user_id: UUID | None, page: Page) -> GrantFilter:
    return GrantFilter(
        user_id=user_id,
        source_type=params.source_type,
        source_id=params.source_id,
        item_id=params.item_id,
        created_from=params.since,
        created_to=params.until,
        before=page.after_id(),
        limit=page.limit,
    )


@get("/v1/users/{external_id:str}/grants", rule=USER_READERS)
async def list_user_grants(external_id: str, params: UserGrantParams, principal: Principal, pool: Pool, page: Page) -> GrantListAnswer:
    """List a user's grants, newest first."""
    async with transaction(pool) as connection:
        user = await user_for(connection, principal, external_id)
        grants = await stored_grants(connection, principal.tenant_id, _filter(params, user.user_id, page))
    shown = [principal.shown(grant_answer(grant), grant_for_player) for grant in grants]
    return GrantListAnswer(grants=shown, next_cursor=page.cursor_of(grants, "grant_id"))


@get("/v1/admin/grants", rule=ADMIN, refusals=(UserNotFound,))
async def list_grants(params: GrantParams, principal: Principal, pool: Pool, page: Page) -> GrantListAnswer:
    """List grants, newest first."""
    async with transaction(pool) as connection:
        user_id = None if params.user_id is None else (await user_for(connection, principal, params.user_id)).user_id
        grants = await stored_grants(connection, principal.tenant_id, _filter(params, user_id, page))
    return GrantListAnswer(grants=[grant_answer(grant) for grant in grants], next_cursor=page.cursor_of(grants, "grant_id"))


@post("/v1/admin/grants", rule=ADMIN, status_code=201, refusals=(IdempotencyConflict, UserNotFound, OutOfStock, LimitReached))
async def create_grants(data: GrantBody, request: AnyRequest, principal: Principal, pool: Pool, relay: Relay) -> Response[CreatedGrants]:
    """Give an item to up to 1000 users, all or none. 404 `USER_NOT_FOUND` names unknown users."""
    check_grant(data)
    started: list[UUID] = []

    async def effect(connection: Connection) -> CreatedGrants:
        item = await find_item(connection, principal.tenant_id, data.item_id)
        users = await users_named(connection, principal.tenant_id, data.external_ids)
        unknown = [name for name in data.external_ids if name not in users]
        if unknown:
            raise UserNotFound(f"User '{unknown[0]}' not found", unknown=unknown[:100])
        cause = Cause(source_type=SourceType.MANUAL, source_id=str(new_id()), by=principal.actor, reason=data.reason)
        granted_items = [GrantedItem(users[name], name, data.item_id) for name in data.external_ids]
        async with summarised(connection):
            given = await give(
                connection,
                principal.tenant_id,
                cause,
                granted_items,
                items={data.item_id: item_copy(item)},
                now=utc_now(),
                all_or_none=True,
            )
        facts = {
            "item_id": str(data.item_id),
            "granted": len(given.grants),
            "reason": data.reason,
            "user_ids": [str(granted_item.user_id) for granted_item in granted_items],
        }
        await record(connection, principal.tenant_id, action="insert", subject="reward_grant", subject_id=cause.source_id, facts=facts)
        made = await stored_grants(
            connection,
            principal.tenant_id,
            GrantFilter(source_type=cause.source_type, source_id=cause.source_id, limit=len(given.grants) + 1),
        )
        started.extend(grant.redemption_id for grant in made if grant.redemption_id is not None)
        return CreatedGrants(
            source_type=SourceType.MANUAL,
            source_id=cause.source_id,
            granted=len(given.grants),
            grants=[grant_answer(grant) for grant in made],
        )

    response = await idempotent(pool, write_of(request, principal, data, data.idempotency_key), effect)
    for redemption_id in started:
        relay.try_start(workflow_id(principal.tenant_id, redemption_id))
    return response


routes: list[Any] = [list_user_grants, list_grants, create_grants]
