"""The expression parser and the event decoder take any text whatever: they give a value or a ValidationError, and nothing else.

Long: `./laurel test tests/property/test_fuzz_text.py --fuzz 1000000`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import ValidationError
from domain.event.event import decode_bulk, decode_stored, readable_event_id, validate_event
from domain.rule.expression import evaluate, parse_expression
from domain.wire import decode_json

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PIECES = st.sampled_from(
    ["attrs.", "a", "actor.metadata.", "min", "max", "round", "(", ")", ",", "+", "-", "*", "/", "%", "**", "1", "0.5", "1e308"]
)
EXPRESSIONS = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=200), st.text("()-+*/.1a ", max_size=3000))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
EVENT = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.text(max_size=300) | JSON,
        "type": st.sampled_from(["goal", "a.b", "no type!"]) | JSON,
        "actor": st.fixed_dictionaries({"user_id": st.text(max_size=300) | JSON}) | JSON,
        "occurred_at": st.sampled_from(["2026-01-01T10:00:00Z", "2026-01-01", "9999-99-99T00:00:00Z", "0001-01-01T00:00:00+14:00"]) | JSON,
        "attrs": JSON,
        "subject": JSON,
    },
)


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)


BODIES = st.one_of(
    st.binary(max_size=300), EVENT.map(encoded), JSON.map(encoded), st.tuples(EVENT.map(encoded), st.binary(max_size=5)).map(b"".join)
)


def effort(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    count = request.config.getoption("--fuzz") or 150
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), derandomize=count == 150, database=None)


def test_any_text_is_an_expression_or_refused(request: pytest.FixtureRequest) -> None:
    @effort(request)
    @given(EXPRESSIONS)
    def read(text: str) -> None:
        try:
            node = parse_expression(text)
        except ValidationError:
            return
        evaluate(node, {"attrs": {"a": 3}})

    read()


def test_any_bytes_are_an_event_or_refused(request: pytest.FixtureRequest) -> None:
    @effort(request)
    @given(BODIES)
    def read(body: bytes) -> None:
        for bulk in (body, b'{"events":[' + body + b"]}"):
            try:
                for each in decode_bulk(bulk):
                    readable_event_id(each)
                    decode_stored(validate_event(each, NOON).body)
            except ValidationError:
                pass
        try:
            decode_stored(validate_event(body, NOON).body)
            decode_json(body)
        except ValidationError:
            pass

    read()
