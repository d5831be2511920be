"""Scoring: the rules of a tenant that concern one event type, as one function over a batch of events (contract 3 and 4).

`RuleBook` holds the versions of the rules since some instant; `rules_at` gives those in force at an event's `accepted_at`;
`RuleSet.compiled` makes the function for a type once (its source is written by `compilation.py`). Nothing here reads a clock: an event
counts on a window iff its `accepted_at` is before the window's `closes_at`, whenever it is scored.
"""

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any
from uuid import UUID

import msgspec

from domain.leaderboard.definition import BoardStatus, BoardVersion, LeaderboardConfig, Timeframe, TimelineSegment
from domain.leaderboard.standing import Contribution, is_ranked, one_event, score_of
from domain.leaderboard.window import WindowIndex, WindowSpan
from domain.leaderboard.window_sequence import SegmentIndex, find_window, in_force, parts_of, segment_at, segments
from domain.points.earning_rule import EarningVersion, RuleEarning, Wish
from domain.rule.condition import Document
from domain.rule.expression import evaluate, parse_expression
from domain.scoring.compilation import Code, Compiler, compile_here, generate
from domain.scoring.why import SilenceCause, Why, failed_condition, other_event_type, sentence
from domain.wire import SCORE_UNITS

NEVER = datetime.max.replace(tzinfo=UTC)
BEGINNING = datetime.min.replace(tzinfo=UTC)
MAX_UNITS = 2**63 - 1
"""What a column of scores can hold."""


class ScorableEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of the log, decoded; instants are aware and in UTC."""

    position: int
    accepted_at: datetime
    occurred_at: datetime
    user_id: UUID
    document: dict[str, Any]


class WindowScores(msgspec.Struct):
    """What a batch adds to one window of one board; `late` counts events that came at or after `closes_at`.

    `by_user` is keyed by the integer of the user's id: it hashes and compares in C, a UUID in Python, which cost half of the evaluation.
    """

    board_id: UUID
    config: LeaderboardConfig
    span: WindowSpan
    closes_at: datetime
    late: int = 0
    by_user: dict[int, Contribution] = {}

    @property
    def standings(self) -> dict[UUID, Contribution]:
        """The same by user."""
        return {UUID(int=user): contribution for user, contribution in self.by_user.items()}


class ScoringOutcome:
    """What a batch of events did: fill it with `RuleSet.apply`, drop it whole if that raises.

    `closes_at` gives the instants of windows that are known already, by (board_id, window_key): they win over `ends_at` + grace.
    """

    def __init__(self, closes_at: Mapping[tuple[UUID, str], datetime | None] | None = None) -> None:
        self.closes_at = closes_at or {}
        self.boards: dict[UUID, dict[str, WindowScores]] = {}
        self.earnings: list[RuleEarning] = []
        self.wishes: list[Wish] = []

    def board(self, board_id: UUID) -> dict[str, WindowScores]:
        """The windows of a board that were touched, by key."""
        return self.boards.setdefault(board_id, {})

    def open_window(self, board: BoardVersion, span: WindowSpan) -> WindowScores:
        """The window's scores, made when its first event comes."""
        planned = span.closes_at(board.config.timeframe.grace_seconds)
        closes_at = self.closes_at.get((board.board_id, span.key)) or planned or NEVER
        scores = WindowScores(board_id=board.board_id, config=board.config, span=span, closes_at=closes_at)
        self.board(board.board_id)[span.key] = scores
        return scores

    def windows(self) -> Iterable[WindowScores]:
        """Every touched window of every board."""
        for by_key in self.boards.values():
            yield from by_key.values()


class PoisonEvent(Exception):
    """An event broke its rules; `position` names it. The Outcome that it was applied to is half done: drop it."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"event at {position}: {reason}")
        self.position, self.reason = position, reason


class RuleSet:
    """The boards and earning rules of a tenant that are in force together."""

    def __init__(self, boards: Sequence[BoardVersion] = (), earning_rules: Sequence[EarningVersion] = ()) -> None:
        self.boards = tuple(board for board in boards if board.status is BoardStatus.ACTIVE)
        active = (version for version in earning_rules if version.rule.active)
        self.earning_rules = tuple(sorted(active, key=lambda version: (-version.rule.priority, version.rule_id.bytes)))
        self._parts = [part for board in self.boards for part in parts_of(board)]
        self._named = {rule.event_type for board in self.boards for rule in board.config.scoring.rules}
        self._named |= {version.rule.event_type for version in self.earning_rules}
        self._compiled: dict[str, Code | None] = {}
        self._indexes: dict[Timeframe | TimelineSegment, WindowIndex] = {}

    @property
    def content(self) -> Hashable:
        """What is in force, for comparison. It names definitions that this object holds, so it is good for as long as that lives."""
        boards = tuple((board.board_id, id(board.config), id(board.timeline)) for board in self.boards)
        rules = ((each.rule_id, each.version, id(each.rule), each.decimal_places, each.timezone) for each in self.earning_rules)
        return boards, tuple(rules)

    def is_compiled(self, event_type: str) -> bool:
        """Whether `compiled` answers at once."""
        return self.kind_of(event_type) in self._compiled

    def kind_of(self, event_type: str) -> str:
        """Events of types of one kind are scored by the same function."""
        # Types are the clients' own words, without bound: all that no rule names share the code of the rules for every type.
        return event_type if event_type in self._named else "*"

    def compiled(self, event_type: str, compiler: Compiler = compile_here) -> Code | None:
        """The function for this type of event, made by `compiler` if it is not known; None if no board and no rule looks at it."""
        wanted = self.kind_of(event_type)
        if wanted not in self._compiled:
            self._compiled[wanted] = generate(self._parts, self.earning_rules, wanted, self.window_index, compiler=compiler)
        return self._compiled[wanted]

    def window_index(self, timeframe: Timeframe, segment: TimelineSegment | None = None) -> WindowIndex:
        """One index for all boards whose windows are the same, whatever their grace. A segment that begins amid a life has its own."""
        if segment is not None and segment.starts_at is not None:
            return self._indexes.setdefault(segment, SegmentIndex(segment))
        same_windows = msgspec.structs.replace(timeframe, grace_seconds=0)
        return self._indexes.setdefault(same_windows, WindowIndex(same_windows))

    def apply(self, event_type: str, events: Sequence[ScorableEvent], outcome: ScoringOutcome) -> None:
        """Score events of one type. Raises PoisonEvent for one that breaks its rules."""
        code = self.compiled(event_type)
        if code is None:
            return
        place = [0]
        try:
            code.run(events, outcome, place)
        except PoisonEvent:
            raise  # it could not even be decoded
        except Exception as error:
            raise PoisonEvent(events[place[0]].position, f"{type(error).__name__}: {error}") from error


class RuleBook:
    """The versions of a tenant's boards and earning rules that score what was accepted from `since` on.

    Of one thing that version is in force whose number is the highest of those that have begun. `parsed` are the definitions by their
    stored texts, for whoever reads the next book. What a book has in common with the one before, `like`, is compiled once.
    """

    def __init__(
        self,
        boards: Iterable[BoardVersion] = (),
        earning_rules: Iterable[EarningVersion] = (),
        *,
        since: datetime = BEGINNING,
        parsed: Mapping[Hashable, Any] | None = None,
        like: "RuleBook | None" = None,
    ) -> None:
        self.boards = sorted(boards, key=lambda board: (board.board_id.int, board.version))
        self.earning_rules = sorted(earning_rules, key=lambda version: (version.rule_id.int, version.version))
        self.changes = sorted({board.valid_from for board in self.boards} | {version.valid_from for version in self.earning_rules})
        self.since, self.parsed = since, parsed or {}
        self._periods: dict[int, RuleSet] = {}
        self._sets: dict[Hashable, RuleSet] = {}
        self._earlier: Mapping[Hashable, RuleSet] = {} if like is None else like._sets

    def rules_at(self, accepted_at: datetime) -> RuleSet:
        """The rules in force for an event accepted then, which is not before `since`; the same object as long as they are the same."""
        if accepted_at < self.since:
            raise RuntimeError(f"the rules are known since {self.since}, not at {accepted_at}")
        period = bisect_right(self.changes, accepted_at)
        rules = self._periods.get(period)
        if rules is None:
            rules = self._periods[period] = self._shared(self._in_force(accepted_at))
        return rules

    def _in_force(self, accepted_at: datetime) -> RuleSet:
        boards = {board.board_id: board for board in self.boards if board.valid_from <= accepted_at}
        earning = {version.rule_id: version for version in self.earning_rules if version.valid_from <= accepted_at}
        return RuleSet(tuple(boards.values()), tuple(earning.values()))

    def _shared(self, rules: RuleSet) -> RuleSet:
        """One that is there already and has the same in force, else this one."""
        content = rules.content
        return self._sets.setdefault(content, self._earlier.get(content, rules))


class RuleExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule says of an event: `points` in 1/10 000, or why it gives none."""

    rule: int
    event_type: str
    matched: bool
    points: int | None
    why: Why | None

    @property
    def reason(self) -> str | None:
        """`why` in words."""
        return None if self.why is None else sentence(self.why)


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What a board would make of an event. `points` is None when it does not count, and `why` says why."""

    matched: bool
    why: Why | None
    rules: tuple[RuleExplanation, ...]
    points: int | None
    window: WindowSpan | None
    entry: Contribution | None
    score: int | None
    reached_at: datetime | None
    ranked: bool

    @property
    def reason(self) -> str | None:
        """`why` in words."""
        return None if self.why is None else sentence(self.why)


def explain(board: BoardVersion, event_type: str, event: ScorableEvent) -> Explanation:
    """What the board makes of the event, rule by rule, as if it were the user's only one. Writes nothing; the closing is not looked at."""
    segment = segment_at(segments(board.config, board.timeline), event.occurred_at)
    config = in_force(board.config, segment)
    why = failed_condition(config.scope.filters, "filters", event.document)
    rules = tuple(_explain_rule(config, number, event_type, event.document) for number in range(len(config.scoring.rules)))
    given = [rule.points for rule in rules if rule.points is not None]
    window = find_window(segments(board.config, board.timeline), event.occurred_at)
    if board.status is not BoardStatus.ACTIVE:
        why = Why(code=SilenceCause.INACTIVE, text=f"the board is {board.status}")
    elif why is None and not given:
        why = Why(code=SilenceCause.NO_RULE)
    elif why is None and window is None:
        why = Why(code=SilenceCause.OUTSIDE_TIME)
    points = None if why else sum(given)
    entry = None if points is None else one_event(config.scoring.aggregation, points, event.occurred_at, event.position)
    score, reached_at = (None, None) if entry is None else score_of(config.scoring.aggregation, entry)
    return Explanation(
        matched=why is None,
        why=why,
        rules=rules,
        points=points,
        window=window,
        entry=entry,
        score=score,
        reached_at=reached_at,
        ranked=score is not None and is_ranked(score, min_score_units(config)),
    )


def min_score_units(config: LeaderboardConfig) -> int | None:
    """The least score that is ranked on a board, in 1/10 000 point; None ranks everyone."""
    return least_units(config.ranking.min_score)


def least_units(min_score: float | None) -> int | None:
    """A `min_score` in 1/10 000 point, rounded up where it has more places than scores have, and held within what a column keeps."""
    if min_score is None:
        return None
    units = (Decimal(repr(min_score)) * SCORE_UNITS).to_integral_value(ROUND_CEILING)
    return max(-MAX_UNITS, min(int(units), MAX_UNITS))


def _explain_rule(config: LeaderboardConfig, number: int, event_type: str, document: Document) -> RuleExplanation:
    rule = config.scoring.rules[number]
    points = None
    why = other_event_type(rule.event_type, event_type) or failed_condition(rule.conditions, "conditions", document)
    matched = why is None
    if matched:
        points, text = evaluate(parse_expression(rule.points_expression), document)
        why = None if points is not None else Why(code=SilenceCause.NO_RESULT, text=text)
    return RuleExplanation(rule=number, event_type=rule.event_type, matched=matched, points=points, why=why)
