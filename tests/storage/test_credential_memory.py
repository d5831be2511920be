"""What a refused credential costs PostgreSQL: whoever repeats one is answered from memory, for as long as a good one would be."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
import psycopg
import pytest

from api.credential_text import RequestFacts, facts_of
from api.tenant.credential import Authenticator
from api.tenant.token import GamerTokens
from domain.errors import InvalidKey, Unauthorized
from runtime.ids import new_id, utc_now
from runtime.postgres import Pool, make_pool
from runtime.redis import make_redis
from runtime.settings import Settings
from storage.platform.rate_limit import RateLimiter
from storage.tenant.erased_name import keep_erased_name
from tests.builders.api import World, make_world
from tests.issuer import serving_keys, signed, trusted

pytestmark = pytest.mark.usefixtures("pool")

REQUESTS = 2000
"""So many take a second or two; each credential is looked up at most about once in a second."""


def asked_with(credential: str) -> RequestFacts:
    return facts_of("/v1/events", [(b"authorization", f"Bearer {credential}".encode())], b"", ("192.0.2.1", 1))


@asynccontextmanager
async def authenticating(settings: Settings) -> AsyncIterator[tuple[Authenticator, Pool]]:
    pool, redis = make_pool(settings.database_url, "credentials", max_size=2), make_redis(settings)
    await pool.open()
    try:
        yield Authenticator(settings, pool, RateLimiter(redis, 1000)), pool
    finally:
        await pool.close()
        await redis.aclose()


async def look_ups_of(pool: Pool, refused: Callable[[], Awaitable[None]]) -> int:
    """How often the pool was asked for a connection during many refusals."""
    before = pool.get_stats().get("requests_num", 0)
    for _ in range(REQUESTS):
        await refused()
    return pool.get_stats().get("requests_num", 0) - before


async def test_a_wrong_secret_and_a_revoked_key_are_refused_from_memory(settings: Settings) -> None:
    world: World = await make_world(settings, "")
    wrong, revoked = world.keys["admin"][:-5] + "wrong", world.keys["read"]
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute("UPDATE api_key SET revoked_at = now() WHERE public_id = %s", (revoked[3:11],))
    async with authenticating(settings) as (authenticator, pool):
        for key in (wrong, revoked):

            async def refused(key: str = key) -> None:
                with pytest.raises(InvalidKey):
                    await authenticator(asked_with(key))

            assert await look_ups_of(pool, refused) < REQUESTS // 10


async def test_a_token_of_no_tenant_or_of_an_erased_user_is_refused_from_memory(settings: Settings) -> None:
    world: World = await make_world(settings, "")
    with serving_keys() as keys_url:
        there = msgspec.structs.replace(settings, jwt_issuers=trusted(keys_url))
        foreign = signed(org_id="nobody's")
        old = GamerTokens(there).issue(world.tenant_id, "ann", token_id=str(new_id()), now=utc_now(), ttl_seconds=600)
        async with authenticating(there) as (authenticator, pool):
            async with pool.connection() as connection:
                await keep_erased_name(connection, world.tenant_id, "ann", utc_now() + timedelta(seconds=10))
            for token in (foreign, old):

                async def refused(token: str = token) -> None:
                    with pytest.raises(Unauthorized):
                        await authenticator(asked_with(token))

                assert await look_ups_of(pool, refused) < REQUESTS // 10
