"""Work of which little is done at once: who comes waits for a slot, some may wait, and all others are refused at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CrowdedError(Exception):
    """Too many wait already, or the wait was too long: nothing was done."""


class Slots:
    """At most `at_once` of them are taken, and `present` wait or are at work together. What belongs to one tenant has slots of its own."""

    def __init__(self, at_once: int, present: int, *, wait_seconds: float | None = None) -> None:
        """Nobody is there. None: whoever waits does so until its turn comes."""
        self._free = asyncio.Semaphore(at_once)
        self._most, self._wait_seconds = present, wait_seconds
        self.present = 0
        """How many wait or are at work."""

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Take a slot for what stands inside; raises `CrowdedError`."""
        if self.present >= self._most:
            raise CrowdedError
        self.present += 1
        try:
            try:
                async with asyncio.timeout(self._wait_seconds):
                    await self._free.acquire()
            except TimeoutError:
                raise CrowdedError from None
            try:
                yield
            finally:
                self._free.release()
        finally:
            self.present -= 1
