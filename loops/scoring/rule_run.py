"""Events of the log run through their tenant's rules, without anything being written."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.event.event import decode_stored
from domain.scoring.rules import PoisonEvent, RuleBook, RuleSet, ScorableEvent, ScoringOutcome, WindowScores
from storage.leaderboard.rescore import Rescore, RunningRescore
from storage.scoring.pump import LoggedEvent

log = logging.getLogger(__name__)

WindowKey = tuple[UUID, str]


def run_rules(
    book: RuleBook, tenant_id: UUID, events: Sequence[LoggedEvent], closings: Mapping[WindowKey, datetime | None]
) -> ScoringOutcome:
    """What the events do by the rules that were in force when each was accepted; PoisonEvent for one that breaks them."""
    outcome, tenant_text = ScoringOutcome(closings), str(tenant_id)
    groups: dict[tuple[int, str], tuple[RuleSet, list[LoggedEvent]]] = {}
    for event in events:
        rules = book.rules_at(event.accepted_at)
        if rules.compiled(event.type) is None:
            continue
        group = groups.get((id(rules), event.type))
        if group is None:
            group = groups[id(rules), event.type] = (rules, [])
        group[1].append(event)
    for (_, event_type), (rules, logged) in groups.items():
        rules.apply(event_type, _Decoded(logged, tenant_text), outcome)
    return outcome


class _Decoded(Sequence[ScorableEvent]):
    """Events of the log, each decoded when it is looked at and not kept: thousands of documents at once are slow to make and to drop."""

    def __init__(self, logged: Sequence[LoggedEvent], tenant_text: str) -> None:
        self._logged, self._tenant_text = logged, tenant_text

    def __len__(self) -> int:
        return len(self._logged)

    def __getitem__(self, place: Any) -> Any:
        return _scorable(self._logged[place], self._tenant_text)

    def __iter__(self) -> Iterator[ScorableEvent]:
        return (_scorable(event, self._tenant_text) for event in self._logged)


def window_scores(
    book: RuleBook, events: Sequence[LoggedEvent], rescore: RunningRescore | Rescore, closes_at: datetime
) -> WindowScores | None:
    """What the events add to a window that is being rescored, None for nothing. One that breaks the rules is left out."""
    healthy, closings = list(events), {(rescore.board_id, rescore.window_key): closes_at}
    while True:
        try:
            outcome = run_rules(book, rescore.tenant_id, healthy, closings)
        except PoisonEvent as error:
            log.warning("rescore %s leaves an event out: %s", rescore.rescore_id, error)
            healthy = [event for event in healthy if event.position != error.position]
        else:
            return outcome.board(rescore.board_id).get(rescore.window_key)


def _scorable(event: LoggedEvent, tenant_text: str) -> ScorableEvent:
    try:
        document = decode_stored(event.body)
        document["tenant_id"] = tenant_text
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise PoisonEvent(event.position, f"the stored event cannot be read: {error}") from error
    occurred_at = event.occurred_at if event.occurred_at.tzinfo is UTC else event.occurred_at.astimezone(UTC)
    return ScorableEvent(event.position, event.accepted_at, occurred_at, event.user_id, document)
