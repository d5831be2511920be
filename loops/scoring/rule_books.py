"""The rules of tenants as the pumps of one process share them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from domain.scoring.rules import RuleBook
from runtime.postgres import Connection
from storage.leaderboard.definition import load_rule_book
from storage.scoring.pump import Change, LoggedEvent

MAX_KNOWN_TENANTS = 1000
READ_WORK, EVENT_WORK, STANDING_WORK = 100, 1500, 1500
"""What is reckoned for an event that nobody looks at, for one that is scored, and for each standing: a unit is about 25 ns."""


class Books:
    """The rules of tenants as the pumps of one process know them: read once and compiled once for each change, in a thread, so that
    heartbeats and other tenants go on meanwhile."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "rules")
        self._kept: dict[UUID, tuple[Change, RuleBook]] = {}

    async def read(self, connection: Connection, tenant_id: UUID, change: Change) -> RuleBook:
        """The book as of that change of the tenant, whose lock the transaction holds."""
        kept = self._kept.get(tenant_id)
        if kept is None or kept[0] != change:
            book = await load_rule_book(connection, tenant_id)
            kept = self._kept.get(tenant_id)  # of pumps that read at the same time the first one's book is everybody's
            if kept is None or kept[0] != change:
                kept = (change, book)
        self._kept.pop(tenant_id, None)  # to the end: the first is the one that was used longest ago
        self._kept[tenant_id] = kept
        while len(self._kept) > MAX_KNOWN_TENANTS:
            del self._kept[next(iter(self._kept))]
        return kept[1]

    async def prepare(self, book: RuleBook, event: LoggedEvent) -> int:
        """Compile what the event needs; how much work it is to score it."""
        rules = book.rules_at(event.accepted_at)
        if not rules.is_compiled(event.type):
            await asyncio.get_running_loop().run_in_executor(self._thread, rules.compiled, event.type)
        code = rules.compiled(event.type)
        return READ_WORK if code is None else len(code.source) + EVENT_WORK + STANDING_WORK * code.boards
