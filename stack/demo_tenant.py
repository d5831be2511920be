"""The demo tenant of an embedded stack: two API keys and a person for the console (contract 6). Made once, found again after that."""

import os
import secrets
from datetime import datetime
from uuid import UUID

from argon2 import PasswordHasher

from domain.tenant.credential import KeyRole, compose_key, parse_key
from domain.tenant.tenant import Tenant, TenantSettings, TenantStatus
from runtime import postgres
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection
from runtime.settings import Settings
from stack.data_directory import Keys
from storage.tenant import credential, tenant

NAME = "Demo"
EMAIL = "demo@laurel.example"
KEY_RANDOMNESS_BYTES = 40


def fill_in(keys: Keys) -> None:
    """Choose the demo tenant's id and secrets, unless that was done at an earlier start.

    They are chosen and kept before the tenant is made, so a start that dies in between loses nothing.
    """
    keys.tenant_id = keys.tenant_id or str(new_id())
    keys.api_key = keys.api_key or compose_key(os.urandom(KEY_RANDOMNESS_BYTES))
    keys.fulfilment_key = keys.fulfilment_key or compose_key(os.urandom(KEY_RANDOMNESS_BYTES))
    keys.console_email = keys.console_email or EMAIL
    keys.console_password = keys.console_password or secrets.token_urlsafe(12)


async def ensure_demo_tenant(settings: Settings, keys: Keys) -> None:
    """Make the demo tenant with these keys, unless it exists. All of it in one transaction."""
    connection = await postgres.connect(settings.session_url, "demo-tenant")
    async with connection, connection.transaction():
        await tenant.lock_demo(connection)
        tenant_id, now = UUID(keys.tenant_id), utc_now()
        if await tenant.find_tenant(connection, tenant_id) is not None:
            return
        await tenant.create_tenant(connection, _demo(tenant_id, now))
        await _insert_key(connection, tenant_id, keys.api_key, "Demo", role=KeyRole.ADMIN)
        await _insert_key(connection, tenant_id, keys.fulfilment_key, "Demo partner", role=KeyRole.FULFILMENT)
        password_hash = PasswordHasher().hash(keys.console_password)
        await tenant.insert_console_user(
            connection, tenant_id, email=keys.console_email, password_hash=password_hash, role="admin", now=now
        )


def _demo(tenant_id: UUID, now: datetime) -> Tenant:
    return Tenant(
        tenant_id=tenant_id,
        name=NAME,
        status=TenantStatus.ACTIVE,
        org_id=None,
        timezone="UTC",
        cors_origins=(),
        settings=TenantSettings(),
        is_demo=True,
        created_at=now,
        updated_at=now,
    )


async def _insert_key(connection: Connection, tenant_id: UUID, text: str, name: str, *, role: KeyRole) -> None:
    parsed = parse_key(text)
    if parsed is None:
        raise ValueError(f"the demo tenant's {role} key in keys.json is not an API key")
    key = credential.ApiKey(
        tenant_id=tenant_id,
        key_id=new_id(),
        public_id=parsed.public_id,
        name=name,
        role=role,
        created_at=utc_now(),
        expires_at=None,
        revoked_at=None,
        last_used_at=None,
    )
    await credential.insert_key(connection, tenant_id, key, parsed.secret_hash)
