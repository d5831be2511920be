"""Little is done at once, some wait, and nobody waits in a crowd or for ever."""

import asyncio

import pytest

from runtime.slots import CrowdedError, Slots


async def test_little_is_done_at_once_and_a_crowd_is_refused() -> None:
    slots, go, at_work = Slots(2, 4), asyncio.Event(), list[int]()

    async def work(number: int) -> None:
        async with slots.slot():
            at_work.append(number)
            await go.wait()

    async with asyncio.TaskGroup() as crowd:
        for number in range(4):
            crowd.create_task(work(number))
        while slots.present < 4:
            await asyncio.sleep(0)
        assert at_work == [0, 1]
        with pytest.raises(CrowdedError):
            await work(4)
        go.set()
    assert (at_work, slots.present) == ([0, 1, 2, 3], 0)


async def test_a_wait_ends_and_whoever_gave_up_takes_no_slot() -> None:
    slots = Slots(1, 2, wait_seconds=0.01)
    async with slots.slot():
        with pytest.raises(CrowdedError):
            async with slots.slot():
                pytest.fail("two at once")
        assert slots.present == 1
    async with slots.slot():
        assert slots.present == 1


async def test_the_limit_of_the_wait_is_none_of_the_work() -> None:
    slots = Slots(1, 1, wait_seconds=0.01)
    async with slots.slot():
        await asyncio.sleep(0.05)
    with pytest.raises(TimeoutError):
        async with slots.slot():
            raise TimeoutError
