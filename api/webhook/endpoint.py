"""Webhook endpoints and the log of deliveries (contract 5)."""

import os
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
from litestar import Request, delete, get, patch, post, put
from msgspec import UNSET, Meta, UnsetType, structs

from api.pagination import Page
from api.principal import Principal
from api.rule import ADMIN
from domain.errors import InvalidState, LimitReached, NotFound, ValidationError
from domain.misfit import choice_problem
from domain.redemption.redemption import workflow_id
from domain.webhook.webhook import (
    DEFAULT_RATE_PER_SECOND,
    DEFAULT_RETRY_DELAYS,
    DEFAULT_TIMEOUT_SECONDS,
    EVENTS,
    SECRET_BYTES,
    check_secret,
    check_url,
    make_secret,
)
from domain.webhook.webhook_wire import (
    RotatedSecret,
    SetWebhook,
    WebhookEndpointAnswer,
    WebhookEndpointListAnswer,
    WebhookEndpointSecret,
    endpoint_answer,
)
from domain.wire import rfc3339
from loops.relay import Relay
from runtime.crypto import Vault
from runtime.http import Sender
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from runtime.settings import Settings
from storage import outbox
from storage.redemption.without_endpoint import lock_endpoints, resume_without_endpoint
from storage.webhook.delivery import release_held
from storage.webhook.due_delivery import wake_pump
from storage.webhook.endpoint import (
    SECRET_PURPOSE,
    NewEndpoint,
    archive_endpoint,
    create_endpoint,
    disable_endpoint,
    find_endpoint,
    list_endpoints,
    rotate_secret,
    update_endpoint,
)

AnyRequest = Request[Any, Any, Any]

Url = Annotated[str, Meta(examples=["https://partner.example/webhooks/laurel"])]
Secret = Annotated[str, Meta(description="Without it one is made", examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])]
Rate = Annotated[float, Meta(gt=0, le=10_000, description="Most requests in a second", examples=[50])]
Timeout = Annotated[float, Meta(ge=1, le=30, examples=[10])]
Delay = Annotated[float, Meta(ge=1, le=86_400)]
Delays = Annotated[list[Delay], Meta(max_length=3, description="Waits before the retries", examples=[[15, 120, 900]])]
Events = Annotated[list[str], Meta(min_length=1, max_length=20, description="Which events go there; * for all", examples=[["*"]])]
Description = Annotated[str, Meta(max_length=1000, examples=["The fulfilment service"])]


class WebhookEndpointBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new endpoint. Without `secret` one is made."""

    url: Url
    events: Events = msgspec.field(default_factory=lambda: ["*"])
    enabled: bool = True
    description: Description | None = None
    secret: Secret | None = None
    rate_per_second: Rate = DEFAULT_RATE_PER_SECOND
    timeout_seconds: Timeout = DEFAULT_TIMEOUT_SECONDS
    retry_delays_seconds: Delays = msgspec.field(default_factory=lambda: list(DEFAULT_RETRY_DELAYS))


class WebhookEndpointChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields to change; those that are not given stay."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    rate_per_second: Rate | UnsetType = UNSET
    timeout_seconds: Timeout | UnsetType = UNSET
    retry_delays_seconds: Delays | UnsetType = UNSET


class WebhookBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one webhook of a tenant that needs no more."""

    url: Url
    secret: Secret | None = None


class SecretRotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the old secret signs along; 0 after a leak."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=604_800)] = 86_400
    secret: Secret | None = None


def id_of(text: str, noun: str) -> UUID:
    """The id in a path; NotFound for what cannot be one."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"{noun.capitalize()} not found") from None


async def check_address(url: str, settings: Settings, sender: Sender) -> None:
    """Raise ValidationError unless the URL may be an endpoint's; a name that does not resolve now is accepted."""
    check_url(url, https_only=settings.environment == "production")
    if await sender.is_blocked(url):
        raise ValidationError.of("url", "resolves to an address that is not public")


def check_events(events: list[str]) -> None:
    """Raise ValidationError for an event that does not exist."""
    unknown = [name for name in events if name != "*" and name not in EVENTS]
    if unknown:
        raise ValidationError.of("events", choice_problem(unknown[0], EVENTS))


def choose_secret(given: str | None) -> str:
    """The partner's own secret, checked, or a new one."""
    if given is None:
        return make_secret(os.urandom(SECRET_BYTES))
    check_secret(given)
    return given


@post("/v1/admin/webhook-endpoints", rule=ADMIN, status_code=201, refusals=(LimitReached,))
async def create_webhook_endpoint(
    data: WebhookEndpointBody, principal: Principal, pool: Pool, settings: Settings, sender: Sender, vault: Vault
) -> WebhookEndpointSecret:
    """Create an endpoint. `secret` is only shown in this response."""
    await check_address(data.url, settings, sender)
    check_events(data.events)
    secret = choose_secret(data.secret)
    fields = {name: value for name, value in msgspec.structs.asdict(data).items() if name != "secret"}
    async with transaction(pool) as connection:
        await lock_endpoints(connection, principal.tenant_id)
        sealed = vault.seal(secret, SECRET_PURPOSE)
        endpoint = await create_endpoint(connection, principal.tenant_id, NewEndpoint(**fields), sealed, now=utc_now())
        await resume_without_endpoint(connection, principal.tenant_id, endpoint)
    return WebhookEndpointSecret(**structs.asdict(endpoint_answer(endpoint)), secret=secret)


@get("/v1/admin/webhook-endpoints", rule=ADMIN)
async def list_webhook_endpoints(principal: Principal, pool: Pool, page: Page) -> WebhookEndpointListAnswer:
    """List webhook endpoints, oldest first."""
    async with transaction(pool) as connection:
        found = await list_endpoints(connection, principal.tenant_id, after=page.after_id(), limit=page.limit)
    shown = [endpoint_answer(each) for each in found]
    return WebhookEndpointListAnswer(webhook_endpoints=shown, next_cursor=page.cursor_of(found, "endpoint_id"))


@get("/v1/admin/webhook-endpoints/{endpoint_id:str}", rule=ADMIN)
async def get_webhook_endpoint(endpoint_id: str, principal: Principal, pool: Pool) -> WebhookEndpointAnswer:
    """Get an endpoint, without its secret."""
    async with transaction(pool) as connection:
        return endpoint_answer(await find_endpoint(connection, principal.tenant_id, id_of(endpoint_id, "webhook endpoint")))


@patch("/v1/admin/webhook-endpoints/{endpoint_id:str}", rule=ADMIN)
async def update_webhook_endpoint(
    endpoint_id: str, data: WebhookEndpointChange, principal: Principal, pool: Pool, settings: Settings, sender: Sender
) -> WebhookEndpointAnswer:
    """Change the given fields."""
    changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    if data.url is not UNSET:
        await check_address(data.url, settings, sender)
    if data.events is not UNSET:
        check_events(data.events)
    identity = id_of(endpoint_id, "webhook endpoint")
    async with transaction(pool) as connection:
        await lock_endpoints(connection, principal.tenant_id)
        if data.enabled is True:
            await resume_deliveries(connection, principal.tenant_id, identity)
            changes["disabled_reason"] = None
        elif data.enabled is False:
            await disable_endpoint(connection, principal.tenant_id, identity, "switched off", now=utc_now())
        endpoint = await update_endpoint(connection, principal.tenant_id, identity, changes, now=utc_now())
        await resume_without_endpoint(connection, principal.tenant_id, endpoint)
        return endpoint_answer(endpoint)


@delete("/v1/admin/webhook-endpoints/{endpoint_id:str}", rule=ADMIN, status_code=204)
async def archive_webhook_endpoint(endpoint_id: str, principal: Principal, pool: Pool) -> None:
    """Archive an endpoint. Its deliveries stay in the log. Redemptions waiting for it go to the next endpoint, if there is one."""
    identity = id_of(endpoint_id, "webhook endpoint")
    async with transaction(pool) as connection:
        await lock_endpoints(connection, principal.tenant_id)  # a redemption may just be held for it
        await resume_deliveries(connection, principal.tenant_id, identity)
        await archive_endpoint(connection, principal.tenant_id, identity, utc_now())


@post(
    "/v1/admin/webhook-endpoints/{endpoint_id:str}/rotate-secret",
    rule=ADMIN,
    status_code=200,
    body=SecretRotation,
    refusals=(InvalidState,),
)
async def rotate_webhook_secret(endpoint_id: str, request: AnyRequest, principal: Principal, pool: Pool, vault: Vault) -> RotatedSecret:
    """Create a new secret. Both secrets sign during the overlap. The new one is only shown in this response."""
    body = await request.body()
    rotation = msgspec.convert(await request.json() if body else {}, SecretRotation)
    secret, now = choose_secret(rotation.secret), utc_now()
    identity, overlap = id_of(endpoint_id, "webhook endpoint"), timedelta(seconds=rotation.overlap_seconds)
    async with transaction(pool) as connection:
        sealed = vault.seal(secret, SECRET_PURPOSE)
        await rotate_secret(connection, principal.tenant_id, identity, sealed, overlap=overlap, now=now)
        endpoint = await find_endpoint(connection, principal.tenant_id, identity)
    shown = structs.asdict(endpoint_answer(endpoint))
    return RotatedSecret(**shown, secret=secret, old_secret_expires_at=rfc3339(now + overlap))


@post("/v1/admin/webhook-endpoints/{endpoint_id:str}/enable", rule=ADMIN, status_code=200)
async def enable_webhook_endpoint(endpoint_id: str, principal: Principal, pool: Pool, relay: Relay) -> WebhookEndpointAnswer:
    """Enable an endpoint: held deliveries are sent."""
    identity = id_of(endpoint_id, "webhook endpoint")
    changes = {"enabled": True, "disabled_reason": None}
    async with transaction(pool) as connection:
        await lock_endpoints(connection, principal.tenant_id)
        # Deliveries before the endpoint: the order in which the senders lock them.
        resumed = await resume_deliveries(connection, principal.tenant_id, identity)
        endpoint = await update_endpoint(connection, principal.tenant_id, identity, changes, now=utc_now())
        await resume_without_endpoint(connection, principal.tenant_id, endpoint)
    for each in resumed[:20]:
        relay.try_start(each)
    return endpoint_answer(endpoint)


@post("/v1/admin/webhook-endpoints/{endpoint_id:str}/disable", rule=ADMIN, status_code=200)
async def disable_webhook_endpoint(endpoint_id: str, principal: Principal, pool: Pool) -> WebhookEndpointAnswer:
    """Disable an endpoint: its deliveries are held until it is enabled."""
    identity = id_of(endpoint_id, "webhook endpoint")
    async with transaction(pool) as connection:
        return endpoint_answer(await disable_endpoint(connection, principal.tenant_id, identity, "switched off", now=utc_now()))


async def resume_deliveries(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> list[str]:
    """Release what the endpoint's being disabled held up, and tell the workflows that wait for it; answers their ids."""
    told: list[str] = []
    for _, redemption_id in await release_held(connection, tenant_id, endpoint_id, utc_now()):
        if redemption_id is not None:
            told.append(workflow_id(tenant_id, redemption_id))
            entry = outbox.OutboxCommand(kind="update", workflow_id=told[-1], name=f"resume:{uuid4()}", argument={})
            await outbox.enqueue(connection, tenant_id, entry)
    await wake_pump(connection, tenant_id, endpoint_id)
    return told


@put("/v1/admin/webhook", rule=ADMIN, refusals=(LimitReached,))
async def replace_webhook(
    data: WebhookBody, principal: Principal, pool: Pool, settings: Settings, sender: Sender, vault: Vault
) -> SetWebhook:
    """Short form for a single endpoint.

    It creates the tenant's endpoint for all events (and shows its secret), or changes the oldest one and enables it.
    """
    await check_address(data.url, settings, sender)
    async with transaction(pool) as connection:
        await lock_endpoints(connection, principal.tenant_id)
        present = await list_endpoints(connection, principal.tenant_id, after=None, limit=1)
        if present:
            identity, now = present[0].endpoint_id, utc_now()
            # Who sets the address of a webhook that was switched off (410 Gone, say) wants to be called there. Deliveries first, as above.
            await resume_deliveries(connection, principal.tenant_id, identity)
            if data.secret is not None:
                sealed = vault.seal(choose_secret(data.secret), SECRET_PURPOSE)
                await rotate_secret(connection, principal.tenant_id, identity, sealed, overlap=timedelta(0), now=now)
            changes = {"url": data.url, "enabled": True, "disabled_reason": None}
            changed = await update_endpoint(connection, principal.tenant_id, identity, changes, now=now)
            await resume_without_endpoint(connection, principal.tenant_id, changed)
            return SetWebhook(**structs.asdict(endpoint_answer(changed)))
        secret = choose_secret(data.secret)
        sealed = vault.seal(secret, SECRET_PURPOSE)
        made = await create_endpoint(connection, principal.tenant_id, NewEndpoint(url=data.url), sealed, now=utc_now())
        await resume_without_endpoint(connection, principal.tenant_id, made)
    return SetWebhook(**structs.asdict(endpoint_answer(made)), secret=secret)


routes = [
    create_webhook_endpoint,
    list_webhook_endpoints,
    get_webhook_endpoint,
    update_webhook_endpoint,
    archive_webhook_endpoint,
    rotate_webhook_secret,
    enable_webhook_endpoint,
    disable_webhook_endpoint,
    replace_webhook,
]
