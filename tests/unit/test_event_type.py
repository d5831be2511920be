"""Schemas of event types: what is refused, and what one check may cost."""

import time
from typing import Any

import pytest

from domain.errors import EventTypeNotDeclared, Forbidden, ValidationError
from domain.event.event_type import DeclaredType, TypeRules, check_schema_shape, check_type_name, count_nodes, is_too_large
from domain.rule.pattern import ENGINE
from runtime.json_schema import compile_schema, schema_problem

GOOD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "minimum": 0},
        "code": {"type": "string", "pattern": r"^[A-Z]{2}-\d+$"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["amount"],
    "additionalProperties": False,
}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"properties": {"in": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://elsewhere.example/schema.json"},
        {"$ref": "#"},
        {"properties": {"a": {"$dynamicRef": "#a"}}},
        {"$id": "https://elsewhere.example/"},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"patternProperties": {"^(a+)+$": {}}},
        {"uniqueItems": True},
        {"pattern": "^["},
        {"pattern": "^" + "a" * 500},
        {"pattern": 7},
        {"pattern": "(?=a)a"},
        {"pattern": r"^(?:\pL?\pN?){60}$"},
        {"not": {"allOf": [{"pattern": "^(x)\\1"}]}},
        {"properties": {"a": "text"}},
        {"allOf": {"a": 1}},
        nested(40),
        {"enum": list(range(1_000))},
        {"description": "x" * 20_000},
    ],
)
def test_a_schema_that_could_do_harm_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        check_schema_shape(schema)


def test_an_ordinary_schema_says_what_does_not_fit() -> None:
    check_schema_shape(GOOD)
    assert schema_problem(GOOD) is None
    check = compile_schema(GOOD, ENGINE)
    assert check({"amount": 1.5, "code": "AB-12", "tags": ["a"]}) is None
    assert "'amount' is a required property" in (check({}) or "")
    assert (check({"amount": -1}) or "").startswith("amount: ")
    assert "does not match" in (check({"amount": 1, "code": "ab"}) or "")
    assert "does not match" in (check({"amount": 1, "code": "AB-" + "1" * 1_000}) or ""), "too long to be tried"
    assert len(check({"amount": "x" * 100_000}) or "") < 300


def test_what_is_no_schema_is_refused() -> None:
    assert schema_problem({"type": "nonsense"}) is not None
    assert schema_problem({"minimum": "three"}) is not None


@pytest.mark.parametrize("pattern", [r"^\[(a+)+b]", "^(a|a)*$", "(a+)+b", "^a*a*a*b", "^(?:a?){400}b"])
@pytest.mark.parametrize("text", ["a" * 1000, "[" + "a" * 60])
def test_hostile_patterns_end_soon(pattern: str, text: str) -> None:
    schema = {"properties": {"a": {"pattern": pattern}}}
    check_schema_shape(schema)
    assert schema_problem(schema) is None
    started = time.process_time()
    compile_schema(schema, ENGINE)({"a": text})
    assert time.process_time() - started < 10, "not in exponential time, which would take for ever"


def test_many_texts_on_a_large_pattern_have_a_bound_together() -> None:
    schema = {"properties": {"a": {"items": {"pattern": "(?:[ab]?[ac]?){190}b"}}}}
    check_schema_shape(schema)
    check = compile_schema(schema, ENGINE)
    assert "does not match" in (check({"a": ["a"]}) or "")
    refusal = check({"a": ["a" * 999 + "b"] * 500}) or ""
    assert "cannot be checked" in refusal
    assert check({"a": ["ab"]}) is None, "each check has its own budget"


def test_rules() -> None:
    declared = DeclaredType(False, compile_schema(GOOD, ENGINE), count_nodes(GOOD))
    types = {"goal": declared, "award": DeclaredType(True, None, 0)}
    strict, open_ = TypeRules(True, types), TypeRules(False, types)
    strict.check("goal", {"amount": 1}, body=b"{}", is_gamer=True)
    strict.check("award", {"any": 1}, body=b"{}", is_gamer=False)
    open_.check("other", {}, body=b"{}", is_gamer=True)
    open_.check("goal", {}, body=b"{}", is_gamer=True)
    for rules in (strict, open_):
        with pytest.raises(Forbidden):
            rules.check("award", {}, body=b"{}", is_gamer=True)
    for name, attrs, body in (("other", {}, b"{}"), ("goal", {}, b"{}"), ("goal", {"amount": 1}, b"," * 20_000)):
        with pytest.raises(EventTypeNotDeclared):
            strict.check(name, attrs, body=body, is_gamer=False)


def test_names() -> None:
    assert check_type_name("shop.order:paid-1") == "shop.order:paid-1"
    for name in ("", "a b", "a/b", "é", "x" * 101):
        with pytest.raises(ValidationError):
            check_type_name(name)


def test_long_text_counts_as_many_values() -> None:
    """Ninety branches that all refuse a megabyte of text would take a second to say so."""
    schema = {"properties": {"a": {"anyOf": [{"type": "integer"}] * 90}}}
    assert is_too_large(count_nodes(schema), b'{"a":"' + b"x" * 900_000 + b'"}')
    assert not is_too_large(count_nodes(schema), b'{"a":"' + b"x" * 20_000 + b'"}')
    assert not is_too_large(10, b'{"a":"' + b"x" * 900_000 + b'"}')


@pytest.mark.parametrize("pattern", [r"^\pL+\z", "a(?i)b"])
def test_a_pattern_of_re2_is_judged_by_no_other_engine(pattern: str) -> None:
    schema = {"properties": {"a": {"pattern": pattern}}}
    check_schema_shape(schema)
    assert schema_problem(schema) is None
