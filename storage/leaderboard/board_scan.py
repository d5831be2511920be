"""Who may sort a board in PostgreSQL now: reads that Redis could not answer wait for each other, and never for long."""

from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

from domain import limits
from domain.errors import Unavailable
from runtime.slots import CrowdedError, Slots
from runtime.tasks import SharedAnswers

WAIT_SECONDS = 2.0
Answer = TypeVar("Answer")


class BoardScans:
    """The scans of a process: the same question is asked once for all who wait for it, and a tenant has so many scans at a time."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._answers = SharedAnswers("board-scan")
        self._tenants: dict[UUID, Slots] = {}

    async def ask(self, tenant_id: UUID, question: Hashable, scan: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """The scan's answer, or that of the same one that is under way; raises `Unavailable` when the tenant's turn does not come."""
        return await self._answers.ask(question, lambda: self._scan(tenant_id, scan))

    async def _scan(self, tenant_id: UUID, scan: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        async with self._slot(tenant_id):
            return await scan()

    @asynccontextmanager
    async def _slot(self, tenant_id: UUID) -> AsyncIterator[None]:
        slots = self._tenants.get(tenant_id)
        if slots is None:
            slots = Slots(limits.BOARD_SCANS.value, limits.BOARD_SCANS_WAITING.value, wait_seconds=WAIT_SECONDS)
            self._tenants[tenant_id] = slots
        try:
            async with slots.slot():
                yield
        except CrowdedError:
            raise Unavailable("Boards are currently read from PostgreSQL, and too many requests are waiting", retry_after=1) from None
        finally:
            if not slots.present:
                self._tenants.pop(tenant_id, None)
