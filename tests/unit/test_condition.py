"""Conditions: what each operator means, and which definitions are refused."""

from typing import Any

import pytest

from domain.errors import ValidationError
from domain.rule.condition import Condition, holds, matches, parse_conditions, why_not

DOCUMENT = {
    "type": "match",
    "attrs": {"n": 5, "f": 5.0, "t": True, "s": "5", "z": None, "l": ["a", 1, True], "o": {"k": 1}, "w": "ranked game"},
}


@pytest.mark.parametrize(
    ("path", "operator", "operand", "expected"),
    [
        ("attrs.n", "eq", 5, True),
        ("attrs.n", "eq", 5.0, True),
        ("attrs.f", "eq", 5, True),
        ("attrs.s", "eq", 5, False),
        ("attrs.n", "eq", "5", False),
        ("attrs.t", "eq", 1, False),
        ("attrs.t", "eq", True, True),
        ("attrs.n", "ne", "5", True),
        ("attrs.z", "eq", None, True),
        ("attrs.missing", "eq", None, False),
        ("attrs.o", "eq", {"k": 1.0}, True),
        ("attrs.o", "eq", {"k": True}, False),
        ("attrs.n", "gt", 4, True),
        ("attrs.n", "gte", 5, True),
        ("attrs.n", "lt", 5, False),
        ("attrs.n", "lte", 5, True),
        ("attrs.s", "gt", 4, False),
        ("attrs.t", "gt", 0, False),
        ("attrs.s", "gt", "4", True),
        ("type", "in", ["match", "game"], True),
        ("attrs.t", "in", [1], False),
        ("attrs.l", "in", ["a"], False),
        ("attrs.n", "in", [5.0, "x"], True),
        ("attrs.n", "nin", [6], True),
        ("attrs.z", "exists", True, True),
        ("attrs.l", "contains", "a", True),
        ("attrs.l", "contains", 1.0, True),
        ("attrs.l", "contains", "1", False),
        ("attrs.w", "contains", "ed g", True),
        ("attrs.n", "contains", 5, False),
        ("attrs.w", "starts_with", "rank", True),
        ("attrs.n", "starts_with", "5", False),
        ("attrs.n.deeper", "exists", False, True),
    ],
)
def test_an_operator_compares_without_coercion(path: str, operator: str, operand: Any, expected: bool) -> None:
    assert holds(Condition(path, operator, operand), DOCUMENT) is expected


@pytest.mark.parametrize(
    ("operator", "operand", "expected"),
    [
        ("eq", 1, False), ("ne", 1, True), ("gt", 1, False), ("gte", 1, False), ("lt", 1, False), ("lte", 1, False), ("in", [1], False),
        ("nin", [1], True), ("exists", True, False), ("exists", False, True), ("contains", "a", False), ("starts_with", "", False),
    ],
)  # fmt: skip
def test_a_missing_path_fails_all_but_ne_nin_and_exists_false(operator: str, operand: Any, expected: bool) -> None:
    assert holds(Condition("attrs.nothing.here", operator, operand), DOCUMENT) is expected


def test_all_conditions_must_hold_and_the_first_that_does_not_is_named() -> None:
    conditions = parse_conditions({"attrs.n": {"gte": 1, "lt": 5}, "type": {"eq": "match"}}, "conditions")
    assert not matches(conditions, DOCUMENT)
    assert why_not(conditions, DOCUMENT) == "attrs.n is 5, wanted lt 5"
    assert matches((), DOCUMENT)


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ([], "filters"),
        ({"a": 1}, "filters.a"),
        ({"a": {}}, "filters.a"),
        ({"a..b": {"eq": 1}}, "filters.a..b"),
        ({"": {"eq": 1}}, "filters."),
        ({"a": {"like": 1}}, "filters.a.like"),
        ({"a": {"in": "x"}}, "filters.a.in"),
        ({"a": {"exists": 1}}, "filters.a.exists"),
        ({"a": {"starts_with": 1}}, "filters.a.starts_with"),
        ({"a": {"gt": True}}, "filters.a.gt"),
    ],
)
def test_a_bad_definition_names_its_field(definition: Any, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_conditions(definition, "filters")
    assert caught.value.details is not None
    assert caught.value.details[0]["field"] == field
