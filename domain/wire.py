"""How values look on the wire: instants, scores, amounts, ids, strict numbers, and errors that name their field (contract 1)."""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.errors import ValidationError
from domain.misfit import Misfit, cut, misfits, place_of

Shape = TypeVar("Shape")

MAX_INTEGER = 2**53 - 1
CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
EXTERNAL_ID = re.compile(r"[^/\x00-\x1f\x7f-\x9f]{1,255}")
EVENT_TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
EVENT_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,255}")
EARLIEST, LATEST = datetime(2, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Calendars of windows need some room at both ends of time (a zone's offset, the grace): nothing is measured outside of these."""
RESERVED_EXTERNAL_IDS = frozenset({".", "..", "me"})
_DIGITS_AS_ZERO = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else byte for byte in range(256))
_MANY_ZEROS = b"0" * 16

UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x78\x9c": "deflate", b"\x78\x01": "deflate", b"\x78\xda": "deflate"}
_PLACE = re.compile(r" \(byte (\d+)\)$")
_WORD = re.compile(rb"(?:NaN|-?Infinity|undefined|True|False|None)\b")
"""What other languages write where JSON has no such value."""
FORM = re.compile(rb"[A-Za-z_][\w.\[\]%+-]*=")

_WHERE = re.compile(r" - at `(?:key in )?\$(.*)`$")

SCORE_UNITS = 10_000
"""A score is kept as an integer of 1/10 000 point."""

Instant = Annotated[str, Meta(examples=["2025-11-18T12:00:00Z"], extra_json_schema={"format": "date-time"})]
"""An instant as answers show it: `rfc3339`."""
GivenInstant = Annotated[datetime, Meta(tz=True, examples=["2025-11-18T12:00:00Z"])]
"""An instant as bodies and queries give it: RFC 3339 with an offset."""
Number = Annotated[int | float, Meta(examples=[1200])]
"""A score or an amount as a JSON number: whole where nothing follows the point."""
Id = Annotated[UUID, Meta(examples=["0193f1de-7c1a-7e2b-9d65-0c8b5d1f4a10"])]
"""An id that Laurel chose."""
ExternalId = Annotated[str, Meta(examples=["player-42"])]
"""A tenant's own id of a user, as answers show it."""
Actor = Annotated[str, Meta(examples=["api_key:lk_a1b2c3"])]
"""Who did something: a key, a token, a person of the console, or a part of Laurel."""
NextCursor = Annotated[str | None, Meta(description="`cursor` of the next page; null on the last", examples=["WyIwMTkzIl0"])]
FreeForm = dict[str, Any]
"""An object whose members the tenant chooses."""


def rfc3339(instant: datetime, *, milliseconds: bool = False) -> str:
    """The instant in UTC with `Z`; whole seconds stay whole, otherwise microseconds, or always milliseconds when asked."""
    moment = instant.astimezone(UTC).replace(tzinfo=None)
    if milliseconds:
        return moment.isoformat(timespec="milliseconds") + "Z"
    return moment.isoformat() + "Z"


def optional_rfc3339(instant: datetime | None) -> str | None:
    """`rfc3339`, or None for None."""
    return None if instant is None else rfc3339(instant)


def decimal_number(units: int, units_in_one: int) -> int | float:
    """An integer of small units as a JSON number: an int where nothing follows the point, else a float."""
    whole, rest = divmod(units, units_in_one)
    return whole if rest == 0 else units / units_in_one


def score_number(score: int) -> int | float:
    """A score (1/10 000 point) as the JSON number that boards show."""
    return decimal_number(score, SCORE_UNITS)


def amount_number(amount: int, decimal_places: int) -> int | float:
    """A ledger amount (the currency's smallest unit) as a JSON number. Sums over a lifetime, which alone can be beyond ±(2^53−1), are shown
    at that edge: every integer that is sent is one that JavaScript reads exactly."""
    return decimal_number(max(-MAX_INTEGER, min(amount, MAX_INTEGER)), 10**decimal_places)


def points_number(score: int) -> int | float:
    """A score (1/10 000 point) as a JSON number without a needless fraction: 12005000 is 1200.5, 10000 is 1."""
    return score_number(score)


def points_units(number: float) -> int:
    """A JSON number of points as a score in 1/10 000 point, half-even on what is written."""
    return int((Decimal(repr(number)) * SCORE_UNITS).quantize(Decimal(1), ROUND_HALF_EVEN))


def parse_client_id(value: str, field: str) -> str:
    """The id that a client chose (`leaderboard_id`, `slug`, currency), or a ValidationError (contract 1)."""
    if not CLIENT_ID.fullmatch(value) or value == "__proto__":
        raise ValidationError.of(field, "must be 1 to 128 characters of A-Z a-z 0-9 _ -, and start with a letter or a digit")
    return value


def parse_external_id(value: str, field: str) -> str:
    """A tenant's own id of a user, or a ValidationError (contract 1): 1 to 255 characters, no `/`, no control characters."""
    problem = external_id_problem(value)
    if problem:
        raise ValidationError.of(field, problem)
    return value


def external_id_problem(value: str) -> str | None:
    """Why this cannot be a user's external id; None if it can."""
    if not value:
        return "cannot be empty"
    if len(value) > 255:
        return "is longer than 255 characters"
    if value in RESERVED_EXTERNAL_IDS:
        return f"cannot be {value!r}"
    if value.startswith("erased:"):
        return "cannot begin with 'erased:'"  # that is what is left of users who were erased
    return None if EXTERNAL_ID.fullmatch(value) else "contains '/' or a control character"


def number_problem(value: Any) -> Misfit | None:
    """Where and why a decoded JSON value breaks the rule of strict numbers (contract 1); None if it does not."""
    # Only the names down to the present value are kept: a place for each value would be their number times the length of a name.
    path: list[str | int] = []
    layers: list[Iterator[tuple[str | int, Any]]] = [iter([("", value)])]
    while layers:
        name, item = next(layers[-1], (None, None))
        if name is None:
            layers.pop()
            continue
        path[len(layers) - 1 :] = [name]
        if isinstance(item, dict):
            layers.append(iter(item.items()))
        elif isinstance(item, list):
            layers.append(enumerate(item))
        elif isinstance(item, int) and not -MAX_INTEGER <= item <= MAX_INTEGER:
            return Misfit(place_of(path), "integers beyond 2^53-1 are not allowed: send them as strings")
        elif isinstance(item, float) and not math.isfinite(item):
            return Misfit(place_of(path), "numbers must be finite")
    return None


def many_digits(body: bytes) -> bool:
    """Whether 16 digits follow each other somewhere. Fewer cannot be beyond 2^53 - 1, so without them no value need be looked at.

    A translation and a search cost a tenth of a regular expression, on every event.
    """
    return _MANY_ZEROS in body.translate(_DIGITS_AS_ZERO)


def decode_json(body: bytes) -> Any:
    """Any JSON document under the contract's rules: valid UTF-8, strict numbers. ValidationError otherwise."""
    try:
        if not body.isascii():
            body.decode("utf-8")
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    if many_digits(body):
        problem = number_problem(value)
        if problem:
            raise ValidationError.of_many([problem])
    return value


def malformed(body: bytes, error: Exception) -> ValidationError:
    """What to say of a body that is no JSON: what it is instead, where that can be told, else where it breaks off."""
    if not body.strip():
        return ValidationError("The body is empty: send a JSON document")
    if body.startswith(UTF8_MARK):
        return ValidationError("The body starts with a byte order mark (BOM): send UTF-8 without it")
    if body.startswith(UTF16_MARKS):
        return ValidationError("The body is UTF-16: send UTF-8")
    if (packing := next((name for start, name in PACKED.items() if body.startswith(start)), None)) is not None:
        return ValidationError(f"The body is compressed ({packing}): send it uncompressed, without Content-Encoding")
    if body.startswith(b"--"):
        return ValidationError("The body is a multipart form, not JSON: send Content-Type application/json and a JSON document")
    if FORM.match(body[:1000]):
        return ValidationError("The body is a form (name=value), not JSON: send Content-Type application/json and a JSON document")
    if isinstance(error, UnicodeDecodeError):
        return ValidationError(f"Malformed JSON: the text is not valid UTF-8 (byte {error.start})")
    if isinstance(error, RecursionError):
        return ValidationError("Malformed JSON: it is nested too deeply")
    reason = "it ends too early" if "truncated" in str(error) else str(error).removeprefix("JSON is malformed: ")
    place = _PLACE.search(reason)
    word = _WORD.match(body, int(place.group(1))) if place is not None else None
    if word is not None:
        reason = f"{word.group().decode()} is not a JSON value{reason[place.start() :] if place else ''}"
    return ValidationError(f"Malformed JSON: {reason}")


def decode_body(body: bytes, shape: type[Shape]) -> Shape:
    """A request body as `shape`; a ValidationError names the field that is missing, extra, mistyped or out of range."""
    return convert_value(decode_json(body), shape)


def convert_value(value: Any, shape: type[Shape], prefix: str = "") -> Shape:
    """A decoded JSON value as `shape`; a ValidationError names the field, under `prefix` if there is one."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise error_of(error, value, shape, prefix) from None


def error_of(error: msgspec.ValidationError, value: Any, shape: Any, prefix: str = "") -> ValidationError:
    """Everything that keeps the value from being `shape`, each at its place as clients write it (`config.timeframe.type`)."""
    found = misfits(value, shape, prefix)
    return ValidationError.of_many(found) if found else _as_said(error, prefix)


def _as_said(error: msgspec.ValidationError, prefix: str) -> ValidationError:
    """msgspec's own complaint, for the rare error that only it sees."""
    text = str(error)
    where = _WHERE.search(text)
    path = where.group(1).lstrip(".") if where else ""
    message = text[: where.start()] if where else text
    named = re.search(r"field `([^`]+)`", message)
    if named:
        path = f"{path}.{named.group(1)}" if path else named.group(1)
    field = ".".join(part for part in (prefix, path) if part)
    return ValidationError.of(cut(field), cut(message)) if field else ValidationError(cut(message))


def holds_nul(value: Any) -> bool:
    """Whether a decoded JSON value, however deep, holds U+0000 somewhere, which Postgres cannot keep."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if "\0" in each:
                return True
        elif isinstance(each, dict):
            waiting.extend(each)
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return False
