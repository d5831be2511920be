"""`laurel user invite`: let a person sign in to a tenant's console (contract 6)."""

import secrets
from pathlib import Path
from typing import Any

import psycopg
import rich_click as click
from argon2 import PasswordHasher

from cli.tenant import known_tenant, print_answer
from domain.errors import AlreadyExists
from runtime.ids import utc_now
from runtime.postgres import Connection
from stack.data_directory import data_dir_option, settings_for
from storage.tenant.tenant import insert_console_user

PASSWORD_BYTES = 15
LONGEST_EMAIL = 254


@click.group()
def user() -> None:
    """Invite people to the console."""


@user.command("invite")
@click.option("--tenant", "tenant_text", required=True, metavar="T", help="Id of the tenant.")
@click.option("--email", required=True, metavar="E", help="The address with which the person signs in.")
@click.option("--role", default="admin", show_default=True, type=click.Choice(["admin", "viewer"]), help="What the person may do.")
@data_dir_option
def invite(tenant_text: str, email: str, role: str, data_dir: Path) -> None:
    """Let a person sign in to the tenant's console. The password is shown here and never again; it holds for 7 days, for one sign-in."""
    name, at, host = email.partition("@")
    if not (name and at and host) or len(email) > LONGEST_EMAIL or not email.isprintable() or " " in email:
        raise click.UsageError(f"'{email}' is not an email address")
    settings = settings_for(data_dir)
    password = secrets.token_urlsafe(PASSWORD_BYTES)

    async def work(connection: Connection) -> dict[str, Any]:
        owner = await known_tenant(connection, tenant_text)
        hashed = PasswordHasher().hash(password)
        try:
            await insert_console_user(
                connection, owner.tenant_id, email=email, password_hash=hashed, role=role, now=utc_now(), is_invited=True
            )
        except psycopg.errors.UniqueViolation:
            raise AlreadyExists(f"'{email}' already has access") from None
        return {
            "tenant_id": str(owner.tenant_id),
            "email": email,
            "role": role,
            "password": password,
            "console_url": f"{settings.public_url}/console",
        }

    print_answer(settings, work)
