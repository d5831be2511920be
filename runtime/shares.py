"""What one process has few of is shared among tenants, so that none of them waits for what another one asks.

A tenant has a few at a time, its people take turns, and whoever comes beyond that waits in the tenant's own queue. While nobody else has
asked for a while it may have more: a house with one tenant loses nothing.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import NamedTuple
from uuid import UUID

from runtime.slots import CrowdedError

QUIET_SECONDS = 60.0
"""A tenant that has asked for nothing for so long takes part again with its next request."""


class Asker(NamedTuple):
    """For whom something is done: a tenant, and within it a credential or a person."""

    tenant_id: UUID
    person: str


asking: ContextVar[Asker | None] = ContextVar("asking", default=None)
"""Whose request is at hand. None: the process's own work, which waits for nobody's turn."""


class _Tenant:
    """What a tenant has and who of it waits, each of its people in a queue of its own."""

    def __init__(self) -> None:
        self.held = self.waiting = 0
        self.queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self.asked_at = 0.0

    def join(self, person: str) -> asyncio.Future[None]:
        """A place in the person's queue."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queues.setdefault(person, deque()).append(turn)
        return turn

    def next_turn(self) -> asyncio.Future[None] | None:
        """Whoever waits longest of the person whose turn it is; None when nobody waits."""
        while self.queues:
            person, queue = self.queues.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self.queues[person] = queue  # behind all others
            if not turn.done():
                return turn
        return None


class TurnShares:
    """Hands out turns: `alone` for a tenant that nobody else is beside, otherwise `beside`; `waiting` of it may wait, for so long."""

    def __init__(self, *, alone: int, beside: int, waiting: int | None = None, wait_seconds: float | None = None) -> None:
        """Nobody has asked. None: as many as come may wait, and as long as it takes."""
        self._alone, self._beside, self._waiting, self._wait_seconds = alone, beside, waiting, wait_seconds
        self._tenants: OrderedDict[UUID, _Tenant] = OrderedDict()
        """Those who asked lately, in the order in which they did so last."""

    @asynccontextmanager
    async def turn(self, asker: Asker | None) -> AsyncIterator[None]:
        """Wait for a turn and have it for what stands inside; raises `CrowdedError` when too many of the tenant wait, or for too long."""
        if asker is None:
            yield
            return
        tenant = self._noted(asker.tenant_id)
        await self._take(tenant, asker.person)
        try:
            yield
        finally:
            tenant.held -= 1
            self._hand_on(tenant)

    def _noted(self, tenant_id: UUID) -> _Tenant:
        now = time.monotonic()
        tenant = self._tenants.setdefault(tenant_id, _Tenant())
        tenant.asked_at = now
        self._tenants.move_to_end(tenant_id)
        while (oldest := next(iter(self._tenants.values()))).asked_at < now - QUIET_SECONDS and not oldest.held and not oldest.waiting:
            self._tenants.popitem(last=False)
        return tenant

    def _most(self) -> int:
        return self._alone if len(self._tenants) <= 1 else self._beside

    async def _take(self, tenant: _Tenant, person: str) -> None:
        if tenant.held < self._most() and not tenant.queues:
            tenant.held += 1
            return
        if self._waiting is not None and tenant.waiting >= self._waiting:
            raise CrowdedError
        turn = tenant.join(person)
        tenant.waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it was handed over in the same moment
                tenant.held -= 1
                self._hand_on(tenant)
            turn.cancel()
            if isinstance(error, TimeoutError):
                raise CrowdedError from None
            raise
        finally:
            tenant.waiting -= 1

    def _hand_on(self, tenant: _Tenant) -> None:
        while tenant.held < self._most() and (turn := tenant.next_turn()) is not None:
            tenant.held += 1
            turn.set_result(None)
