"""`laurel tenant create`, `laurel key create`, `laurel token`: one JSON object on stdout, all else on stderr (contract 6)."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import rich_click as click

from domain.errors import NotFound, ValidationError
from domain.tenant.credential import KeyRole
from domain.tenant.tenant import Tenant, TenantSettings, TenantStatus
from domain.wire import parse_external_id, rfc3339
from runtime import postgres
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, acting, name_actor
from runtime.settings import Settings
from stack.data_directory import data_dir_option, settings_for
from storage.tenant import credential
from storage.tenant import tenant as storage

BY_COMMAND = "command line"
"""Who acts, for the audit log."""
SHORTEST_TOKEN_SECONDS, LONGEST_TOKEN_SECONDS = 60, 86_400


def print_answer(settings: Settings, work: Callable[[Connection], Awaitable[dict[str, Any]]]) -> None:
    """Do the work in one transaction and print what it answers as one line of JSON."""

    async def run() -> dict[str, Any]:
        connection = await postgres.connect(settings.session_url, "command")
        acting.set((BY_COMMAND, ""))
        async with connection, connection.transaction():
            await name_actor(connection)
            return await work(connection)

    click.echo(msgspec.json.encode(asyncio.run(run())).decode())


async def known_tenant(connection: Connection, text: str) -> Tenant:
    """The tenant of that id; raises `ValidationError` for what is no id and `NotFound` for what is no tenant's."""
    try:
        tenant_id = UUID(text)
    except ValueError:
        raise ValidationError(f"'{text}' is not a tenant id: it must be a UUID") from None
    found = await storage.find_tenant(connection, tenant_id)
    if found is None:
        raise NotFound(f"No tenant {text}")
    return found


async def make_tenant(connection: Connection, name: str) -> dict[str, Any]:
    """Make a tenant with an API key of role admin; answers `{"tenant_id", "name", "api_key"}`."""
    now = utc_now()
    made = Tenant(
        tenant_id=new_id(),
        name=name,
        status=TenantStatus.ACTIVE,
        org_id=None,
        timezone="UTC",
        cors_origins=(),
        settings=TenantSettings(),
        is_demo=False,
        created_at=now,
        updated_at=now,
    )
    await storage.create_tenant(connection, made)
    key = await credential.create_key(connection, made.tenant_id, name="First key", role=KeyRole.ADMIN)
    return {"tenant_id": str(made.tenant_id), "name": name, "api_key": key.text}


@click.group()
def tenant() -> None:
    """Create tenants."""


@tenant.command("create")
@click.argument("name")
@data_dir_option
def create_tenant(name: str, data_dir: Path) -> None:
    """Create a tenant called NAME with an API key of role admin."""
    if not 1 <= len(name) <= 200:
        raise click.UsageError("NAME must have 1 to 200 characters")

    print_answer(settings_for(data_dir), lambda connection: make_tenant(connection, name))


@click.group()
def key() -> None:
    """Create API keys."""


@key.command("create")
@click.option("--tenant", "tenant_text", required=True, metavar="T", help="Id of the tenant.")
@click.option("--role", required=True, type=click.Choice([role.value for role in KeyRole]), help="What the key may do.")
@click.option("--name", default="From the command line", show_default=True, help="What the key is called.")
@data_dir_option
def create_key(tenant_text: str, role: str, name: str, data_dir: Path) -> None:
    """Create an API key. It is shown here and never again."""

    async def work(connection: Connection) -> dict[str, Any]:
        owner = await known_tenant(connection, tenant_text)
        made = await credential.create_key(connection, owner.tenant_id, name=name, role=KeyRole(role))
        return {
            "api_key_id": str(made.key.key_id),
            "tenant_id": str(owner.tenant_id),
            "name": name,
            "role": role,
            "api_key": made.text,
        }

    print_answer(settings_for(data_dir), work)


@click.command()
@click.option("--tenant", "tenant_text", required=True, metavar="T", help="Id of the tenant.")
@click.option("--user", required=True, metavar="U", help="The user's external id.")
@click.option(
    "--ttl-seconds", default=3600, show_default=True, type=click.IntRange(SHORTEST_TOKEN_SECONDS, LONGEST_TOKEN_SECONDS), help="Life."
)
@data_dir_option
def token(tenant_text: str, user: str, ttl_seconds: int, data_dir: Path) -> None:
    """Make a token with which one user acts for itself."""
    from api.tenant.token import GamerTokens

    settings = settings_for(data_dir)
    external_id = parse_external_id(user, "user")

    async def work(connection: Connection) -> dict[str, Any]:
        owner = await known_tenant(connection, tenant_text)
        now = utc_now().replace(microsecond=0)
        text = GamerTokens(settings).issue(owner.tenant_id, external_id, token_id=str(new_id()), now=now, ttl_seconds=ttl_seconds)
        expires_at = rfc3339(now + timedelta(seconds=ttl_seconds))
        return {"token": text, "expires_at": expires_at, "user_id": external_id, "tenant_id": str(owner.tenant_id)}

    print_answer(settings, work)
