"""Redemptions are made here: a gamer buys, a server redeems for a user (contract 4, Redemption)."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from psycopg.errors import CheckViolation

from api.idempotency import Write, idempotent, write_of
from api.principal import Principal
from api.rule import GAMER, SERVER
from domain.errors import Forbidden, ValidationError
from domain.player import order_for_player
from domain.redemption.redemption import TimelineRow, redemption_document, workflow_id
from domain.wire import decode_body, parse_external_id
from loops.relay import Relay
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool
from storage.redemption.redeem import RedeemRequest, redeem
from storage.reward.reward import out_of_stock

AnyRequest = Request[Any, Any, Any]


class PurchaseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a gamer sends to buy the reward of the path."""

    variant_id: str | None = None
    currency: str | None = None
    fields: dict[str, Any] = {}
    idempotency_key: str | None = None


class RedemptionBody(PurchaseBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server sends to redeem for one of its users; the reward by id or by slug."""

    external_user_id: str
    reward_id: UUID | None = None
    slug: str | None = None


def _request_of(
    body: PurchaseBody, principal: Principal, external_user_id: str, *, reward_id: UUID | None, slug: str | None
) -> RedeemRequest:
    return RedeemRequest(
        external_user_id=external_user_id,
        reward_id=reward_id,
        slug=slug,
        variant_id=body.variant_id,
        currency=body.currency,
        fields=body.fields,
        by=principal.actor,
    )


async def _redeem(pool: Pool, relay: Relay, write: Write, wanted: RedeemRequest) -> Response[dict[str, Any]]:
    """Redeem once; then, after the commit, start the workflow without making the caller wait: the outbox guarantees it."""
    tenant_id = write.principal.tenant_id
    made: list[UUID] = []

    async def effect(connection: Connection) -> dict[str, Any]:
        now = utc_now()
        redemption = await redeem(connection, tenant_id, wanted, now)
        made.append(redemption.redemption_id)
        first = TimelineRow(at=now, from_status=None, to_status=redemption.status.value, by=wanted.by, note=None)
        return write.principal.shown(redemption_document(redemption, [first], []), order_for_player)

    try:
        response = await idempotent(pool, write, effect)
    except CheckViolation as violation:
        raise out_of_stock(violation) or violation from None
    for redemption_id in made:
        relay.try_start(workflow_id(tenant_id, redemption_id))
    return response


@post("/v1/rewards/purchase/{slug:str}", rule=GAMER, status_code=201)
async def purchase(slug: str, request: AnyRequest, principal: Principal, pool: Pool, relay: Relay) -> Response[dict[str, Any]]:
    """Buy a reward, as a gamer. A reward without required fields needs no body."""
    if principal.external_user_id is None:
        raise Forbidden("Buying requires a gamer token; servers redeem with POST /v1/redemptions")
    sent = await request.body()
    data = decode_body(sent, PurchaseBody) if sent else PurchaseBody()
    wanted = _request_of(data, principal, principal.external_user_id, reward_id=None, slug=slug)
    return await _redeem(pool, relay, write_of(request, principal, data, data.idempotency_key), wanted)


@post("/v1/redemptions", rule=SERVER, status_code=201)
async def redeem_for_user(
    data: RedemptionBody, request: AnyRequest, principal: Principal, pool: Pool, relay: Relay
) -> Response[dict[str, Any]]:
    """Redeem a reward for a user, from a server."""
    if (data.reward_id is None) == (data.slug is None):
        raise ValidationError.of("reward_id", "give either reward_id or slug, not both")
    external_user_id = parse_external_id(data.external_user_id, "external_user_id")
    wanted = _request_of(data, principal, external_user_id, reward_id=data.reward_id, slug=data.slug)
    write = write_of(request, principal, data, data.idempotency_key, about=external_user_id)
    return await _redeem(pool, relay, write, wanted)


routes: list[Any] = [purchase, redeem_for_user]
