"""JSON Schema by the library, without references, and with its patterns matched by an engine that the caller brings."""

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Protocol

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend

MESSAGE_CHARACTERS = 200
NO_FORMATS = FormatChecker(formats=())
"""For the schema itself: the library's own check of `pattern` compiles it with Python's `re`, which is neither RE2 nor bounded."""


class Patterns(Protocol):
    """How patterns are matched: whether one is found in a text, what that costs in steps, and how many steps one check may take."""

    @property
    def found(self) -> Callable[[str, str], bool]: ...  # noqa: D102
    @property
    def cost(self) -> Callable[[str, str], int]: ...  # noqa: D102
    @property
    def most_steps(self) -> int: ...  # noqa: D102


class _Work(threading.local):
    """What the check that runs in this thread may still spend. The library hands its keywords no state of ours."""

    patterns: Patterns
    steps_left: int = 0


_work = _Work()


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    _work.steps_left -= _work.patterns.cost(pattern, instance)
    if _work.steps_left < 0:
        raise ArithmeticError("patterns take more steps than one check may")
    if not _work.patterns.found(pattern, instance):
        yield ValidationError(f"{instance!r:.100} does not match {pattern!r}")


_Validator: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def _errors(validator: Any, value: Any, patterns: Patterns) -> Iterator[Any]:
    _work.patterns, _work.steps_left = patterns, patterns.most_steps
    return iter(validator.iter_errors(value))


def schema_problem(schema: dict[str, Any]) -> str | None:
    """What makes this no JSON Schema (2020-12), or None."""
    try:
        Draft202012Validator.check_schema(schema, format_checker=NO_FORMATS)
    except SchemaError as error:
        return _said(error)
    return None


def compile_schema(schema: dict[str, Any], patterns: Patterns) -> Callable[[Any], str | None]:
    """A function that says what is wrong with a value, or None. The schema was checked by its author's request."""
    validator = _Validator(schema)

    def check(value: Any) -> str | None:
        try:
            error = next(_errors(validator, value, patterns), None)
        except (ArithmeticError, RecursionError, ValueError, TypeError) as broken:
            return f"it cannot be checked ({type(broken).__name__})"
        return None if error is None else _said(error)

    return check


def problems_of(schema: dict[str, Any], value: Any, patterns: Patterns, *, most: int) -> list[tuple[str, str]]:
    """What is wrong with a value, as (place, message), at most so many: for a person who writes the schema."""
    try:
        errors = list(islice(_errors(_Validator(schema), value, patterns), most))
    except (ArithmeticError, RecursionError, ValueError, TypeError) as broken:
        return [("", f"it cannot be checked ({type(broken).__name__})")]
    return [(".".join(str(part) for part in list(error.absolute_path)[:16]), error.message[:MESSAGE_CHARACTERS]) for error in errors]


def _said(error: Any) -> str:
    where = ".".join(str(part) for part in list(error.absolute_path)[:16])
    text = f"{where}: {error.message}" if where else error.message
    return text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + "…"
