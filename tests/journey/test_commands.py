"""The commands that make tenants, keys and people: one JSON object on stdout, and a line in the audit log."""

import json
import subprocess
import sys
from typing import Any
from uuid import UUID

import psycopg
import pytest
from argon2 import PasswordHasher

from runtime.settings import PREFIX
from tests.conftest import REPOSITORY


@pytest.fixture
def environment(postgres_url: str, redis_server: str, pool: object) -> dict[str, str]:
    values = {"DATABASE_URL": postgres_url, "REDIS_URL": redis_server, "SECRET_KEY": "a secret key that only the tests use"}
    return {PREFIX + name: value for name, value in values.items()}


def command(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        (sys.executable, "-m", "cli", *arguments), cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def said(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    status, output, errors = command(environment, *arguments)
    assert status == 0, errors
    return dict(json.loads(output))


def test_a_tenant_a_key_and_a_person_are_made_and_written_down(environment: dict[str, str], postgres_url: str) -> None:
    tenant = said(environment, "tenant", "create", "Acme")
    assert tenant.keys() == {"tenant_id", "name", "api_key"}
    key = said(environment, "key", "create", "--tenant", tenant["tenant_id"], "--role", "read")
    invite = ("user", "invite", "--tenant", tenant["tenant_id"], "--email", "Ann@Example.com")
    person = said(environment, *invite, "--role", "viewer")
    assert (person["email"], person["role"], person["tenant_id"]) == ("Ann@Example.com", "viewer", tenant["tenant_id"])
    status, _, errors = command(environment, *invite)
    assert (status, "already" in errors) == (1, True)
    assert command(environment, "user", "invite", "--tenant", tenant["tenant_id"], "--email", "nobody")[0] == 2
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        (hashed,) = connection.execute("SELECT password_hash FROM console_user WHERE email = 'Ann@Example.com'").fetchone() or ("",)
        assert PasswordHasher().verify(hashed, person["password"])
        log = connection.execute(
            "SELECT subject, actor, after::text FROM audit_log WHERE tenant_id = %s ORDER BY audit_id", (UUID(tenant["tenant_id"]),)
        ).fetchall()
    assert [(subject, actor) for subject, actor, _ in log] == [
        (subject, "command line") for subject in ("tenant", "currency", "api_key", "api_key", "console_user")
    ]
    assert not [after for _, _, after in log if hashed in after or key["api_key"][12:] in after]
