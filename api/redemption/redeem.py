"""Redemptions are made here: a gamer buys, a server redeems for a user (contract 4, Redemption)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from msgspec import Meta
from psycopg.errors import CheckViolation

from api.idempotency import Write, idempotent, write_of
from api.principal import Principal
from api.rule import GAMER, SERVER
from domain.errors import (
    Forbidden,
    IdempotencyConflict,
    InsufficientPoints,
    NotEligible,
    OutOfStock,
    RewardNotFound,
    UserLimitReached,
    UserNotFound,
    ValidationError,
)
from domain.player import order_for_player
from domain.points.ledger_wire import CurrencyId
from domain.redemption.redemption import TimelineRow, workflow_id
from domain.redemption.redemption_wire import Fields, RedemptionAnswer, redemption_answer
from domain.wire import ExternalId, decode_body, parse_external_id
from loops.relay import Relay
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool
from storage.redemption.redeem import RedeemRequest
from storage.redemption.redeem import redeem as redeem_reward
from storage.reward.reward import out_of_stock

AnyRequest = Request[Any, Any, Any]


REFUSALS = (InsufficientPoints, OutOfStock, UserLimitReached, NotEligible, IdempotencyConflict, RewardNotFound, UserNotFound)


class PurchaseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a gamer sends to buy the reward of the path."""

    variant_id: Annotated[str | None, Meta(description="Required of a reward with variants", examples=["large"])] = None
    currency: Annotated[CurrencyId | None, Meta(description="Required of a reward with several prices")] = None
    fields: Fields = {}
    idempotency_key: Annotated[str | None, Meta(description="Instead of the header Idempotency-Key", examples=["order-4711"])] = None


class RedeemBody(PurchaseBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server sends to redeem for one of its users; the reward by id or by slug."""

    external_user_id: ExternalId
    reward_id: Annotated[UUID | None, Meta(description="Instead of `slug`", examples=[None])] = None
    slug: Annotated[str | None, Meta(description="Instead of `reward_id`", examples=["coffee"])] = None


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


async def _redeem(pool: Pool, relay: Relay, write: Write, wanted: RedeemRequest) -> Response[RedemptionAnswer]:
    """Redeem once; then, after the commit, start the workflow without making the caller wait: the outbox guarantees it."""
    tenant_id = write.principal.tenant_id
    made: list[UUID] = []

    async def effect(connection: Connection) -> RedemptionAnswer:
        now = utc_now()
        redemption = await redeem_reward(connection, tenant_id, wanted, now)
        made.append(redemption.redemption_id)
        first = TimelineRow(at=now, from_status=None, to_status=redemption.status.value, by=wanted.by, note=None)
        return write.principal.shown(redemption_answer(redemption, [first], []), order_for_player)

    try:
        response = await idempotent(pool, write, effect)
    except CheckViolation as violation:
        raise out_of_stock(violation) or violation from None
    for redemption_id in made:
        relay.try_start(workflow_id(tenant_id, redemption_id))
    return response


@post("/v1/rewards/purchase/{slug:str}", rule=GAMER, status_code=201, body=PurchaseBody, refusals=REFUSALS)
async def purchase_reward(slug: str, request: AnyRequest, principal: Principal, pool: Pool, relay: Relay) -> Response[RedemptionAnswer]:
    """Buy a reward, as a gamer. A reward without required fields needs no body."""
    if principal.external_user_id is None:
        raise Forbidden("Buying requires a gamer token; servers redeem with POST /v1/redemptions")
    sent = await request.body()
    data = decode_body(sent, PurchaseBody) if sent else PurchaseBody()
    wanted = _request_of(data, principal, principal.external_user_id, reward_id=None, slug=slug)
    return await _redeem(pool, relay, write_of(request, principal, data, data.idempotency_key), wanted)


@post("/v1/redemptions", rule=SERVER, status_code=201, refusals=REFUSALS)
async def redeem(data: RedeemBody, request: AnyRequest, principal: Principal, pool: Pool, relay: Relay) -> Response[RedemptionAnswer]:
    """Redeem a reward for a user, from a server."""
    if (data.reward_id is None) == (data.slug is None):
        raise ValidationError.of("reward_id", "give either reward_id or slug, not both")
    external_user_id = parse_external_id(data.external_user_id, "external_user_id")
    wanted = _request_of(data, principal, external_user_id, reward_id=data.reward_id, slug=data.slug)
    write = write_of(request, principal, data, data.idempotency_key, about=external_user_id)
    return await _redeem(pool, relay, write, wanted)


routes: list[Any] = [purchase_reward, redeem]
