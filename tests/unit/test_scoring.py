"""Scoring: versions in force, lateness, poison, and what *explain* says."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.leaderboard.definition import BoardStatus, BoardVersion, parse_config
from domain.points.earning_rule import EarningVersion, parse_earning_rule
from domain.scoring.rules import NEVER, PoisonEvent, RuleBook, RuleSet, ScorableEvent, ScoringOutcome, explain

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
BOARD, USER, RULE = (uuid.UUID(int=number) for number in (1, 2, 3))
MIDNIGHT = NOON + timedelta(hours=12)


def board(points: str = "attrs.score", **parts: Any) -> BoardVersion:
    config = {
        "timeframe": {"type": "daily", "grace_seconds": 60},
        "scope": {"filters": parts.pop("filters", {})},
        "scoring": {"rules": [{"event_type": "match", "points_expression": points, "conditions": parts.pop("conditions", {})}]},
        "ranking": {"min_score": 1},
    }
    values = {"board_id": BOARD, "version": 1, "status": BoardStatus.ACTIVE, "valid_from": NOON, "config": parse_config(config)}
    return BoardVersion(**{**values, **parts})


def event(position: int = 1, accepted_at: datetime = NOON, **attrs: Any) -> ScorableEvent:
    return ScorableEvent(position, accepted_at, NOON, USER, {"type": "match", "attrs": attrs or {"score": 5}})


def total(rules: RuleSet, *events: ScorableEvent) -> int | None:
    outcome = ScoringOutcome()
    rules.apply("match", events, outcome)
    return next((standing.total for scores in outcome.windows() for standing in scores.standings.values()), None)


def test_the_versions_in_force_at_accepted_at_score_an_event() -> None:
    hour = timedelta(hours=1)
    book = RuleBook(
        [
            board(),
            board("attrs.score * 2", version=2, valid_from=NOON + hour),
            board(version=3, valid_from=NOON + 2 * hour, status=BoardStatus.INACTIVE),
        ]
    )
    instants = [NOON - timedelta(microseconds=1), NOON, NOON + hour - timedelta(microseconds=1), NOON + hour, NOON + 2 * hour]
    assert [total(book.rules_at(instant), event()) for instant in instants] == [None, 50_000, 50_000, 100_000, None]
    assert book.rules_at(NOON) is book.rules_at(NOON + timedelta(minutes=1))


def test_an_event_counts_iff_it_was_accepted_before_the_window_closes() -> None:
    closes_at = MIDNIGHT + timedelta(seconds=60)
    events = [event(1, closes_at - timedelta(microseconds=1)), event(2, closes_at), event(3, closes_at + timedelta(days=1))]
    outcome = ScoringOutcome()
    RuleSet([board()]).apply("match", events, outcome)
    (scores,) = outcome.windows()
    assert (scores.late, scores.standings[USER].counted, scores.standings[USER].position) == (2, 1, 1)


def test_an_early_close_wins_over_the_planned_end() -> None:
    early = NOON + timedelta(minutes=5)
    outcome = ScoringOutcome({(BOARD, "2025-11-18"): early, (BOARD, "2025-11-19"): None})
    RuleSet([board()]).apply("match", [event(1, NOON), event(2, early)], outcome)
    (scores,) = outcome.windows()
    assert (scores.closes_at, scores.late, scores.standings[USER].counted) == (early, 1, 1)


def test_a_window_of_all_time_takes_everything() -> None:
    config = {"timeframe": {"type": "all_time"}, "scoring": {"rules": [{"event_type": "*", "points_expression": "1"}]}}
    outcome = ScoringOutcome()
    RuleSet([board(config=parse_config(config))]).apply("anything", [event(accepted_at=NOON + timedelta(days=9999))], outcome)
    (scores,) = outcome.windows()
    assert (scores.closes_at, scores.late, len(scores.standings)) == (NEVER, 0, 1)


def test_types_that_no_rule_names_cost_no_code() -> None:
    rules = RuleSet([board()])
    assert rules.compiled("other") is None
    star = parse_earning_rule({"name": "a", "event_type": "*", "points_expression": "1"})
    rules = RuleSet([board()], [EarningVersion(rule_id=RULE, version=1, rule=star, valid_from=NOON)])
    assert rules.compiled("other") is rules.compiled("another")
    assert rules.compiled("other") is not rules.compiled("match")


def test_words_of_a_definition_never_reach_the_source() -> None:
    hostile = '"); raise SystemExit("'
    code = RuleSet([board(conditions={hostile: {"eq": hostile}}, filters={"attrs.x": {"starts_with": hostile}})]).compiled("match")
    assert code is not None
    assert "SystemExit" not in code.source


def test_a_poison_event_is_named() -> None:
    with pytest.raises(PoisonEvent) as caught:
        RuleSet([board()]).apply("match", [event(7), event(8, score=10**400), event(9)], ScoringOutcome())
    assert caught.value.position == 8
    assert "OverflowError" in caught.value.reason


def test_an_earning_rule_looks_only_at_its_time_and_gives_whole_units() -> None:
    parts = {"name": "a", "event_type": "match", "points_expression": "attrs.score", "max_per_event": 4.5}
    bounded = parse_earning_rule({**parts, "starts_at": "2025-11-18T12:00:00Z", "ends_at": "2025-11-18T13:00:00Z"})
    over = parse_earning_rule({**parts, "ends_at": "2025-11-18T12:00:00Z"})
    versions = [
        EarningVersion(rule_id=uuid.UUID(int=10 + n), version=1, rule=rule, valid_from=NOON) for n, rule in enumerate((bounded, over))
    ]
    outcome = ScoringOutcome()
    RuleSet([], versions).apply("match", [event(1), event(2, score=0.5), event(3, score=-1)], outcome)
    (earning,) = outcome.earnings
    assert (earning.position, earning.points, earning.amount, earning.currency) == (1, 45_000, 4, "points")


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({}, None),
        ({"filters": {"attrs.mode": {"eq": "ranked"}}}, 'filters: attrs.mode is missing, wanted eq "ranked"'),
        ({"points": "attrs.none"}, "no rule gives points"),
        ({"status": BoardStatus.INACTIVE}, "the board is inactive"),
        ({"conditions": {"attrs.score": {"gt": 5}}}, "no rule gives points"),
    ],
)
def test_explain_says_what_scoring_would_do(parts: dict[str, Any], reason: str | None) -> None:
    version = board(**parts)
    explanation = explain(version, "match", event())
    assert (explanation.matched, explanation.reason) == (reason is None, reason)
    assert explanation.points == total(RuleSet([version]), event())
    if reason is None:
        assert explanation.window is not None
        assert (explanation.window.key, explanation.score, explanation.ranked) == ("2025-11-18", 50_000, True)


def test_explain_says_why_a_rule_gives_nothing() -> None:
    (rule,) = explain(board(conditions={"attrs.score": {"gt": 5}}), "match", event()).rules
    assert (rule.matched, rule.points, rule.reason) == (False, None, "attrs.score is 5, wanted gt 5")
    (rule,) = explain(board("1 / (attrs.score - 5)"), "match", event()).rules
    assert (rule.matched, rule.points, rule.reason) == (True, None, "division by zero")
    (rule,) = explain(board(), "login", event()).rules
    assert (rule.matched, rule.reason) == (False, "event_type is login, wanted match")
