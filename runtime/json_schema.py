"""JSON Schema by the library, without references, and with a limit to what a pattern is tried on."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend

MATCHED_CHARACTERS = 256
"""Longer text fits no pattern: with at most two quantifiers, a match costs the square of this at most."""

MESSAGE_CHARACTERS = 200


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    if len(instance) > MATCHED_CHARACTERS:
        yield ValidationError(f"text longer than {MATCHED_CHARACTERS} characters fits no pattern")
    elif not re.search(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def schema_problem(schema: dict[str, Any]) -> str | None:
    """What makes this no JSON Schema (2020-12), or None."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as fault:
        return _said(fault)
    return None


def compile_schema(schema: dict[str, Any]) -> Callable[[Any], str | None]:
    """A function that says what is wrong with a value, or None. The schema was checked by its author's request."""
    validator = _Validator(schema)

    def check(value: Any) -> str | None:
        try:
            fault = next(validator.iter_errors(value), None)
        except (ArithmeticError, RecursionError, ValueError, TypeError) as broken:
            return f"it cannot be checked ({type(broken).__name__})"
        return None if fault is None else _said(fault)

    return check


def problems_of(schema: dict[str, Any], value: Any, *, most: int) -> list[tuple[str, str]]:
    """What is wrong with a value, as (place, message), at most so many: for a person who writes the schema."""
    try:
        faults = list(islice(_Validator(schema).iter_errors(value), most))
    except (ArithmeticError, RecursionError, ValueError, TypeError) as broken:
        return [("", f"it cannot be checked ({type(broken).__name__})")]
    return [(".".join(str(part) for part in list(fault.absolute_path)[:16]), fault.message[:MESSAGE_CHARACTERS]) for fault in faults]


def _said(fault: Any) -> str:
    where = ".".join(str(part) for part in list(fault.absolute_path)[:16])
    text = f"{where}: {fault.message}" if where else fault.message
    return text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + "…"
