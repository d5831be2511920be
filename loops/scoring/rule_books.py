"""The rules of tenants as the pumps of one process share them."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from uuid import UUID

from domain.scoring.rules import RuleBook, RuleSet
from runtime.compiler import compile_beside
from runtime.postgres import Connection
from storage.scoring.pump import Change, LoggedEvent
from storage.scoring.rule_book import load_rule_book

MAX_KNOWN_TENANTS = 1000
PATIENCE_SECONDS = 0.25
"""A scoring transaction waits so long for a tenant's rules to be compiled, once; then that tenant is put behind, and others are not."""
COMPILERS = 2
"""So that the short rules of one tenant need not wait for the long ones of another."""
READ_WORK, EVENT_WORK, STANDING_WORK = 100, 1500, 1500
"""What is reckoned for an event that nobody looks at, for one that is scored, and for each standing: a unit is about 25 ns."""


class Books:
    """The rules of tenants as the pumps of one process know them: read once and compiled once for each change, in a thread and, where
    they are long, in a process of their own, so that heartbeats and other tenants go on meanwhile."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(COMPILERS, "rules")
        self._kept: dict[UUID, tuple[Change, RuleBook]] = {}
        self._under_way: dict[tuple[int, str], asyncio.Future[object]] = {}
        self._slow: set[UUID] = set()

    async def read(self, connection: Connection, tenant_id: UUID, change: Change, oldest: datetime) -> RuleBook:
        """The book as of that change of the tenant, whose lock the transaction holds, good for events accepted at `oldest` or later."""
        kept = self._kept.get(tenant_id)
        if kept is None or not _serves(kept, change, oldest):
            book = await load_rule_book(connection, tenant_id, oldest, like=kept[1] if kept else None)
            kept = self._kept.get(tenant_id)  # of pumps that read at the same time the first one's book is everybody's
            if kept is None or not _serves(kept, change, oldest):
                kept = (change, book)
        self._kept.pop(tenant_id, None)  # to the end: the first is the one that was used longest ago
        self._kept[tenant_id] = kept
        while len(self._kept) > MAX_KNOWN_TENANTS:
            del self._kept[next(iter(self._kept))]
        return kept[1]

    async def affordable(self, book: RuleBook, events: Sequence[LoggedEvent], work: int) -> list[LoggedEvent]:
        """As many of a tenant's events, one at least, as are no more work than this, with what they need compiled."""
        done = 0
        for number, event in enumerate(events):
            done += await self.prepare(book, event)
            if done > work and number:
                return list(events[:number])
        return list(events)

    async def prepare(self, book: RuleBook, event: LoggedEvent) -> int:
        """Compile what the event needs; how much work it is to score it."""
        rules = book.rules_at(event.accepted_at)
        if not rules.is_compiled(event.type):
            await asyncio.shield(self._compilation(rules, event.type))
        return _work(rules, event)

    async def prepare_soon(self, book: RuleBook, event: LoggedEvent) -> int | None:
        """The same; None when that takes longer than others should wait. It goes on meanwhile: ask again."""
        rules = book.rules_at(event.accepted_at)
        if not rules.is_compiled(event.type):
            compilation = self._compilation(rules, event.type)
            await asyncio.wait([compilation], timeout=0.0 if event.tenant_id in self._slow else PATIENCE_SECONDS)
            if not compilation.done():
                self._slow = {event.tenant_id, *(self._slow if len(self._slow) < MAX_KNOWN_TENANTS else ())}
                return None
            compilation.result()
        return _work(rules, event)

    def _compilation(self, rules: RuleSet, event_type: str) -> asyncio.Future[object]:
        """One for all who want it."""
        key = (id(rules), rules.kind_of(event_type))
        known = self._under_way.get(key)
        if known is None:
            known = asyncio.get_running_loop().run_in_executor(self._thread, rules.compiled, event_type, compile_beside)
            self._under_way[key] = known
            known.add_done_callback(lambda _: self._under_way.pop(key))
        return known


def _serves(kept: tuple[Change, RuleBook], change: Change, oldest: datetime) -> bool:
    return kept[0] == change and kept[1].since <= oldest


def _work(rules: RuleSet, event: LoggedEvent) -> int:
    code = rules.compiled(event.type)
    return READ_WORK if code is None else len(code.source) + EVENT_WORK + STANDING_WORK * code.boards
