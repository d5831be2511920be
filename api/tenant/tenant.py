"""Tenants for the operator; keys, settings and gamer tokens inside a tenant (contracts 1 and 6)."""

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import available_timezones

import msgspec
import psycopg
from litestar import delete, get, patch, post
from msgspec import UNSET, Meta, UnsetType, structs

from api.pagination import Page
from api.principal import Admission, Principal
from api.rule import ADMIN, OPERATOR, Audit, allow
from api.tenant.credential import Authenticator
from api.tenant.token import GamerTokens
from domain import limits
from domain.errors import AlreadyExists, LimitReached, NotFound, UserNotFound, ValidationError
from domain.tenant.credential import KeyRole
from domain.tenant.tenant import Tenant, TenantSettings, TenantStatus
from domain.wire import ExternalId, FreeForm, GivenInstant, Id, Instant, NextCursor, optional_rfc3339, parse_external_id, rfc3339
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, transaction
from storage.tenant import credential
from storage.tenant import tenant as storage
from storage.tenant.audit import record_token

Name = Annotated[str, Meta(min_length=1, max_length=200, examples=["Acme Games"])]
Origin = Annotated[str, Meta(pattern=r"^(\*|https?://[A-Za-z0-9.\[\]:-]+)$", max_length=300, examples=["https://play.example.com"])]
Origins = Annotated[list[Origin], Meta(max_length=limits.CORS_ORIGINS.value)]
OrgId = Annotated[str, Meta(min_length=1, max_length=200)]
Rate = Annotated[int, Meta(ge=1, le=10_000_000)]
Timezone = Annotated[str, Meta(description="An IANA time zone", examples=["Asia/Ho_Chi_Minh"])]
TTL_SECONDS = 3600


class TenantAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant as operators see it."""

    tenant_id: Id
    name: Annotated[str, Meta(examples=["Acme Games"])]
    status: TenantStatus
    org_id: Annotated[str | None, Meta(description="The organisation whose tokens belong to the tenant")]
    timezone: Timezone
    cors_origins: tuple[str, ...]
    settings: TenantSettings
    rate_limit_per_second: Annotated[int | None, Meta(description="null: the installation's own", examples=[200])]
    created_at: Instant
    updated_at: Instant


class TenantListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All tenants, newest first."""

    tenants: list[TenantAnswer]
    next_cursor: NextCursor


class TenantBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What an operator says of a new tenant."""

    name: Name
    status: TenantStatus = TenantStatus.ACTIVE
    org_id: OrgId | None = None
    timezone: Timezone = "UTC"
    cors_origins: Origins = []
    settings: TenantSettings = msgspec.field(default_factory=TenantSettings)
    rate_limit_per_second: Rate | None = None


class TenantChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an operator changes of a tenant; what is not given stays."""

    name: Name | UnsetType = UNSET
    status: TenantStatus | UnsetType = UNSET
    org_id: OrgId | UnsetType | None = UNSET
    timezone: Timezone | UnsetType = UNSET
    cors_origins: Origins | UnsetType = UNSET
    settings: "SettingsChange | UnsetType" = UNSET
    rate_limit_per_second: Rate | UnsetType | None = UNSET


class SettingsChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a tenant's admin changes of its settings; what is not given stays."""

    event_types: Literal["open", "declared"] | UnsetType = UNSET
    users: Literal["auto", "identified"] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's settings as its admin sees them."""

    event_types: Literal["open", "declared"]
    users: Literal["auto", "identified"]
    metadata: Annotated[FreeForm, Meta(description="The tenant's own notes")]
    timezone: Timezone
    cors_origins: Annotated[
        tuple[str, ...], Meta(description="Which browsers may call: their origins", examples=[["https://play.example.com"]])
    ]


class AdminSettingsChange(SettingsChange, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a tenant's admin changes; what is not given stays."""

    timezone: Timezone | UnsetType = UNSET
    cors_origins: Origins | UnsetType = UNSET


class ApiKeyBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is said of a new API key."""

    name: Name
    role: Annotated[KeyRole, Meta(examples=["server"])]
    expires_at: Annotated[GivenInstant | None, Meta(description="null: never", examples=[None])] = None


class ApiKeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An API key, without its text."""

    api_key_id: Id
    name: Annotated[str, Meta(examples=["Game server"])]
    role: KeyRole
    prefix: Annotated[str, Meta(description="How the key begins", examples=["lk_a1b2c3d4"])]
    created_at: Instant
    expires_at: Annotated[Instant | None, Meta(description="null: never")]
    last_used_at: Instant | None
    revoked_at: Instant | None


class CreatedApiKey(ApiKeyAnswer, frozen=True, kw_only=True):
    """An API key that was just made, with its text, which is shown this once."""

    key: Annotated[str, Meta(examples=["lk_a1b2c3d4_…"])]


class ApiKeyListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's API keys, newest first."""

    api_keys: list[ApiKeyAnswer]
    next_cursor: NextCursor


class GamerToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token with which a user acts for themselves."""

    token: Annotated[str, Meta(description="For Authorization: Bearer", examples=["eyJhbGciOiJFZERTQSIs…"])]
    expires_at: Instant
    user_id: ExternalId


class GamerTokenRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """For whom a token is wanted, and for how long."""

    user_id: ExternalId
    ttl_seconds: Annotated[int, Meta(ge=60, le=86_400)] = TTL_SECONDS


def tenant_answer(tenant: Tenant) -> TenantAnswer:
    """The tenant as operators see it."""
    return TenantAnswer(
        tenant_id=tenant.tenant_id,
        name=tenant.name,
        status=tenant.status,
        org_id=tenant.org_id,
        timezone=tenant.timezone,
        cors_origins=tenant.cors_origins,
        settings=tenant.settings,
        rate_limit_per_second=tenant.rate_limit_per_second,
        created_at=rfc3339(tenant.created_at),
        updated_at=rfc3339(tenant.updated_at),
    )


def admin_settings(tenant: Tenant) -> AdminSettings:
    """The settings as the tenant's admin sees them."""
    settings = tenant.settings
    return AdminSettings(
        event_types=settings.event_types,
        users=settings.users,
        metadata=settings.metadata,
        timezone=tenant.timezone,
        cors_origins=tenant.cors_origins,
    )


def key_answer(key: credential.ApiKey) -> ApiKeyAnswer:
    """The key as its tenant sees it."""
    return ApiKeyAnswer(
        api_key_id=key.key_id,
        name=key.name,
        role=key.role,
        prefix=f"lk_{key.public_id}",
        created_at=rfc3339(key.created_at),
        expires_at=optional_rfc3339(key.expires_at),
        last_used_at=optional_rfc3339(key.last_used_at),
        revoked_at=optional_rfc3339(key.revoked_at),
    )


def check_timezone(name: str) -> None:
    """Raise `ValidationError` unless the IANA database knows the zone."""
    if name not in available_timezones():
        raise ValidationError.of("timezone", "is not an IANA time zone, such as Asia/Ho_Chi_Minh or UTC")


@post("/v1/operator/tenants", rule=OPERATOR, refusals=(AlreadyExists,))
async def create_tenant(data: TenantBody, pool: Pool) -> TenantAnswer:
    """Create a tenant with the currency `points`."""
    check_timezone(data.timezone)
    now = utc_now()
    tenant = Tenant(
        tenant_id=new_id(),
        name=data.name,
        status=data.status,
        org_id=data.org_id,
        timezone=data.timezone,
        cors_origins=tuple(data.cors_origins),
        settings=data.settings,
        is_demo=False,
        created_at=now,
        updated_at=now,
        rate_limit_per_second=data.rate_limit_per_second,
    )
    try:
        async with transaction(pool) as connection:
            await storage.create_tenant(connection, tenant)
    except psycopg.errors.UniqueViolation:
        raise AlreadyExists("Another tenant already uses this org_id") from None
    return tenant_answer(tenant)


@get("/v1/operator/tenants", rule=OPERATOR)
async def list_tenants(pool: Pool, page: Page) -> TenantListAnswer:
    """List all tenants, newest first."""
    async with pool.connection() as connection:
        tenants = await storage.list_tenants(connection, after=page.after_id(), limit=page.limit)
    return TenantListAnswer(tenants=[tenant_answer(each) for each in tenants], next_cursor=page.cursor_of(tenants, "tenant_id"))


@patch("/v1/operator/tenants/{tenant_id:uuid}", rule=OPERATOR, refusals=(AlreadyExists,))
async def update_tenant(tenant_id: UUID, data: TenantChange, pool: Pool) -> TenantAnswer:
    """Change the given fields of a tenant."""
    changes: dict[str, Any] = msgspec.to_builtins(data)
    if "timezone" in changes:
        check_timezone(changes["timezone"])
    try:
        return tenant_answer(await _change(pool, tenant_id, changes))
    except psycopg.errors.UniqueViolation:
        raise AlreadyExists("Another tenant already uses this org_id") from None


async def _change(pool: Pool, tenant_id: UUID, changes: dict[str, Any]) -> Tenant:
    async with transaction(pool) as connection:
        tenant = await storage.lock_tenant(connection, tenant_id)
        if tenant is None:
            raise NotFound("Tenant not found")
        if "settings" in changes:
            changes["settings"] = msgspec.to_builtins(tenant.settings) | changes["settings"]
            if len(msgspec.json.encode(changes["settings"]["metadata"])) > limits.SETTINGS_BYTES.value:
                raise ValidationError.of("metadata", f"is larger than {limits.SETTINGS_BYTES.value} bytes of JSON")
        return await storage.update_tenant(connection, tenant_id, changes, utc_now())


@get("/v1/admin/settings", rule=ADMIN)
async def get_settings(principal: Principal, pool: Pool) -> AdminSettings:
    """Get the tenant's settings."""
    async with pool.connection() as connection:
        tenant = await storage.find_tenant(connection, principal.tenant_id)
    if tenant is None:
        raise NotFound("Tenant not found")
    return admin_settings(tenant)


@patch("/v1/admin/settings", rule=ADMIN)
async def update_settings(principal: Principal, data: AdminSettingsChange, pool: Pool) -> AdminSettings:
    """Change the given settings. A new time zone applies from now on; open windows keep their board's time zone."""
    given: dict[str, Any] = msgspec.to_builtins(data)
    changes: dict[str, Any] = {name: given.pop(name) for name in ("timezone", "cors_origins") if name in given}
    if "timezone" in changes:
        check_timezone(changes["timezone"])
    return admin_settings(await _change(pool, principal.tenant_id, {**changes, "settings": given}))


@post("/v1/admin/api-keys", rule=ADMIN, refusals=(LimitReached,))
async def create_api_key(principal: Principal, data: ApiKeyBody, pool: Pool) -> CreatedApiKey:
    """Create an API key. Its text is only in this response."""
    if data.expires_at is not None and data.expires_at <= utc_now():
        raise ValidationError.of("expires_at", "must be in the future")
    async with transaction(pool) as connection:
        made = await credential.create_key(connection, principal.tenant_id, name=data.name, role=data.role, expires_at=data.expires_at)
    return CreatedApiKey(**structs.asdict(key_answer(made.key)), key=made.text)


@get("/v1/admin/api-keys", rule=ADMIN)
async def list_api_keys(principal: Principal, pool: Pool, page: Page) -> ApiKeyListAnswer:
    """List the tenant's API keys, newest first, without their text."""
    async with pool.connection() as connection:
        keys = await credential.list_keys(connection, principal.tenant_id, after=page.after_id(), limit=page.limit)
    return ApiKeyListAnswer(api_keys=[key_answer(key) for key in keys], next_cursor=page.cursor_of(keys, "key_id"))


@delete("/v1/admin/api-keys/{api_key_id:uuid}", rule=ADMIN, status_code=204)
async def revoke_api_key(principal: Principal, api_key_id: UUID, pool: Pool) -> None:
    """Revoke an API key. It stops working within a second. Revoking it again changes nothing."""
    async with transaction(pool) as connection:
        if not await credential.revoke_key(connection, principal.tenant_id, api_key_id, utc_now()):
            raise NotFound("API key not found")


@post("/v1/auth/gamer-token", rule=allow("server", audit=Audit.ALWAYS), refusals=(UserNotFound,))
async def create_gamer_token(
    admission: Admission, data: GamerTokenRequest, authenticator: Authenticator, gamer_tokens: GamerTokens, pool: Pool
) -> GamerToken:
    """Create a token with which a user acts for themselves. The audit log records who asked for it."""
    external_id = parse_external_id(data.user_id, "user_id")
    tenant_id = admission.tenant.tenant_id
    if admission.tenant.settings.users == "identified" and not await authenticator.user_exists(tenant_id, external_id):
        raise UserNotFound(f"User '{external_id}' not found")
    now = utc_now().replace(microsecond=0)
    token_id, expires_at = str(new_id()), rfc3339(now + timedelta(seconds=data.ttl_seconds))
    async with transaction(pool) as connection:
        await record_token(connection, tenant_id, external_id=external_id, token_id=token_id, expires_at=expires_at)
    token = gamer_tokens.issue(tenant_id, external_id, token_id=token_id, now=now, ttl_seconds=data.ttl_seconds)
    return GamerToken(token=token, expires_at=expires_at, user_id=external_id)


routes = [
    create_tenant,
    list_tenants,
    update_tenant,
    get_settings,
    update_settings,
    create_api_key,
    list_api_keys,
    revoke_api_key,
    create_gamer_token,
]
