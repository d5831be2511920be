"""Shares: how the tenants of one process have the turns of something scarce."""

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from runtime import shares as module
from runtime.shares import Asker, TurnShares
from runtime.slots import CrowdedError

HOSTILE, GOOD = UUID(int=1), UUID(int=2)


def some(*, alone: int = 3, beside: int = 1, waiting: int = 100, wait_seconds: float = 5.0) -> TurnShares:
    return TurnShares(alone=alone, beside=beside, waiting=waiting, wait_seconds=wait_seconds)


async def holders(shares: TurnShares, stack: AsyncExitStack, tenant: UUID, count: int) -> None:
    for _ in range(count):
        await asyncio.wait_for(stack.enter_async_context(shares.turn(Asker(tenant, "a"))), 1)


class Queue:
    """Requests that wait, in the order in which they had their turns."""

    def __init__(self, shares: TurnShares) -> None:
        self.shares, self.served = shares, []  # type: ignore[var-annotated]
        self.tasks: list[asyncio.Task[None]] = []

    async def join(self, tenant: UUID, person: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._have(tenant, person))
        self.tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def _have(self, tenant: UUID, person: str) -> None:
        async with self.shares.turn(Asker(tenant, person)):
            self.served.append(person)
            await asyncio.sleep(0)


async def test_a_tenant_waits_for_its_own_requests_and_never_for_another_tenants() -> None:
    shares = some()
    queue = Queue(shares)
    async with AsyncExitStack() as held:
        await holders(shares, held, HOSTILE, 3)
        for _ in range(20):
            await queue.join(HOSTILE, "flood")
        async with AsyncExitStack() as good:
            await holders(shares, good, GOOD, 1)
        assert queue.served == []
    await asyncio.gather(*queue.tasks)
    assert queue.served == ["flood"] * 20


async def test_a_lone_tenant_has_more_until_another_one_comes_and_again_after_a_quiet_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = some()
    async with AsyncExitStack() as held:
        await holders(shares, held, HOSTILE, 3)
    async with AsyncExitStack() as held:
        await holders(shares, held, GOOD, 1)
        await holders(shares, held, HOSTILE, 1)
        late = await Queue(shares).join(HOSTILE, "a")
        assert not late.done()
        monkeypatch.setattr(module, "QUIET_SECONDS", 0.0)
    await late
    async with AsyncExitStack() as held:
        await holders(shares, held, HOSTILE, 3)


async def test_the_people_of_a_tenant_take_turns() -> None:
    queue = Queue(shares := some(alone=1))
    async with AsyncExitStack() as held:
        await holders(shares, held, HOSTILE, 1)
        for person in ["flood"] * 5 + ["player"]:
            await queue.join(HOSTILE, person)
    await asyncio.gather(*queue.tasks)
    assert queue.served.index("player") == 1


async def test_whoever_is_too_many_or_waits_too_long_is_refused_and_leaves_nothing_behind() -> None:
    shares = some(alone=1, waiting=2, wait_seconds=0.05)
    queue = Queue(shares)
    async with AsyncExitStack() as held:
        await holders(shares, held, HOSTILE, 1)
        waiting = [await queue.join(HOSTILE, "a") for _ in range(2)]
        with pytest.raises(CrowdedError):
            await (await queue.join(HOSTILE, "a"))
        for each in waiting:
            with pytest.raises(CrowdedError):
                await each
    async with AsyncExitStack() as held:
        await holders(shares, held, HOSTILE, 1)


async def test_a_turn_that_comes_in_the_moment_of_giving_up_goes_to_the_next() -> None:
    shares = some(alone=1)
    queue = Queue(shares)
    async with AsyncExitStack() as held:
        await holders(shares, held, HOSTILE, 1)
        gone, next_one = await queue.join(HOSTILE, "a"), await queue.join(HOSTILE, "b")
    gone.cancel()
    await asyncio.wait_for(next_one, 1)
    assert queue.served == ["b"]


async def test_the_process_itself_waits_for_nobody() -> None:
    shares = some(alone=1)
    async with AsyncExitStack() as held:
        await holders(shares, held, HOSTILE, 1)
        async with asyncio.timeout(1), shares.turn(None):
            pass
