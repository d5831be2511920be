"""Event types that a tenant declares, and which JSON Schemas it may give for their attrs (contract 2).

A schema is run on every event of its type, in the process that takes everybody's events. So only keywords whose cost is bounded
by the sizes of schema and attrs are known: no references (which recurse or multiply, and could name other servers). Patterns are RE2's.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from domain import limits
from domain.errors import EventTypeNotDeclared, Forbidden, ValidationError
from domain.rule.pattern import pattern_problem
from domain.wire import EVENT_TYPE

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ONE_SCHEMA = frozenset({"additionalProperties", "items", "not", "if", "then", "else", "propertyNames"})
MANY_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
NAMED_SCHEMAS = frozenset({"properties"})
PLAIN = frozenset(
    {
        *("$schema", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format"),
        *("type", "enum", "const", "required", "dependentRequired", "pattern", "minLength", "maxLength"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minItems", "maxItems", "minProperties", "maxProperties"),
    }
)
Check = Callable[[dict[str, Any]], str | None]
"""What is wrong with an event's attrs, or None."""


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """A declared type. `schema` is a JSON Schema (2020-12) for attrs; a system type cannot be deleted."""

    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    server_only: bool = False
    is_system: bool = False
    created_at: datetime
    updated_at: datetime


class DeclaredType(msgspec.Struct, frozen=True):
    """What ingestion needs of a type. `nodes` is the size of its schema."""

    server_only: bool
    check: Check | None
    nodes: int


class TypeRules(msgspec.Struct, frozen=True):
    """The rules of one tenant's events. `must_be_declared` is the mode `declared`."""

    must_be_declared: bool
    types: Mapping[str, DeclaredType]

    def check(self, name: str, attrs: dict[str, Any], *, body: bytes, is_gamer: bool) -> None:
        """Raise `Forbidden` for a type that is the server's, `EventTypeNotDeclared` in mode `declared` for what does not fit."""
        declared = self.types.get(name)
        if declared is not None and declared.server_only and is_gamer:
            raise Forbidden(f"Only servers can send events of type '{name}'")
        if not self.must_be_declared:
            return
        if declared is None:
            raise EventTypeNotDeclared(f"Event type '{name}' is not declared")
        if declared.check is None:
            return
        if is_too_large(declared.nodes, body):
            raise EventTypeNotDeclared(f"attrs do not match the schema of '{name}': they are too large to check")
        problem = declared.check(attrs)
        if problem is not None:
            raise EventTypeNotDeclared(f"attrs do not match the schema of '{name}': {problem}")


def is_too_large(nodes: int, body: bytes) -> bool:
    """Whether an event of these bytes could take too long to check against a schema of so many parts.

    Long text counts as several values: each part of the schema that refuses one says so with all of it.
    """
    values = body.count(b",") + body.count(b"{") + body.count(b"[") + len(body) // limits.SCHEMA_TEXT_BYTES.value
    return values * nodes > limits.SCHEMA_CHECKS.value


def check_type_name(name: str) -> str:
    """The name, or a ValidationError (contract 2: the same characters as an event's type)."""
    if not EVENT_TYPE.fullmatch(name):
        raise ValidationError.of("name", "must be 1 to 100 characters of A-Z a-z 0-9 _ . : -")
    return name


def check_schema_shape(schema: dict[str, Any]) -> None:
    """Raise `ValidationError` for a schema that is too large, too deep, or uses what cannot be bounded."""
    if len(msgspec.json.encode(schema)) > limits.SCHEMA_BYTES.value:
        raise _error(f"is larger than {limits.SCHEMA_BYTES.value} bytes")
    if count_nodes(schema) > limits.SCHEMA_NODES.value:
        raise _error(f"has more than {limits.SCHEMA_NODES.value} parts")
    _walk(schema, 1)


def count_nodes(value: Any) -> int:
    """How many values a JSON value consists of, itself included; counting stops a little above what is allowed."""
    waiting, nodes = [value], 0
    while waiting and nodes <= limits.SCHEMA_NODES.value:
        each = waiting.pop()
        nodes += 1
        if isinstance(each, dict):
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return nodes


def _error(message: str) -> ValidationError:
    return ValidationError.of("schema", message)


def _walk(schema: Any, depth: int) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _error("contains a part that is not an object, true or false")
    if depth > limits.SCHEMA_DEPTH.value:
        raise _error(f"is nested deeper than {limits.SCHEMA_DEPTH.value} schemas")
    for keyword, value in schema.items():
        if keyword in ONE_SCHEMA:
            _walk(value, depth + 1)
        elif keyword in MANY_SCHEMAS and isinstance(value, list):
            for each in value:
                _walk(each, depth + 1)
        elif keyword in NAMED_SCHEMAS and isinstance(value, dict):
            for each in value.values():
                _walk(each, depth + 1)
        elif keyword == "pattern":
            _check_pattern(value)
        elif keyword == "$schema" and value != DIALECT:
            raise _error(f"$schema must be {DIALECT}")
        elif keyword not in PLAIN:
            raise _error(f"the keyword '{keyword[:50]}' is not supported")


def _check_pattern(pattern: Any) -> None:
    if not isinstance(pattern, str):
        raise _error("a pattern must be a string")
    if problem := pattern_problem(pattern):
        raise _error(f"a pattern {problem}")
