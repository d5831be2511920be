"""Patterns that people write: all of RE2 is taken up to a size, and no text makes a match take long."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import limits
from domain.rule.pattern import fits, found, pattern_cost, pattern_problem

LONGEST = limits.MATCHED_CHARACTERS.value
TAKEN = [
    r"\d{10}", r"(\+84|0)\d{9,10}", r"[A-Za-z ]+", r"^[A-Z]{2}-\d+( \d+)?$", r"[^@\s]{1,64}@[^@\s]{1,64}\.[a-z]{2,10}", r"(?i)s|m|l|xl",
    r"\S+ \S+", r"([0-9a-f]{2}:){5}[0-9a-f]{2}", r"(?:\d{4} ){3}\d{4}", r"", r".*", r"đường \w+", r"\pL+ \pL+",
]  # fmt: skip
# Each of them keeps a backtracking engine busy for minutes.
HOSTILE = [
    r"(a+)+b", r"(a*)*b", r"(a|a)*b", r"(a|aa)+b", r"([a-z]+)*\d", r"(.*)(.*)(.*)(.*)x", r"a*a*a*a*a*b", r"(x+x+)+y", r"^\[(a+)+b]",
    r"(a?){50}a{50}", r"(\w\s?)+z", r"(?:a|b|ab)*c", r".+?.+?.+?.+?;", r"(?:a{1,2}){0,19}(?:a{1}){900}b",
]  # fmt: skip


@pytest.mark.parametrize("pattern", TAKEN + HOSTILE)
def test_every_pattern_of_a_sensible_size_is_taken(pattern: str) -> None:
    assert pattern_problem(pattern) is None


@pytest.mark.parametrize("pattern", HOSTILE)
@pytest.mark.parametrize("text", ["a" * LONGEST, "[" + "a" * (LONGEST - 1), "x" * LONGEST, "a " * (LONGEST // 2)])
def test_a_hostile_pattern_is_done_in_linear_time(pattern: str, text: str) -> None:
    began = time.process_time()
    fits(pattern, text)
    found(pattern, text)
    assert time.process_time() - began < 10, "milliseconds here; a backtracking engine would not live to see the end"


@pytest.mark.parametrize("pattern", [r"(a)\1", r"(?=a)a", r"(?<!a)b", r"(?P<x>a)(?P=x)", r"(a)?(?(1)b|c)"])
def test_what_looks_around_is_not_taken(pattern: str) -> None:
    assert "RE2" in str(pattern_problem(pattern))
    assert not fits(pattern, "a")
    assert not found(pattern, "a")
    assert pattern_cost(pattern, "a") == 0


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "[z-a]", "*", "(" * 90 + ")" * 91, "\ud800"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    assert pattern_problem(pattern) is not None


@pytest.mark.parametrize(
    ("pattern", "reason"), [(r"\pL+ \pL+ \pL+ \pL+", "too large"), ("a" * 201, "longer than"), (r"(?:\pL?\pN?){60}", "too large")]
)
def test_what_is_too_large_says_so(pattern: str, reason: str) -> None:
    assert reason in str(pattern_problem(pattern))


def test_the_whole_text_has_to_fit_and_any_part_is_found() -> None:
    assert fits(r"\d{3}", "123")
    assert not fits(r"\d{3}", "1234")
    assert not fits(r"\d{3}", "123\n")
    assert found(r"\d{3}", "a1234")
    assert not found(r"^\d{3}$", "1234")
    assert fits(r"\pL+", "đường")
    for longer in ("x" * (LONGEST + 1), "\ud800"):
        assert not fits(".*", longer)
        assert not found(".*", longer)


@settings(max_examples=60, deadline=None)
@given(st.text("ab?*+(){}|,1239.\\[]^$", max_size=30), st.sampled_from(["a", "ab", "1", "a1", "["]))
def test_no_pattern_raises_or_takes_long(pattern: str, piece: str) -> None:
    text = (piece * LONGEST)[: LONGEST - 1] + "!"
    began = time.process_time()
    fits(pattern, text)
    found(pattern, text)
    assert time.process_time() - began < 10
