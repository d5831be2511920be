"""Regular expressions that people may write into definitions, matched by RE2: in time linear in the text, whatever the pattern.

Python's own `re` tries the ways to match one after the other and holds the interpreter meanwhile; no pattern of a tenant goes near it.
RE2 knows neither back-references nor look-around. What remains to be bounded is the size of the compiled pattern, which multiplies the
length of the text.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import re2

from domain import limits

_OPTIONS = re2.Options()
_OPTIONS.max_mem = limits.PATTERN_MEMORY.value
_OPTIONS.log_errors = False


@lru_cache(maxsize=128)
def _compiled(pattern: str) -> Any:
    """The compiled pattern; raises re2.error or ValueError (a lone surrogate) with the reason. At most 64 MiB are remembered."""
    return re2.compile(pattern, _OPTIONS)


@lru_cache(maxsize=4096)
def pattern_problem(pattern: str) -> str | None:
    """Why this cannot be a pattern, as the end of a sentence; None if it can."""
    if len(pattern) > limits.PATTERN_CHARACTERS.value:
        return f"is longer than {limits.PATTERN_CHARACTERS.value} characters"
    try:
        compiled = _compiled(pattern)
    except (re2.error, ValueError) as error:
        return f"is not a regular expression of RE2: {_said(error)}"
    if compiled.programsize > limits.PATTERN_PROGRAM.value:
        return f"is too large when compiled ({compiled.programsize} instructions, at most {limits.PATTERN_PROGRAM.value}): repeat less"
    return None


def _said(error: Exception) -> str:
    argument = error.args[0] if error.args else ""
    return argument.decode(errors="replace") if isinstance(argument, bytes) else str(argument)


def program_size(pattern: str) -> int:
    """How many instructions the compiled pattern has; 0 for one that is not taken."""
    return 0 if pattern_problem(pattern) else int(_compiled(pattern).programsize)


def pattern_cost(pattern: str, text: str) -> int:
    """At most how many steps it takes to look for the pattern in this text."""
    return len(text) * program_size(pattern)


def fits(pattern: str, text: str) -> bool:
    """Whether the pattern matches the whole text; one that is not taken (it may be older than the rule) fits nothing."""
    return _can_be_tried(pattern, text) and _compiled(pattern).fullmatch(text) is not None


def found(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text, as JSON Schema means it; one that is not taken is found nowhere."""
    return _can_be_tried(pattern, text) and _compiled(pattern).search(text) is not None


def _can_be_tried(pattern: str, text: str) -> bool:
    if len(text) > limits.MATCHED_CHARACTERS.value or pattern_problem(pattern) is not None:
        return False
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


class Engine(NamedTuple):
    """How the patterns of a schema are matched: whether one is found in a text, what that costs, and what one check may cost in all."""

    found: Callable[[str, str], bool]
    cost: Callable[[str, str], int]
    most_steps: int


ENGINE = Engine(found, pattern_cost, limits.PATTERN_STEPS.value)
