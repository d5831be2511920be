"""The secret key is changed without a pause: what the old one sealed and signed holds, until it is sealed anew."""

from uuid import uuid4

import msgspec
import pytest

from api.tenant.token import GamerTokens, TokenVerifier
from cli.secrets import rotate
from domain.errors import Unauthorized
from runtime.crypto import UnsealError, Vault
from runtime.ids import utc_now
from runtime.postgres import Pool
from runtime.settings import Settings
from storage.webhook.endpoint import SECRET_PURPOSE
from tests.builders.api import add_tenant

OLD, NEW = "an old secret key that was in use before", "a new secret key, to be used from now on"


async def test_secrets_are_sealed_again_once_and_open_with_the_new_key_alone(pool: Pool, settings: Settings) -> None:
    endpoint_id = uuid4()
    async with pool.connection() as connection, connection.transaction():
        tenant = await add_tenant(connection)
        await connection.execute(
            "INSERT INTO webhook_endpoint (tenant_id, endpoint_id, url, events, enabled, rate_per_second, timeout_seconds,"
            " retry_delays_seconds, created_at, updated_at)"
            " VALUES (%s, %s, 'http://127.0.0.1:9/', '{webhook.test}', true, 10, 5, '{1}', now(), now())",
            (tenant.tenant_id, endpoint_id),
        )
        sealed = Vault(OLD).seal("whsec_abc", SECRET_PURPOSE)
        await connection.execute(
            "INSERT INTO webhook_secret (tenant_id, secret_id, endpoint_id, sealed, created_at) VALUES (%s, %s, %s, %s, now())",
            (tenant.tenant_id, uuid4(), endpoint_id, sealed),
        )
    changed = msgspec.structs.replace(settings, secret_key=NEW, secret_key_previous=(OLD,))
    assert (await rotate(changed), await rotate(changed)) == (1, 0)
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT sealed FROM webhook_secret")).fetchone()
    assert row is not None
    assert Vault(NEW).open(bytes(row["sealed"]), SECRET_PURPOSE) == "whsec_abc"
    with pytest.raises(UnsealError):
        await rotate(msgspec.structs.replace(settings, secret_key=OLD))


async def test_tokens_of_the_previous_key_hold_while_it_is_named(settings: Settings) -> None:
    before = msgspec.structs.replace(settings, secret_key=OLD)
    token = GamerTokens(before).issue(uuid4(), "ann", token_id="t", now=utc_now(), ttl_seconds=600)
    after = msgspec.structs.replace(settings, secret_key=NEW, secret_key_previous=(OLD,))
    assert (await TokenVerifier(after).verify(token)).subject == "ann"
    with pytest.raises(Unauthorized):
        await TokenVerifier(msgspec.structs.replace(after, secret_key_previous=())).verify(token)
