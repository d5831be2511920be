"""Notifications are sent after the commit, those of many transactions together, and never for one that failed."""

import asyncio

import pytest

from runtime.postgres import Pool, connect, notify, transaction

CHANNEL = "laurel_test"


async def heard(pool: Pool, work, count: int) -> list[str]:
    """What is said until so many different payloads were heard, and just after."""
    listener = await connect(str(pool.conninfo), "listener")
    async with listener:
        await listener.execute(f"LISTEN {CHANNEL}".encode())
        await work()
        found: list[str] = []
        async with asyncio.timeout(60):
            while len(set(found)) < count:
                found += [each.payload async for each in listener.notifies(timeout=1.0, stop_after=1)]
        return found + [each.payload async for each in listener.notifies(timeout=0.1)]


async def test_a_crowd_of_transactions_is_told_once_each(pool: Pool):
    async def one(number: int) -> None:
        async with transaction(pool) as connection:
            await notify(connection, CHANNEL, str(number % 5))

    async def work() -> None:
        await asyncio.gather(*(one(number) for number in range(40)))

    told = await heard(pool, work, 5)
    assert set(told) == {"0", "1", "2", "3", "4"}
    assert len(told) < 40, "many in one"


async def test_a_transaction_that_fails_tells_nothing(pool: Pool):
    async def work() -> None:
        with pytest.raises(ValueError, match="no"):  # noqa: PT012
            async with transaction(pool) as connection:
                await notify(connection, CHANNEL, "wrong")
                raise ValueError("no")
        async with transaction(pool) as connection:
            await notify(connection, CHANNEL, "right")

    assert await heard(pool, work, 1) == ["right"]


async def test_a_transaction_of_ones_own_tells_at_its_commit(pool: Pool):
    async def work() -> None:
        async with await connect(str(pool.conninfo), "own") as connection, connection.transaction():
            await notify(connection, CHANNEL, "own")

    assert await heard(pool, work, 1) == ["own"]
