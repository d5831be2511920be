"""The generated code of an expression gives what the reference interpreter gives, bit for bit."""

import math
import uuid
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.leaderboard.definition import BoardStatus, BoardVersion, parse_config
from domain.rule.expression import Node, evaluate, parse_expression, scaled
from domain.scoring.rules import RuleSet, ScorableEvent, ScoringOutcome

PATHS = ["attrs.a", "attrs.b", "attrs.c.d", "actor.metadata.m", "attrs.missing"]
NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
NUMBERS = st.one_of(st.integers(0, 9).map(str), st.sampled_from(["0.1", "2.5", "1e9", "1e308", "0.00005", "3.14159"]))
VALUES = st.one_of(
    st.integers(-5, 5), st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none(),
    st.text(max_size=2), st.just([1]),
)  # fmt: skip


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(inner, st.sampled_from("+-*/%"), inner).map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})")
    chain = st.lists(st.tuples(st.sampled_from("+-*/%"), inner), min_size=1, max_size=3).map(
        lambda parts: "1" + "".join(f" {operator} {operand}" for operator, operand in parts)
    )
    call = st.tuples(st.sampled_from(["abs", "floor", "ceil", "round"]), inner).map(lambda parts: f"{parts[0]}({parts[1]})")
    several = st.tuples(st.sampled_from(["min", "max"]), st.lists(inner, min_size=1, max_size=3)).map(
        lambda parts: f"{parts[0]}({', '.join(parts[1])})"
    )
    return st.one_of(binary, binary, chain.map(lambda text: f"({text})"), call, several, inner.map(lambda text: f"-{text}"))


EXPRESSIONS = st.recursive(st.one_of(NUMBERS, st.sampled_from(PATHS)), compound, max_leaves=8).filter(lambda text: len(text) <= 1000)


def depth_fits(text: str) -> bool:
    return text.count("(") + text.count("-") < 30


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    attrs: dict[str, Any] = {"a": draw(VALUES), "b": draw(VALUES), "c": draw(st.one_of(VALUES, st.fixed_dictionaries({"d": VALUES})))}
    return {
        "attrs": attrs,
        "actor": draw(st.one_of(st.just({}), st.fixed_dictionaries({"metadata": st.fixed_dictionaries({"m": VALUES})}))),
    }


def compiled_points(text: str, document: dict[str, Any]) -> int | None:
    """What a board with this one rule counts for the document."""
    config = parse_config({"timeframe": {"type": "all_time"}, "scoring": {"rules": [{"event_type": "x", "points_expression": text}]}})
    board = BoardVersion(board_id=uuid.UUID(int=1), version=1, status=BoardStatus.ACTIVE, config=config, valid_from=NOON)
    outcome = ScoringOutcome()
    RuleSet([board]).apply("x", [ScorableEvent(1, NOON, NOON, uuid.UUID(int=2), document)], outcome)
    for scores in outcome.windows():
        for standing in scores.standings.values():
            return standing.total
    return None


@settings(max_examples=600, deadline=None)
@given(EXPRESSIONS.filter(depth_fits), documents())
def test_generated_code_equals_the_interpreter(text: str, document: dict[str, Any]) -> None:
    tree: Node = parse_expression(text)
    points, reason = evaluate(tree, document)
    assert compiled_points(text, document) == points
    assert (points is None) == (reason is not None)


@given(st.floats())
def test_rounding_to_four_places_is_that_of_the_double_itself(value: float) -> None:
    expected = round(round(value, 4) * 10_000) if math.isfinite(value) and abs(value) <= 1e9 else None
    assert scaled(value) == expected


@given(st.integers(-(10**13), 10**13))
def test_halves_of_the_fourth_place_round_as_the_double_does(ten_thousandths: int) -> None:
    value = (ten_thousandths + 0.5) / 10_000
    if abs(value) <= 1e9:
        assert scaled(value) == round(round(value, 4) * 10_000)
