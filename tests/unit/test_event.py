"""Events: what is accepted, and the words for what is not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from domain.errors import ValidationError
from domain.event.event import decode_bulk, decode_stored, readable_event_id, validate_event

NOW = datetime(2025, 11, 18, 12, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "event_id": "evt_1",
    "type": "match.completed",
    "actor": {"user_id": "usr_1", "metadata": {"region": "na"}},
    "subject": {"type": "match", "id": "m1"},
    "occurred_at": "2025-11-18T12:00:00Z",
    "attrs": {"score": 5},
}


def encoded(**parts: Any) -> bytes:
    return msgspec.json.encode({**EVENT, **parts})


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"unknown": {"deep": [1, {"x": None}]}},
        {"tenant_id": "anything"},
        {"subject": {"type": "a", "id": "b", "extra": 1}},
        {"actor": {"user_id": "x" * 255, "extra": True}},
        {"actor": {"user_id": "jürgen@example.org 😀"}},
        {"occurred_at": "2025-11-18T19:59:59.123456+07:00"},
        {"occurred_at": "1872-11-30T00:00:00Z"},
        {"attrs": {"deep": nested(7)}},
        {"attrs": {"id": 2**53 - 1, "text": "12345678901234567890"}},
        {"event_id": "e" * 255},
    ],
)
def test_a_valid_event_keeps_its_bytes(parts: dict[str, Any]) -> None:
    body = encoded(**parts)
    event = validate_event(body, NOW)
    assert event.body == body
    assert event.occurred_at.utcoffset() == timedelta(0)
    assert event.attrs == decode_stored(body)["attrs"]
    assert (event.event_id, event.user_id) == ({**EVENT, **parts}["event_id"], {**EVENT, **parts}["actor"]["user_id"])


def test_attrs_may_be_missing() -> None:
    assert validate_event(msgspec.json.encode({key: EVENT[key] for key in EVENT if key != "attrs"}), NOW).attrs == {}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"type": ""}, "event_type cannot be empty"),
        ({"type": None}, "event_type cannot be empty"),
        ({"type": 5}, "event_type must be a string"),
        ({"type": "a b"}, "event_type must be 1 to 100 characters"),
        ({"type": "a\n"}, "event_type must be 1 to 100 characters"),
        ({"type": "a" * 101}, "event_type must be 1 to 100 characters"),
        ({"event_id": ""}, "event_id cannot be empty"),
        ({"event_id": "a\u0000"}, "event_id contains a control character"),
        ({"event_id": "e" * 256}, "event_id is longer than 255"),
        ({"actor": {}}, "actor.user_id cannot be empty"),
        ({"actor": {}, "user_id": "u"}, 'actor.user_id cannot be empty: write "actor": {"user_id": …}, not a top-level user_id'),
        ({"actor": []}, "actor must be an object"),
        ({"actor": {"user_id": "me"}}, "actor.user_id cannot be 'me'"),
        ({"actor": {"user_id": ".."}}, "actor.user_id cannot be '..'"),
        ({"actor": {"user_id": "a/b"}}, "actor.user_id contains '/'"),
        ({"actor": {"user_id": "x" * 256}}, "actor.user_id is longer than 255"),
        ({"actor": {"user_id": "a", "metadata": 1}}, "actor.metadata must be an object"),
        ({"subject": "m1"}, "subject must be an object"),
        ({"subject": {"id": 1}}, "subject.id must be a string"),
        ({"tenant_id": 1}, "tenant_id must be a string"),
        ({"occurred_at": None}, "occurred_at cannot be empty"),
        ({"occurred_at": "2025-11-18T12:00:00"}, "occurred_at must be an RFC 3339 time"),
        ({"occurred_at": "yesterday"}, "occurred_at must be an RFC 3339 time"),
        ({"occurred_at": "0001-01-01T00:00:00+05:00"}, "occurred_at must be an RFC 3339 time"),
        ({"occurred_at": "2025-11-18T13:00:00.000001Z"}, "occurred_at is more than 1 hour ahead"),
        ({"attrs": []}, "attrs must be an object"),
        ({"attrs": None}, "attrs must be an object"),
        ({"attrs": {"deep": nested(8)}}, "attrs is nested deeper than 8 levels"),
        ({"attrs": {"n": 2**53}}, "attrs.n: integers beyond 2^53-1 are not allowed: send them as strings"),
        ({"unknown": [-(2**53)]}, "unknown[0]: integers beyond 2^53-1 are not allowed: send them as strings"),
        ({"unknown": nested(70)}, "the event is nested deeper than 64 levels"),
    ],
)
def test_a_bad_event_is_refused_in_words(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        validate_event(encoded(**parts), NOW)
    assert caught.value.message.startswith(f"Validation failed: {message}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        encoded() + b"x",
        encoded().replace(b"usr_1", b"\xff"),
        encoded(unknown="u").replace(b'"u"', b'"\xc3"'),
        encoded().replace(b"usr_1", b"\\ud800"),
        encoded().replace(b":5", b":NaN"),
        encoded().replace(b":5", b":1e999"),
        encoded().replace(b":5", b":Infinity"),
        encoded().replace(b":5", b":" + b"[" * 200_000 + b"]" * 200_000),
        encoded().replace(b":5", b":" + b"9" * 400),
    ],
)
def test_what_is_no_json_object_under_the_rules_is_refused(body: bytes) -> None:
    with pytest.raises(ValidationError, match=r"^Validation failed: "):
        validate_event(body, NOW)


def test_a_bulk_call_gives_each_event_its_own_bytes() -> None:
    bodies = [encoded(event_id=f"evt_{number}") for number in range(100)]
    assert decode_bulk(b'{"events": [' + b" , ".join(bodies) + b"]}") == bodies
    assert decode_bulk(b'{"events": [1, {}]}') == [b"1", b"{}"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"events": []}', "at least 1 event"),
        (b'{"events": [' + b",".join([b"1"] * 101) + b"]}", "Bulk request can contain maximum 100 events"),
        (b'{"events": {}}', "events: "),
        (b"{}", "events: "),
        (b'{"events": [1], "more": 1}', "more: "),
        (b"[]", "must be an object, not a list"),
        (b'{"events": [', "Malformed JSON"),
        (b'{"events": ["\xff"]}', "Malformed JSON"),
        (b'{"events": [{]}', "Malformed JSON"),
    ],
)
def test_an_error_of_the_envelope_fails_the_whole_call(body: bytes, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        decode_bulk(body)


def test_the_id_of_a_failed_event_is_read_when_it_can_be() -> None:
    assert readable_event_id(b'{"event_id": "evt_2", "type": ""}') == "evt_2"
    assert [readable_event_id(body) for body in (b"{", b"[]", b'{"event_id": 5}', b'{"event_id": ""}', b"{}")] == [None] * 5
