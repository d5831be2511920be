"""The tenants of a partition as its owner knows them: read once for each change, under the shared lock of their rules."""

import logging
import time
from collections.abc import Mapping
from datetime import datetime
from subprocess import SubprocessError
from uuid import UUID

from domain.errors import DomainError
from domain.scoring.rules import RuleBook
from loops.scoring.rule_books import Books
from loops.scoring.values import KnownTenant
from runtime.metrics import UNREADABLE_ROWS
from runtime.postgres import Connection
from storage.leaderboard.rescore import running_rescores
from storage.points.tier import tier_sets
from storage.scoring.pump import Change, LoggedEvent, changes_of
from storage.walk import UNREADABLE

log = logging.getLogger(__name__)

MAX_KNOWN_WINDOWS = 100_000
UNREADABLE_SECONDS = 60.0
"""Definitions that could not be read are tried again after so long, or once they have changed."""


class KnownTenants:
    """By their ids. What is known of one can always be read again, so all may be forgotten at any time."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._known: dict[UUID, KnownTenant] = {}

    def __getitem__(self, tenant_id: UUID) -> KnownTenant:
        return self._known[tenant_id]

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()

    @property
    def waiting(self) -> set[UUID]:
        """Those whose definitions cannot be read: their events wait, and nobody else's do."""
        return {tenant_id for tenant_id, known in self._known.items() if known.is_waiting}

    async def load(self, connection: Connection, oldest: Mapping[UUID, datetime]) -> bool:
        """Read what is not known, or not any more, of these tenants, under their shared locks. Whether there was any.

        `oldest` says when the first of their events was accepted: by what was in force before that nothing is scored.
        """
        if sum(len(known.windows) for known in self._known.values()) > MAX_KNOWN_WINDOWS:
            self._known.clear()
        changes = await changes_of(connection, list(oldest))
        missing = [t for t, change in changes.items() if t not in self._known or not self._known[t].serves(change, oldest[t])]
        if not missing:
            return False
        for tenant_id in missing:
            self._known[tenant_id] = await self._read(connection, tenant_id, changes[tenant_id], oldest[tenant_id])
        for rescore in await running_rescores(connection, missing):
            self._known[rescore.tenant_id].rescores.append(rescore)
        return True

    async def _read(self, connection: Connection, tenant_id: UUID, change: Change, oldest: datetime) -> KnownTenant:
        """What scoring goes by for one tenant. What cannot be read is no fault of its events."""
        try:
            book = await self._books.read(connection, tenant_id, change, oldest)
            tiers = (await tier_sets(connection, [tenant_id])).get(tenant_id)
        except (*UNREADABLE, DomainError):
            known = KnownTenant(change=change, book=RuleBook())
            _give_up(known, tenant_id)
            return known
        return KnownTenant(change=change, book=book, tiers=tiers)

    async def work(self, event: LoggedEvent) -> int | None:
        """What the event costs, with its share in rescores; None while something that it needs is being compiled, or cannot be read."""
        known = self._known[event.tenant_id]
        if known.unreadable_until is not None:
            return None  # also once it may be tried again: that is for the next transaction
        try:
            return await self._work(known, event)
        except (*UNREADABLE, DomainError, SubprocessError):
            _give_up(known, event.tenant_id)
            return None

    async def _work(self, known: KnownTenant, event: LoggedEvent) -> int | None:
        work = await self._books.prepare_soon(known.book, event)
        for rescore in known.rescores:
            if work is not None and known.counts_again(rescore):
                more = await self._books.prepare_soon(known.rescore_book(rescore), event)
                work = None if more is None else work + more
        return work


def _give_up(known: KnownTenant, tenant_id: UUID) -> None:
    """For now: its definitions cannot be read, or not be compiled. Call it where that was caught."""
    UNREADABLE_ROWS.inc()
    log.exception("tenant %s is not scored for now: its definitions cannot be read", tenant_id)
    known.unreadable_until = time.monotonic() + UNREADABLE_SECONDS
