"""Regular expressions that people may write into definitions: whatever text they meet, a match ends soon.

Python's `re` tries the ways to match one after the other. A pattern is taken only when the number of ways has a small bound, which
is computed from its parts; so no text can make a match take long. Text longer than `MATCHED_CHARACTERS` fits no pattern.
"""

import re
from functools import lru_cache
from re import _constants, _parser  # type: ignore[attr-defined]  # what `re` itself parses with; there is no public one
from typing import Any

MATCHED_CHARACTERS = 1000
MAXIMUM_WAYS = 2_000_000

_ONE_WAY = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN", "AT"})
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})


class _RefusedError(Exception):
    """Why the pattern is not taken."""


@lru_cache(maxsize=4096)
def pattern_problem(pattern: str) -> str | None:
    """Why this cannot be a pattern, as the end of a sentence; None if it can."""
    try:
        re.compile(pattern)
        ways = _ways(_parser.parse(pattern))
    except (re.error, OverflowError) as fault:
        return f"is not a regular expression: {fault}"
    except RecursionError:
        return "is nested too deeply"
    except _RefusedError as refusal:
        return str(refusal)
    if ways > MAXIMUM_WAYS:
        return "could take too long to match: give its repetitions upper limits, as in [a-z]{1,64}, and repeat nothing that repeats"
    return None


def fits(pattern: str, text: str) -> bool:
    """Whether the pattern matches the whole text; one that is not taken (it may be older than the rule) fits nothing."""
    return len(text) <= MATCHED_CHARACTERS and pattern_problem(pattern) is None and re.fullmatch(pattern, text) is not None


def _ways(parts: Any) -> int:
    """At most how many ways there are to match these parts, one behind the other; anything above the maximum counts the same."""
    ways = 1
    for code, argument in parts:
        ways = min(ways * _ways_of(str(code), argument), MAXIMUM_WAYS + 1)
    return ways


def _ways_of(code: str, argument: Any) -> int:
    if code in _ONE_WAY:
        return 1
    if code == "BRANCH":
        return sum(_ways(each) for each in argument[1])
    if code == "SUBPATTERN":
        return _ways(argument[3])
    if code in _REPEATS:
        least, most, inner = argument
        return _repeated(int(least), MATCHED_CHARACTERS if most is _constants.MAXREPEAT else int(most), _ways(inner))
    raise _RefusedError("may hold no back-references, and nothing that looks ahead or behind")


def _repeated(least: int, most: int, inner: int) -> int:
    """The ways of every number of repetitions, together."""
    most = min(most, max(least, MATCHED_CHARACTERS))
    if inner == 1:
        return most - least + 1
    total = 0
    for count in range(most, least - 1, -1):
        total += inner ** min(count, 64)
        if total > MAXIMUM_WAYS:
            break
    return total
