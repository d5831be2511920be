"""IngestionEventV1: what a valid event is (contract 2), decoded from the bytes that are stored.

A well-formed event of the known shape passes one typed decode. Everything else (unknown fields, deep nesting, errors) takes the slow
road, which is the authority and finds the words for what is wrong.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from domain.errors import ValidationError
from domain.misfit import MOST_ERRORS, near_miss, shown
from domain.wire import (
    EARLIEST,
    EVENT_ID,
    EVENT_TYPE,
    EXTERNAL_ID,
    RESERVED_EXTERNAL_IDS,
    decode_json,
    error_of,
    external_id_problem,
    malformed,
    many_digits,
)

MAX_BULK = 100
MAX_NESTING = 8
MAX_DOCUMENT_NESTING = 64
AHEAD = timedelta(hours=1)
"""How far `occurred_at` may lie ahead of the server's clock."""

FAILED = "Validation failed: "


class AcceptedEvent(msgspec.Struct, frozen=True, gc=False):
    """A valid event: its columns, its attrs (for a declared schema), and `body`, the bytes that arrived."""

    event_id: str
    type: str
    user_id: str
    occurred_at: datetime
    attrs: dict[str, Any]
    body: bytes


class _Actor(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    user_id: str
    metadata: dict[str, Any] | None = None


class _Subject(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: str | None = None
    id: str | None = None


class _KnownEvent(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The usual shape; what does not fit it is looked at more closely, not refused."""

    event_id: str
    type: str
    actor: _Actor
    occurred_at: Annotated[datetime, Meta(tz=True)]
    tenant_id: str | None = None
    subject: _Subject | None = None
    attrs: dict[str, Any] = {}


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]
    tenant_id: str | None = None


_MEMBERS = frozenset((*_KnownEvent.__struct_fields__, *_Actor.__struct_fields__))
"""What has its meaning here already is no other member's misspelling."""

_decode_known = msgspec.json.Decoder(_KnownEvent).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_any = msgspec.json.Decoder().decode
_event_id = EVENT_ID.fullmatch
_external_id = EXTERNAL_ID.fullmatch
_event_type = EVENT_TYPE.fullmatch


def validate_event(body: bytes, now: datetime) -> AcceptedEvent:
    """The event in `body`, checked against contract 2; `now` is the server's clock. ValidationError reads `Validation failed: …`."""
    try:
        event = _decode_known(body)
        occurred_at = event.occurred_at.astimezone(UTC)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return _examine(body, now)
    user_id = event.actor.user_id
    if (
        _event_id(event.event_id)
        and _event_type(event.type)
        and _external_id(user_id)
        and user_id not in RESERVED_EXTERNAL_IDS
        and EARLIEST <= occurred_at <= now + AHEAD
        and body.count(b"{") + body.count(b"[") <= MAX_NESTING
        and not many_digits(body)
    ):
        return AcceptedEvent(event.event_id, event.type, user_id, occurred_at, event.attrs, body)
    return _examine(body, now)


def decode_bulk(body: bytes) -> list[bytes]:
    """The events of a bulk call, each as its own bytes. An error of the envelope is a ValidationError of the whole call."""
    try:
        if not body.isascii():
            body.decode("utf-8")
        events = _decode_envelope(body).events
    except msgspec.ValidationError as error:
        raise error_of(error, decode_json(body), _Envelope) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    if len(events) > MAX_BULK:
        raise _envelope_error(f"Bulk request can contain maximum {MAX_BULK} events")
    if not events:
        raise _envelope_error("Bulk request must contain at least 1 event")
    return [bytes(event) for event in events]


def _envelope_error(message: str) -> ValidationError:
    return ValidationError(message, details=[{"field": "events", "message": message}])


def readable_event_id(body: bytes) -> str | None:
    """The event_id of an event that failed, for its line in the answer; None if it has none that can be read."""
    try:
        event_id = cast(Any, _decode_any(body)).get("event_id")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        return None
    return event_id if isinstance(event_id, str) and EVENT_ID.fullmatch(event_id) else None


def decode_stored(body: bytes) -> dict[str, Any]:
    """The whole stored event, for filters and expressions that reach any of its fields."""
    return cast(dict[str, Any], _decode_any(body))


def _fail(field: str, message: str) -> ValidationError:
    text = f"{FAILED}{field} {message}"
    return ValidationError(text, details=[{"field": "type" if field == "event_type" else field, "message": text}])


def _examine(body: bytes, now: datetime) -> AcceptedEvent:
    """The slow road: every rule of contract 2 in turn, each with its own message."""
    try:
        document = decode_json(body)
    except ValidationError as error:
        raise ValidationError(FAILED + error.message) from None
    if not isinstance(document, dict):
        raise ValidationError(FAILED + "an event must be an object")
    errors: list[ValidationError] = []
    read: dict[str, Any] = {}
    for member, check in _CHECKS.items():
        try:
            read[member] = check(document, now)
        except ValidationError as error:
            errors.append(error)
    if errors:
        raise _together(errors)
    if _deeper_than(document, MAX_DOCUMENT_NESTING):
        raise ValidationError(f"{FAILED}the event is nested deeper than {MAX_DOCUMENT_NESTING} levels")
    return AcceptedEvent(read["event_id"], read["type"], read["user_id"], read["occurred_at"], read["attrs"], body)


def _together(errors: list[ValidationError]) -> ValidationError:
    """Every error of an event in one refusal, `Validation failed: ` once in front."""
    message = FAILED + "; ".join(error.message.removeprefix(FAILED) for error in errors)
    return ValidationError(message, details=[detail for error in errors for detail in error.details or []])


def _event_id_of(document: dict[str, Any], _: datetime) -> str:
    event_id = _text(document, "event_id", "event_id")
    if not EVENT_ID.fullmatch(event_id):
        raise _fail("event_id", "is longer than 255 characters" if len(event_id) > 255 else "contains a control character")
    return event_id


def _type_of(document: dict[str, Any], _: datetime) -> str:
    event_type = _text(document, "type", "event_type")
    if not EVENT_TYPE.fullmatch(event_type):
        raise _fail("event_type", "must be 1 to 100 characters of A-Z a-z 0-9 _ . : -")
    return event_type


def _attrs_of(document: dict[str, Any], _: datetime) -> dict[str, Any]:
    attrs = document.get("attrs", {})
    if not isinstance(attrs, dict):
        raise _fail("attrs", "must be an object")
    if _deeper_than(attrs, MAX_NESTING):
        raise _fail("attrs", f"is nested deeper than {MAX_NESTING} levels")
    return attrs


def _tenant_of(document: dict[str, Any], _: datetime) -> None:
    if not isinstance(document.get("tenant_id"), str | None):
        raise _fail("tenant_id", "must be a string")


def _text(document: dict[str, Any], key: str, field: str) -> str:
    value = document.get(key)
    if value is None or value == "":
        names = islice((name for name in document if name not in _MEMBERS), MOST_ERRORS)
        meant = next((name for name in names if near_miss(name, [key]) == key), None)
        raise _fail(field, "cannot be empty" + (f": it is called {key} here, not {shown(meant)}" if meant is not None else ""))
    if not isinstance(value, str):
        raise _fail(field, "must be a string")
    return value


def _user_id(document: dict[str, Any], _: datetime) -> str:
    actor = document.get("actor", {})
    if not isinstance(actor, dict):
        raise _fail("actor", "must be an object")
    if not actor.get("user_id") and isinstance(document.get("user_id"), str):
        raise _fail("actor.user_id", 'cannot be empty: write "actor": {"user_id": …}, not a top-level user_id')
    user_id = _text(actor, "user_id", "actor.user_id")
    problem = external_id_problem(user_id)
    if problem:
        raise _fail("actor.user_id", problem)
    if not isinstance(actor.get("metadata"), dict | None):
        raise _fail("actor.metadata", "must be an object")
    return user_id


def _subject(document: dict[str, Any], _: datetime) -> None:
    subject = document.get("subject")
    if not isinstance(subject, dict | None):
        raise _fail("subject", "must be an object")
    for key in ("type", "id"):
        if not isinstance((subject or {}).get(key), str | None):
            raise _fail(f"subject.{key}", "must be a string")


def _occurred_at(document: dict[str, Any], now: datetime) -> datetime:
    text = _text(document, "occurred_at", "occurred_at")
    try:
        occurred_at: datetime = msgspec.convert(text, Annotated[datetime, Meta(tz=True)]).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise _fail("occurred_at", "must be an RFC 3339 time with an offset, such as 2025-11-18T12:00:00Z") from None
    if occurred_at > now + AHEAD:
        raise _fail("occurred_at", "is more than 1 hour ahead")
    if occurred_at < EARLIEST:
        raise _fail("occurred_at", "is too early")
    return occurred_at


_CHECKS: Mapping[str, Callable[[dict[str, Any], datetime], Any]] = {
    "event_id": _event_id_of,
    "type": _type_of,
    "user_id": _user_id,
    "subject": _subject,
    "tenant_id": _tenant_of,
    "occurred_at": _occurred_at,
    "attrs": _attrs_of,
}
"""In the order in which errors are told."""


def _deeper_than(value: Any, levels: int) -> bool:
    """Whether objects and lists are nested in more levels, the value itself being the first."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [item for item in layer if isinstance(item, dict | list)]
        if not layer:
            return False
        layer = [item for outer in layer for item in (outer.values() if isinstance(outer, dict) else outer)]
    return True
