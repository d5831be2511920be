"""points_expression: values, what gives no points, and the position of what is wrong."""

import pytest

from domain.errors import ValidationError
from domain.rule.expression import evaluate, parse_expression, scaled

DOCUMENT = {
    "attrs": {"score": 125, "win": True, "zero": 0, "name": "x", "deep": {"er": 2.5}, "a": 9, "b": 4},
    "actor": {"metadata": {"level": 3}},
}


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("attrs.score * 0.1", 125_000),
        ("attrs.win * 10", 100_000),
        ("attrs.a-attrs.b", 50_000),
        ("-attrs.a % attrs.b", 30_000),
        ("1 + 2 * 3 - 4 / 8", 65_000),
        ("(1 + 2) * 3", 90_000),
        ("2 - 3 - 4", -50_000),
        ("--2", 20_000),
        ("min(attrs.a, attrs.b, 7) + max(1, 2)", 60_000),
        ("abs(-3) + floor(-1.5) + ceil(1.2)", 30_000),
        ("round(0.5) + round(1.5) + round(2.5)", 40_000),
        ("actor.metadata.level * attrs.deep.er", 75_000),
        ("1e3 + .5 + 1.", 10_015_000),
        ("1 / 3", 3_333),
        ("2 / 3", 6_667),
        ("0.00005", 1),
        ("0.00025", 3),
        ("1000000000", 10_000_000_000_000),
    ],
)
def test_an_expression_gives_its_points_in_ten_thousandths(text: str, points: int) -> None:
    assert evaluate(parse_expression(text), DOCUMENT) == (points, None)


def test_the_fourth_place_is_rounded_half_even() -> None:
    assert [scaled(value / 32) for value in (1, 3)] == [312, 938]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("attrs.none", "attrs.none is missing or not a number"),
        ("attrs.name + 1", "attrs.name is missing or not a number"),
        ("attrs.deep", "attrs.deep is missing or not a number"),
        ("0 * min(1, attrs.none)", "attrs.none is missing or not a number"),
        ("1 / attrs.zero", "division by zero"),
        ("1 % attrs.zero", "division by zero"),
        ("1e300 * 1e300", "the result is not finite"),
        ("1e9 + 1", "the result is beyond ±1000000000"),
    ],
)
def test_a_rule_without_a_value_gives_no_points_and_says_why(text: str, reason: str) -> None:
    assert evaluate(parse_expression(text), DOCUMENT) == (None, reason)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 1), ("1 +", 4), ("(1", 3), ("1 2", 3), ("foo(1)", 1), ("abs(1, 2)", 1), ("attrs", 1), ("1 @ 2", 3), ("event.x", 1),
        ("attrs.a-b", 9), ("1)", 2), ("__import__", 1), ("1e400", 1), ("+1", 1), ("2 ** 3", 4), ("min()", 5), ("attrs.x.", 8),
        ("attrs.score = 1", 13), ("'a'", 1), ("attrs.é", 6),
    ],
)  # fmt: skip
def test_a_bad_expression_is_refused_with_its_position(text: str, position: int) -> None:
    with pytest.raises(ValidationError, match=rf" \(at position {position}\)$"):
        parse_expression(text)


def test_length_and_nesting_are_bounded_before_any_recursion() -> None:
    assert parse_expression("(" * 31 + "1" + ")" * 31)
    assert evaluate(parse_expression("+".join(["1"] * 500)), {})[0] == 5_000_000
    with pytest.raises(ValidationError, match="nested deeper than 32"):
        parse_expression("(" * 32 + "1" + ")" * 32)
    with pytest.raises(ValidationError, match="nested deeper than 32"):
        parse_expression("-" * 900 + "1")
    with pytest.raises(ValidationError, match="longer than 1000"):
        parse_expression("1" * 100_000)
