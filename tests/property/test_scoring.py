"""The function generated for a type does what a plain loop over boards, rules and events does."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.leaderboard.definition import BoardStatus, BoardVersion, parse_config
from domain.leaderboard.standing import Contribution, merge, one_event
from domain.leaderboard.window import window_at
from domain.points.earning_rule import EarningVersion, capped, parse_earning_rule, smallest_units
from domain.rule.condition import matches, parse_conditions
from domain.rule.expression import evaluate, parse_expression
from domain.scoring.rules import RuleSet, ScorableEvent, ScoringOutcome

START = datetime(2025, 10, 26, tzinfo=UTC)
CONDITIONS = st.dictionaries(
    st.sampled_from(["attrs.a", "attrs.b", "actor.metadata.r", "type", "attrs"]),
    st.one_of(
        st.fixed_dictionaries({"eq": st.sampled_from([1, 2.0, True, "na", None, [1]])}),
        st.fixed_dictionaries({"ne": st.sampled_from([1, True, "na"])}),
        st.fixed_dictionaries({"gte": st.sampled_from([1, "n"]), "lt": st.sampled_from([3, "o"])}),
        st.fixed_dictionaries({"in": st.sampled_from([["na", "eu"], [1, "na"], []])}),
        st.fixed_dictionaries({"nin": st.sampled_from([["na"], [True]])}),
        st.fixed_dictionaries({"exists": st.booleans()}),
        st.fixed_dictionaries({"contains": st.sampled_from(["n", 1])}),
        st.fixed_dictionaries({"starts_with": st.just("n")}),
    ),
    max_size=2,
)
EXPRESSIONS = st.sampled_from(["1", "0", "attrs.a", "attrs.a * 0.5 - attrs.b", "attrs.a / attrs.b", "-attrs.b", "min(attrs.a, 2)"])
RULES = st.fixed_dictionaries({"event_type": st.sampled_from(["x", "*", "y"]), "points_expression": EXPRESSIONS, "conditions": CONDITIONS})
TIMEFRAMES = st.sampled_from(
    [
        {"type": "hourly", "timezone": "Europe/Berlin", "grace_seconds": 0},
        {"type": "daily"},
        {"type": "all_time"},
        {"type": "custom", "starts_at": "2025-10-26T02:00:00Z", "ends_at": "2025-10-26T06:00:00Z"},
    ]
)
VALUES = st.one_of(st.integers(-3, 3), st.sampled_from([True, "na", "eu", None, 0.5, [1]]))


@st.composite
def boards(draw: st.DrawFn) -> BoardVersion:
    config = {
        "timeframe": draw(TIMEFRAMES),
        "scope": {"filters": draw(CONDITIONS)},
        "scoring": {
            "rules": draw(st.lists(RULES, min_size=1, max_size=3)),
            "aggregation": draw(st.sampled_from(["sum", "max", "min", "count", "avg"])),
        },
    }
    status = draw(st.sampled_from([BoardStatus.ACTIVE] * 3 + [BoardStatus.INACTIVE]))
    return BoardVersion(board_id=draw(st.uuids()), version=1, status=status, config=parse_config(config), valid_from=START)


@st.composite
def earning_versions(draw: st.DrawFn) -> EarningVersion:
    rule = parse_earning_rule({"name": "r", **draw(RULES), "max_per_event": draw(st.sampled_from([None, 1.25]))})
    return EarningVersion(rule_id=draw(st.uuids()), version=1, rule=rule, valid_from=START, decimal_places=draw(st.integers(0, 4)))


@st.composite
def event_lists(draw: st.DrawFn) -> list[ScorableEvent]:
    events = []
    for position in range(draw(st.integers(1, 12))):
        document: dict[str, Any] = {"type": "x", "attrs": draw(st.dictionaries(st.sampled_from("ab"), VALUES))}
        if draw(st.booleans()):
            document["actor"] = {"metadata": {"r": draw(VALUES)}}
        occurred_at = START + timedelta(minutes=draw(st.integers(0, 480)))
        accepted_at = START + timedelta(minutes=draw(st.integers(0, 480)))
        events.append(ScorableEvent(position, accepted_at, occurred_at, uuid.UUID(int=draw(st.integers(1, 3))), document))
    return events


Scores = dict[tuple[uuid.UUID, str], tuple[int, dict[uuid.UUID, Contribution]]]


def points_of(rule: Any, document: dict[str, Any]) -> int | None:
    if rule.event_type not in ("*", "x") or not matches(parse_conditions(rule.conditions, "c"), document):
        return None
    return evaluate(parse_expression(rule.points_expression), document)[0]


def reference(board: BoardVersion, events: list[ScorableEvent]) -> Scores:
    result: Scores = {}
    for event in events:
        given_points = [points_of(rule, event.document) for rule in board.config.scoring.rules]
        points = [value for value in given_points if value is not None]
        window = window_at(board.config.timeframe, event.occurred_at)
        in_scope = matches(parse_conditions(board.config.scope.filters, "f"), event.document)
        if board.status is not BoardStatus.ACTIVE or not in_scope or not points or window is None:
            continue
        late, standings = result.setdefault((board.board_id, window.key), (0, {}))
        closes_at = window.closes_at(board.config.timeframe.grace_seconds)
        if closes_at is not None and event.accepted_at >= closes_at:
            result[board.board_id, window.key] = (late + 1, standings)
            continue
        new = one_event(board.config.scoring.aggregation, sum(points), event.occurred_at, event.position)
        old = standings.get(event.user_id)
        standings[event.user_id] = merge(board.config.scoring.aggregation, old, new) if old else new
    return result


@settings(max_examples=250, deadline=None)
@given(
    st.lists(boards(), min_size=1, max_size=4, unique_by=lambda board: board.board_id),
    st.lists(earning_versions(), max_size=3, unique_by=lambda version: version.rule_id),
    event_lists(),
)
def test_generated_scoring_equals_a_plain_loop(
    versions: list[BoardVersion], earning: list[EarningVersion], events: list[ScorableEvent]
) -> None:
    outcome = ScoringOutcome()
    RuleSet(versions, earning).apply("x", events, outcome)
    got = {(scores.board_id, scores.span.key): (scores.late, scores.standings) for scores in outcome.windows()}
    expected: Scores = {}
    for board in versions:
        expected |= reference(board, events)
    assert got == expected
    given_amounts = set()
    for version in earning:
        for event in events:
            points = capped(version.rule, points_of(version.rule, event.document))
            amount = smallest_units(points, version.decimal_places)
            if amount:
                given_amounts.add((event.position, version.rule_id, event.user_id, points, amount))
    assert {(item.position, item.rule_id, item.user_id, item.points, item.amount) for item in outcome.earnings} == given_amounts
    assert len(outcome.earnings) == len(given_amounts)
