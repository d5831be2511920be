"""Who may sort a board in PostgreSQL now: reads that Redis could not answer wait for each other, and never for long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

from domain import limits
from domain.error import Unavailable
from runtime.tasks import begin_for_all

WAIT_SECONDS = 2.0
Answer = TypeVar("Answer")


class Turns:
    """The scans of a process: the same question is asked once for all who wait for it, and a tenant has so many scans at a time."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}
        self._tenants: dict[UUID, tuple[asyncio.Semaphore, int]] = {}

    async def ask(self, tenant_id: UUID, question: Hashable, scan: Callable[[], Awaitable[Answer]]) -> Answer:
        """The scan's answer, or that of the same one that is under way; raises `Unavailable` when the tenant's turn does not come."""
        task = self._under_way.get(question)
        if task is None:
            task = self._under_way[question] = begin_for_all(self._scan(tenant_id, scan), "board-scan")
            task.add_done_callback(lambda ended: self._forget(question, ended))
        answer: Answer = await asyncio.shield(task)
        return answer

    def _forget(self, question: Hashable, ended: asyncio.Task[Any]) -> None:
        del self._under_way[question]
        if not ended.cancelled():
            ended.exception()  # nobody may be waiting for it

    async def _scan(self, tenant_id: UUID, scan: Callable[[], Awaitable[Answer]]) -> Answer:
        async with self._turn(tenant_id):
            return await scan()

    @asynccontextmanager
    async def _turn(self, tenant_id: UUID) -> AsyncIterator[None]:
        turns, waiting = self._tenants.get(tenant_id) or (asyncio.Semaphore(limits.BOARD_SCANS.value), 0)
        if waiting >= limits.BOARD_SCANS_WAITING.value:
            raise Unavailable("Boards are read from PostgreSQL at the moment, and too many wait", retry_after=1)
        self._tenants[tenant_id] = (turns, waiting + 1)
        try:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await turns.acquire()
            except TimeoutError:
                raise Unavailable("Boards are read from PostgreSQL at the moment, and too many wait", retry_after=1) from None
            try:
                yield
            finally:
                turns.release()
        finally:
            turns, waiting = self._tenants[tenant_id]
            if waiting > 1:
                self._tenants[tenant_id] = (turns, waiting - 1)
            else:
                del self._tenants[tenant_id]
