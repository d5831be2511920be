"""What a scoring transaction works with: its result, what its owner remembers of a tenant, and what follows from outcomes alone."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain.leaderboard.rescore import under_present_rules
from domain.points import ledger
from domain.scoring.rules import RuleBook, ScoringOutcome, WindowScores
from runtime.ids import new_id
from storage.leaderboard.rankings import Publication, RankedBoard
from storage.leaderboard.rescore import RunningRescore
from storage.leaderboard.scored_window import NewWindow, Window
from storage.points.tier import TieredTenant
from storage.scoring.pump import Change, Cursor, LoggedEvent

WindowKey = tuple[UUID, str]
Found = dict[UUID, dict[WindowKey, Window]]


class ScoringBatch(msgspec.Struct):
    """What one transaction did; `behind` says that the log held more than it read. `poisoned`: why, by the positions of those events
    that went to the dead letters."""

    events: int
    position: int
    behind: bool
    publications: list[Publication]
    poisoned: dict[int, str] = {}


class Touched(msgspec.Struct):
    """Standings to which a batch adds; `hidden` ones are being built by a rescore."""

    tenant_id: UUID
    board_id: UUID
    standings_id: UUID
    scores: WindowScores
    hidden: bool = False


class KnownTenant(msgspec.Struct):
    """What an owner remembers of a tenant, as of its change of definitions `change`. `boards` are by the id of their standings."""

    change: Change
    book: RuleBook
    tiers: TieredTenant | None = None
    rescores: list[RunningRescore] = []
    rescore_books: dict[UUID, RuleBook] = {}
    windows: dict[WindowKey, Window] = {}
    closings: dict[WindowKey, datetime | None] = {}
    boards: dict[UUID, RankedBoard] = {}
    unreadable_until: float | None = None
    """Its definitions could not be read, or not be compiled: its events wait, and by then they are tried again."""

    def serves(self, change: Change, oldest: datetime) -> bool:
        """Whether it is as of this change still, and knows the rules for events accepted then."""
        return self.change == change and self.book.since <= oldest and self.is_waiting == (self.unreadable_until is not None)

    @property
    def is_waiting(self) -> bool:
        """Whether it is not yet time to try again what could not be read."""
        return self.unreadable_until is not None and time.monotonic() < self.unreadable_until

    def counts_again(self, rescore: RunningRescore) -> bool:
        """Whether events may come that were accepted before the rescore began, which count by its rules."""
        return self.book.since <= rescore.valid_from

    def rescore_book(self, rescore: RunningRescore) -> RuleBook:
        """The rules by which a rescore counts what was accepted before it began: one book, so that it is compiled once."""
        if rescore.rescore_id not in self.rescore_books:
            versions = [board for board in self.book.boards if board.board_id == rescore.board_id]
            self.rescore_books[rescore.rescore_id] = RuleBook(under_present_rules(versions, rescore.valid_from))
        return self.rescore_books[rescore.rescore_id]


def latest(cursor: Cursor, events: Sequence[LoggedEvent]) -> datetime | None:
    """The latest instant at which anything up to the last of these events was accepted, as far as is known."""
    return max((at for at in (cursor.accepted_at, *(event.accepted_at for event in events)) if at is not None), default=None)


def scored(outcomes: Mapping[UUID, ScoringOutcome]) -> list[tuple[UUID, WindowKey, WindowScores]]:
    """Every window that was touched, and whose it is."""
    return [
        (tenant_id, (scores.board_id, scores.span.key), scores) for tenant_id, outcome in outcomes.items() for scores in outcome.windows()
    ]


def keep(found: Found, rows: Sequence[Window], tenant_of: Mapping[WindowKey, UUID]) -> None:
    """Note rows among those that were found, each with its tenant."""
    for row in rows:
        key = (row.board_id, row.window_key)
        found[tenant_of[key]][key] = row


def new_window(tenant_id: UUID, scores: WindowScores) -> NewWindow:
    """The row of a window that has none yet."""
    closes_at = scores.span.closes_at(scores.config.timeframe.grace_seconds)
    return NewWindow(tenant_id, scores.board_id, new_id(), scores.span, closes_at)


def earnings(outcomes: Mapping[UUID, ScoringOutcome]) -> list[ledger.Earning]:
    """In the order of the log within a tenant."""
    return [
        ledger.Earning(
            tenant_id=tenant_id,
            user_id=each.user_id,
            currency_id=each.currency,
            amount=each.amount,
            position=each.position,
            rule_id=each.rule_id,
        )
        for tenant_id, outcome in outcomes.items()
        for each in sorted(outcome.earnings, key=lambda earning: earning.position)
    ]
