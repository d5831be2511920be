"""The bound on a tenant's definitions holds under any number of requests at once, and concerns that tenant alone."""

import asyncio
from uuid import UUID

import pytest

from domain import limits
from domain.errors import AlreadyExists, LimitReached
from domain.points.ledger import CurrencyDefinition
from domain.tenant.credential import KeyRole
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.points.currency import add_currency
from storage.tenant.credential import create_key, revoke_key
from tests.builders.store import make_tenant


async def a_tenant(pool: Pool) -> UUID:
    async with transaction(pool) as connection:
        return await make_tenant(connection)


async def fill_with_keys(pool: Pool, tenant_id: UUID, keys: int) -> None:
    async with transaction(pool) as connection:
        await connection.execute(
            """
            INSERT INTO api_key (tenant_id, key_id, public_id, secret_hash, name, role, created_at)
            SELECT %s, gen_random_uuid(), gen_random_uuid()::text, 'x', 'filler', 'read', now() FROM generate_series(1, %s)
            """,
            (tenant_id, keys),
        )


async def add_key(pool: Pool, tenant_id: UUID) -> bool:
    try:
        async with transaction(pool) as connection:
            await create_key(connection, tenant_id, name="one more", role=KeyRole.READ)
    except LimitReached:
        return False
    return True


async def test_the_last_place_is_taken_once(pool: Pool) -> None:
    tenant_id, other = await a_tenant(pool), await a_tenant(pool)
    await fill_with_keys(pool, tenant_id, limits.API_KEYS.value - 3)
    assert sum(await asyncio.gather(*(add_key(pool, tenant_id) for _ in range(12)))) == 3
    assert await add_key(pool, other), "another tenant has room of its own"


async def test_what_is_revoked_makes_room(pool: Pool) -> None:
    tenant_id = await a_tenant(pool)
    async with transaction(pool) as connection:
        made = await create_key(connection, tenant_id, name="first", role=KeyRole.READ)
    await fill_with_keys(pool, tenant_id, limits.API_KEYS.value - 1)
    assert not await add_key(pool, tenant_id)
    async with transaction(pool) as connection:
        await revoke_key(connection, tenant_id, made.key.key_id, utc_now())
    assert await add_key(pool, tenant_id)


async def test_one_that_is_there_already_is_not_one_more(pool: Pool) -> None:
    tenant_id = await a_tenant(pool)
    async with transaction(pool) as connection:
        present = await (await connection.execute("SELECT count(*) AS n FROM currency WHERE tenant_id = %s", (tenant_id,))).fetchone()
        assert present is not None
        for number in range(limits.CURRENCIES.value - present["n"]):
            await add_currency(connection, tenant_id, CurrencyDefinition(currency_id=f"c{number}", name="C"), utc_now())
    with pytest.raises(AlreadyExists):
        async with transaction(pool) as connection:
            await add_currency(connection, tenant_id, CurrencyDefinition(currency_id="c0", name="C"), utc_now())
    with pytest.raises(LimitReached):
        async with transaction(pool) as connection:
            await add_currency(connection, tenant_id, CurrencyDefinition(currency_id="more", name="C"), utc_now())
