"""Patterns that people write: useful ones are taken, those that could hang a process are not."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.pattern import MATCHED_CHARACTERS, fits, pattern_problem

TAKEN = [
    r"\d{10}", r"(\+84|0)\d{9,10}", r"[A-Za-z ]+", r"^[A-Z]{2}-\d+( \d+)?$", r"[^@\s]{1,64}@[^@\s]{1,64}\.[a-z]{2,10}", r"(?i)s|m|l|xl",
    r"\S+ \S+", r"([0-9a-f]{2}:){5}[0-9a-f]{2}", r"(?:\d{4} ){3}\d{4}", r"", r".*", r"đường \w+",
]  # fmt: skip
HANGING = [
    r"(a+)+b", r"(a*)*b", r"(a|a)*b", r"(a|aa)+b", r"([a-z]+)*\d", r"(.*)(.*)(.*)(.*)x", r"a*a*a*a*a*b", r"(x+x+)+y", r"((a{1,30}){1,30})b",
    r"(a?){50}a{50}", r"(\w\s?)+z", r"(?:a|b|ab)*c", r".+?.+?.+?.+?;",
]  # fmt: skip


@pytest.mark.parametrize("pattern", TAKEN)
def test_a_useful_pattern_is_taken(pattern: str) -> None:
    assert pattern_problem(pattern) is None


@pytest.mark.parametrize("pattern", HANGING)
def test_a_pattern_that_could_hang_is_not(pattern: str) -> None:
    assert "too long" in str(pattern_problem(pattern))
    assert not fits(pattern, "a" * 40), "one that was kept before the rule is never run"


@pytest.mark.parametrize("pattern", [r"(a)\1", r"(?=a)a", r"(?<!a)b", r"(?P<x>a)(?P=x)", r"(a)?(?(1)b|c)"])
def test_what_looks_around_is_not_taken(pattern: str) -> None:
    assert "back-references" in str(pattern_problem(pattern))


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "[z-a]", "*", "(" * 3000 + ")" * 3000, "a{99999999999}"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    assert pattern_problem(pattern) is not None


def test_the_whole_text_has_to_fit() -> None:
    assert fits(r"\d{3}", "123")
    assert not fits(r"\d{3}", "1234")
    assert not fits(r"\d{3}", "123\n")
    assert not fits(".*", "x" * (MATCHED_CHARACTERS + 1))


@settings(max_examples=60, deadline=None)
@given(st.text("ab?*+(){}|,1239.", max_size=14), st.sampled_from(["a", "ab", "1", "a1"]))
def test_no_taken_pattern_takes_long(pattern: str, piece: str) -> None:
    text = (piece * MATCHED_CHARACTERS)[: MATCHED_CHARACTERS - 1] + "!"
    began = time.process_time()
    fits(pattern, text)
    assert time.process_time() - began < 2
