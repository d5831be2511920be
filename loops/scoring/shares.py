"""What each tenant may have of a process's scoring at a time, so that no tenant's rules or events slow another's (decision 26)."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from uuid import UUID

import msgspec

from domain import limits

CROWDED_SECONDS = 10.0
"""A tenant whose events were scored within this time counts as one that others must leave room for."""


class Share(msgspec.Struct, frozen=True):
    """Of one transaction: units of work (`domain/limits.py`) and events."""

    work: int
    events: int


class ScoringShares:
    """The tenants that a process scores for. A tenant that is alone has everything, and large transactions are the cheapest."""

    def __init__(self) -> None:
        self._seen: dict[UUID, float] = {}
        self._turns = asyncio.Semaphore(limits.BACKLOG_TURNS.value)

    def note(self, tenants: Iterable[UUID]) -> None:
        """Events of these tenants are about to be scored."""
        now = time.monotonic()
        for tenant_id in tenants:
            self._seen.pop(tenant_id, None)
            self._seen[tenant_id] = now

    @property
    def crowded(self) -> bool:
        """Whether there has been more than one tenant lately."""
        oldest = time.monotonic() - CROWDED_SECONDS
        while self._seen and next(iter(self._seen.values())) < oldest:
            del self._seen[next(iter(self._seen))]
        return len(self._seen) > 1

    def of_batch(self, events: int) -> Share:
        """What a tenant may have of a transaction of so many events for all tenants; with more it is put behind."""
        return Share(limits.TENANT_WORK.value if self.crowded else limits.BATCH_WORK.value, events)

    def of_turn(self, events: int) -> Share:
        """What is scored of a tenant that is behind, in its turn."""
        return Share(limits.TURN_WORK.value if self.crowded else limits.BATCH_WORK.value, events)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn of a tenant that is behind. Few are at it at once in a process, unless nobody else is there."""
        if not self.crowded:
            yield
            return
        async with self._turns:
            yield
