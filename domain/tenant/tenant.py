"""A tenant: who it is, whether it may act, and how it wants its events treated (contracts 2 and 6)."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

import msgspec


class TenantStatus(StrEnum):
    """Whether a tenant may act."""

    ACTIVE = "active"  # everything works
    SUSPENDED = "suspended"  # 403 on every surface but the redemption callback; running workflows go on


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant's admin may set. `metadata` is free."""

    event_types: Literal["open", "declared"] = "open"
    users: Literal["auto", "identified"] = "auto"
    metadata: dict[str, Any] = {}


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One customer of the platform."""

    tenant_id: UUID
    name: str
    status: TenantStatus
    org_id: str | None
    timezone: str
    cors_origins: tuple[str, ...]
    settings: TenantSettings
    is_demo: bool
    created_at: datetime
    updated_at: datetime
    rate_limit_per_second: int | None = None


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that judge requests. It stays in memory with every credential, so what is free in size (`metadata`) is left out."""

    event_types: Literal["open", "declared"] = "open"
    users: Literal["auto", "identified"] = "auto"


class TenantAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What a request must know of its tenant."""

    tenant_id: UUID
    status: TenantStatus
    cors_origins: tuple[str, ...]
    settings: AccessSettings
    event_types_version: int = 0
    rate_limit_per_second: int | None = None
    last_erased_at: datetime | None = None
    """When a user of it was last erased, of those lately; only for tokens."""

    @property
    def any_type_goes(self) -> bool:
        """Whether events need no look at declared types: none was ever declared, and none must be."""
        return self.event_types_version == 0 and self.settings.event_types == "open"

    def allows_origin(self, origin: str) -> bool:
        """Whether the tenant lists the browser's origin."""
        return origin in self.cors_origins or "*" in self.cors_origins
