"""Filters and conditions: path → operators, all must hold (contract 3). Types never coerce: true is not 1, "5" is not 5, 1 is 1.0."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from domain.errors import ValidationError
from domain.misfit import near_miss

Document = Mapping[str, Any]

MISSING: Any = object()
"""What a path gives that the document does not have; null is a value, not a missing one."""

WRITTEN_ELSEWHERE = {
    "==": "eq",
    "=": "eq",
    "!=": "ne",
    ">": "gt",
    ">=": "gte",
    "<": "lt",
    "<=": "lte",
    "not_in": "nin",
    "neq": "ne",
    "equals": "eq",
}
"""Operators as other systems write them."""

MAX_PATHS = 50
MAX_LISTED = 1000


class Condition(msgspec.Struct, frozen=True):
    """One operator on one path; `operand` is checked against the operator when it is parsed."""

    path: str
    operator: str
    operand: Any

    @property
    def segments(self) -> tuple[str, ...]:
        """The keys to follow from the event's top."""
        return tuple(self.path.split("."))


def is_number(value: Any) -> bool:
    """A JSON number; booleans are none."""
    return type(value) is int or type(value) is float


def same(left: Any, right: Any) -> bool:
    """Equal as JSON values: numbers by value, everything else only with its own kind."""
    if is_number(left) and is_number(right):
        return bool(left == right)
    if type(left) is not type(right):
        return False
    if type(left) is list:
        return len(left) == len(right) and all(map(same, left, right))
    if type(left) is dict:
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    return bool(left == right)


def _comparable(left: Any, right: Any) -> bool:
    return (is_number(left) and is_number(right)) or (type(left) is str and type(right) is str)


def _contains(value: Any, operand: Any) -> bool:
    if type(value) is str:
        return type(operand) is str and operand in value
    return type(value) is list and any(same(item, operand) for item in value)


OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": same,
    "ne": lambda value, operand: not same(value, operand),
    "gt": lambda value, operand: _comparable(value, operand) and value > operand,
    "gte": lambda value, operand: _comparable(value, operand) and value >= operand,
    "lt": lambda value, operand: _comparable(value, operand) and value < operand,
    "lte": lambda value, operand: _comparable(value, operand) and value <= operand,
    "in": lambda value, operand: any(same(value, item) for item in operand),
    "nin": lambda value, operand: not any(same(value, item) for item in operand),
    "exists": lambda value, operand: (value is not MISSING) is operand,
    "contains": _contains,
    "starts_with": lambda value, operand: type(value) is str and value.startswith(operand),
}


def parse_conditions(definition: Any, field: str) -> tuple[Condition, ...]:
    """The conditions of a definition `{path: {operator: operand}}` in its order; ValidationError names the faulty field."""
    if not isinstance(definition, dict):
        raise ValidationError.of(field, "must be an object of path → operators")
    if len(definition) > MAX_PATHS:
        raise ValidationError.of(field, f"has more than {MAX_PATHS} paths")
    conditions = []
    for path, operators in definition.items():
        where = f"{field}.{path}"
        if not path or len(path) > 255 or not all(path.split(".")):
            raise ValidationError.of(where, "is not a path such as attrs.mode")
        if not isinstance(operators, dict) or not operators:
            raise ValidationError.of(where, 'must be an object of operators such as {"eq": "ranked"}')
        for operator, operand in operators.items():
            _check_operand(operator, operand, f"{where}.{operator}")
            conditions.append(Condition(path, operator, operand))
    return tuple(conditions)


def _check_operand(operator: str, operand: Any, field: str) -> None:
    if operator not in OPERATORS:
        meant = near_miss(operator, OPERATORS) or WRITTEN_ELSEWHERE.get(operator)
        proposed = f"; did you mean {meant}?" if meant else ""
        raise ValidationError.of(field, f"is not one of the operators {', '.join(OPERATORS)}{proposed}")
    if operator in ("in", "nin") and (not isinstance(operand, list) or len(operand) > MAX_LISTED):
        raise ValidationError.of(field, f"must be a list of at most {MAX_LISTED} values")
    if operator == "exists" and not isinstance(operand, bool):
        raise ValidationError.of(field, "must be true or false")
    if operator == "starts_with" and not isinstance(operand, str):
        raise ValidationError.of(field, "must be a string")
    if operator in ("gt", "gte", "lt", "lte") and not (is_number(operand) or isinstance(operand, str)):
        raise ValidationError.of(field, "must be a number or a string")


def value_at(document: Document, path: str) -> Any:
    """The value at a dotted path of the event, or MISSING."""
    value: Any = document
    for segment in path.split("."):
        if type(value) is not dict or segment not in value:
            return MISSING
        value = value[segment]
    return value


def holds(condition: Condition, document: Document) -> bool:
    """Whether this one condition holds. A missing path fails all but `exists: false`, `ne` and `nin`."""
    value = value_at(document, condition.path)
    return OPERATORS[condition.operator](value, condition.operand)


def matches(conditions: tuple[Condition, ...], document: Document) -> bool:
    """Whether all conditions hold."""
    return first_failed(conditions, document) is None


def first_failed(conditions: tuple[Condition, ...], document: Document) -> Condition | None:
    """The first condition that does not hold; None when all hold."""
    return next((condition for condition in conditions if not holds(condition, document)), None)


def json_text(value: Any) -> str:
    """The value as people are shown it: JSON of at most 100 characters."""
    return msgspec.json.encode(value).decode()[:100]


def why_not(conditions: tuple[Condition, ...], document: Document) -> str | None:
    """The first condition that does not hold, in words for a preview; None when all hold."""
    failed = first_failed(conditions, document)
    if failed is None:
        return None
    value = value_at(document, failed.path)
    shown = "missing" if value is MISSING else json_text(value)
    return f"{failed.path} is {shown}, wanted {failed.operator} {json_text(failed.operand)}"


def condition_source(condition: Condition, value: str, constant: Callable[[Any], str]) -> str:
    """A Python expression that equals `holds`, given the name that holds the path's value (or MISSING).

    `constant` binds an object and returns its name; the names `_same`, `_type`, `_str`, `_int`, `_float`, `_bool` and
    `_MISSING` must be bound by the caller. Only constants and fixed words reach the text, so no definition can inject code.
    """
    operator, operand = condition.operator, condition.operand
    if operator == "exists":
        return f"({value} is {'not ' if operand else ''}_MISSING)"
    if operator in ("eq", "ne"):
        return f"(not {_equality(value, operand, constant)})" if operator == "ne" else _equality(value, operand, constant)
    if operator in ("in", "nin"):
        if all(type(item) is str for item in operand):
            inside = f"(_type({value}) is _str and {value} in {constant(frozenset(operand))})"
            return f"(not {inside})" if operator == "nin" else inside
    elif operator in ("gt", "gte", "lt", "lte"):
        sign = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[operator]
        kinds = f"_type({value}) is _str" if type(operand) is str else f"(_type({value}) is _int or _type({value}) is _float)"
        return f"({kinds} and {value} {sign} {constant(operand)})"
    elif operator == "starts_with":
        return f"(_type({value}) is _str and {value}.startswith({constant(operand)}))"
    return f"{constant(OPERATORS[operator])}({value}, {constant(operand)})"


def _equality(value: str, operand: Any, constant: Callable[[Any], str]) -> str:
    if type(operand) is str:
        return f"({value} == {constant(operand)})"
    if type(operand) is bool:
        return f"({value} is {operand})"
    if operand is None:
        return f"({value} is None)"
    if is_number(operand):
        return f"({value} == {constant(operand)} and _type({value}) is not _bool)"
    return f"_same({value}, {constant(operand)})"
