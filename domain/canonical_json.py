"""JSON byte for byte as JavaScript's `JSON.stringify(JSON.parse(text))` gives it (contract 5)."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from domain.errors import ValidationError

LARGEST_EXACT_INTEGER = 2**53
LARGEST_ARRAY_INDEX = 2**32 - 2
MAX_LEVELS = 64
"""As of events. What fits alone has to fit into a webhook's body, which has its own `WRAPPED_LEVELS`."""
WRAPPED_LEVELS = MAX_LEVELS + 8

_SURROGATE = re.compile("[\ud800-\udfff]")
_ARRAY_INDEX = re.compile("0|[1-9][0-9]{0,9}", re.ASCII)


def canonical_json(value: Any, levels: int = MAX_LEVELS) -> bytes:
    """The value as compact JSON: non-ASCII kept, keys that are array indexes first, numbers as JavaScript writes them.

    ValidationError for what is nested deeper than this many levels: a bound of ours, as Python's own depends on who calls.
    """
    parts: list[str] = []
    _write(value, parts, levels)
    return "".join(parts).encode()


def _write(value: Any, parts: list[str], levels: int) -> None:
    match value:
        case None:
            parts.append("null")
        case bool():
            parts.append("true" if value else "false")
        case str():
            parts.append(_string(value))
        case int() | float() | Decimal():
            parts.append(_number(value))
        case Mapping():
            _write_object(value, parts, _inside(levels))
        case Sequence():
            _write_array(value, parts, _inside(levels))
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def _inside(levels: int) -> int:
    if levels == 0:
        raise ValidationError("The value is nested too deeply")
    return levels - 1


def _write_object(value: Mapping[str, Any], parts: list[str], levels: int) -> None:
    parts.append("{")
    for number, key in enumerate(_keys(value)):
        parts.append("," if number else "")
        parts.append(_string(key))
        parts.append(":")
        _write(value[key], parts, levels)
    parts.append("}")


def _write_array(value: Sequence[Any], parts: list[str], levels: int) -> None:
    parts.append("[")
    for number, each in enumerate(value):
        parts.append("," if number else "")
        _write(each, parts, levels)
    parts.append("]")


def _keys(value: Mapping[str, Any]) -> list[str]:
    """ECMA-262 OrdinaryOwnPropertyKeys: array indexes first, ascending; then the others as they came."""
    indexes = [key for key in value if _ARRAY_INDEX.fullmatch(key) and int(key) <= LARGEST_ARRAY_INDEX]
    if not indexes:
        return list(value)
    known = set(indexes)
    return sorted(indexes, key=int) + [key for key in value if key not in known]


def _string(text: str) -> str:
    if _SURROGATE.search(text):
        paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        quoted = json.dumps(paired, ensure_ascii=False)
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
    return json.dumps(text, ensure_ascii=False)


def _number(value: int | float | Decimal) -> str:
    """ECMA-262 Number::toString, of the double that JavaScript would read."""
    if isinstance(value, int) and abs(value) <= LARGEST_EXACT_INTEGER:
        return str(int(value))
    try:
        number = float(value)
    except OverflowError:
        return "null"
    if not math.isfinite(number):
        return "null"
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    return sign + _decimal_text(*_digits(abs(number)))


def _digits(number: float) -> tuple[str, int]:
    """The shortest digits that name the double, and where its point stands: 0.digits x 10**point."""
    mantissa, _, exponent = repr(number).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    stripped = digits.lstrip("0")
    return stripped.rstrip("0"), point - (len(digits) - len(stripped))


def _decimal_text(digits: str, point: int) -> str:
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    mantissa = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{point - 1:+d}"
