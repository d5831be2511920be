"""Query parameters as Structs: a handler's `params` is read as what it is annotated with, as strictly as a body is.

Numbers are written in digits, flags as `true` or `false`, instants with an offset; every error is told at once. Names that the Struct does
not know are refused before (`api/known_query.py`), and `query_names` says which it knows.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from msgspec import inspect

from domain.errors import ValidationError
from domain.misfit import Misfit
from domain.wire import GivenInstant, convert_value

Query = TypeVar("Query", bound=msgspec.Struct)

MOST_DIGITS = 12
MOST = 10**MOST_DIGITS - 1
NUMBER = re.compile(r"[0-9]{1,16}(\.[0-9]{1,16})?")
INJECTED = ("params", "page")
"""The parameters of handlers that are read off the query string."""
INSTANT_PROBLEM = "must be an RFC 3339 time with an offset, such as 2025-11-18T12:00:00Z"


class Between(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time, `from` ≤ instant < `to`; either may be left open."""

    since: GivenInstant | None = msgspec.field(name="from", default=None)
    until: GivenInstant | None = msgspec.field(name="to", default=None)


async def read_params(request: Request[Any, Any, Any]) -> Any:
    """The query as the Struct that the handler's `params` is annotated with; injected under that name."""
    shape = request.route_handler.parsed_fn_signature.parameters["params"].annotation
    return query_as(request.query_params, shape)


def query_as(given: Mapping[str, str], shape: type[Query]) -> Query:
    """The query as that Struct; a ValidationError tells every parameter that does not fit. What the Struct does not know is passed over."""
    values: dict[str, Any] = {}
    errors: list[Misfit] = []
    for name, kinds in _parameters_of(shape):
        text = given.get(name)
        if text is None:
            continue
        found = _value_of(text, kinds)
        if isinstance(found, Misfit):
            errors.append(Misfit(name, found.message))
        else:
            values[name] = found
    if errors:
        raise ValidationError.of_many(errors)
    return convert_value(values, shape)


def query_names(handler: HTTPRouteHandler) -> frozenset[str]:
    """The names of the query parameters of a route, also of those that it only tolerates."""
    documented = frozenset(field.encode_name for shape in query_shapes(handler) for field in struct_fields(shape))
    return documented.union(handler.opt.get("tolerated", ()))


def query_shapes(handler: HTTPRouteHandler) -> Iterator[type[msgspec.Struct]]:
    """The Structs that a route reads its query as."""
    known = handler.parsed_fn_signature.parameters
    for name in INJECTED:
        if name in known:
            yield known[name].annotation


def struct_fields(shape: type[msgspec.Struct]) -> Iterable[inspect.Field]:
    """The fields of a Struct as msgspec describes them."""
    kind = inspect.type_info(shape)
    assert isinstance(kind, inspect.StructType)
    return kind.fields


@cache
def _parameters_of(shape: type[msgspec.Struct]) -> tuple[tuple[str, tuple[inspect.Type, ...]], ...]:
    """The names of a Struct's parameters with what each may be. Kept: asking msgspec costs more than reading the query."""
    return tuple((field.encode_name, tuple(_kinds(field.type))) for field in struct_fields(shape))


def _kinds(kind: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        yield from _kinds(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from _kinds(each)
    elif not isinstance(kind, inspect.NoneType):
        yield kind


def _value_of(text: str, kinds: Sequence[inspect.Type]) -> Any:
    """The text as what msgspec converts to the first of these kinds that it fits, or the first's Misfit of no field."""
    if "\0" in text:
        return Misfit("", "must not contain the character U+0000")
    found = [_as_kind(text, kind) for kind in kinds]
    return next((each for each in found if not isinstance(each, Misfit)), found[0])


def _as_kind(text: str, kind: inspect.Type) -> Any:
    if isinstance(kind, inspect.IntType):
        return _whole_number(text, kind)
    if isinstance(kind, inspect.FloatType):
        return _number(text, kind)
    if isinstance(kind, inspect.BoolType):
        return text == "true" if text in ("true", "false") else Misfit("", "must be true or false")
    if isinstance(kind, inspect.DateTimeType):
        return _instant(text)
    return text


def _whole_number(text: str, kind: inspect.IntType) -> int | Misfit:
    low, high = kind.ge or 0, MOST if kind.le is None else kind.le
    if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS and low <= int(text) <= high:
        return int(text)
    return Misfit("", f"must be a whole number from {low} to {high}")


def _number(text: str, kind: inspect.FloatType) -> float | Misfit:
    low, high = kind.ge or 0, MOST if kind.le is None else kind.le
    if NUMBER.fullmatch(text) and low <= float(text) <= high:
        return float(text)
    return Misfit("", f"must be a number from {low:g} to {high:.16g}")


def _instant(text: str) -> datetime | Misfit:
    """In UTC. A `+` that was not escaped arrives as a space."""
    try:
        instant: datetime = msgspec.convert(text.replace(" ", "+"), GivenInstant)
        return instant.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        return Misfit("", INSTANT_PROBLEM)
