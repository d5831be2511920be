"""What is said of a body that does not fit: all of it, at its place, in no programming language's words."""

import re
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import msgspec
import msgspec.inspect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.points.adjustment import AdjustmentsBody
from api.tenant.tenant import Origin
from domain.errors import ValidationError
from domain.event.event import validate_event
from domain.leaderboard.definition import LeaderboardDefinition
from domain.misfit import MOST_ERRORS, PATTERN_WORDS, misfits, near_miss
from domain.payout.schedule import ScheduleBody
from domain.points.earning_rule import EarningRule
from domain.points.tier import TierName
from domain.redemption.redemption import read_callback
from domain.reward.config import RewardConfigBody
from domain.reward.item import RewardItemBody
from domain.reward.reward import RewardBody
from domain.tenant.user import Identify
from domain.wire import convert_value, decode_body, decode_json, parse_client_id

SHAPES: tuple[Any, ...] = (EarningRule, LeaderboardDefinition, ScheduleBody, RewardBody, RewardConfigBody, RewardItemBody)
FOREIGN_WORDS = re.compile(r"`|\b(?:str|int|float|bool|dict|NoneType|Struct|datetime|Expected|Object|enum)\b")
BOARD: dict[str, Any] = {
    "name": "Cup",
    "config": {"timeframe": {"type": "weekly"}, "scoring": {"rules": [{"event_type": "goal", "points_expression": "attrs.score"}]}},
}
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from((0.0, 1.0, 1e3, 1e300))
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def members(shape: Any) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(shape)]


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Any, Any]:
    """A shape, and an object with some of its members, some others, and anything in them."""
    shape = draw(st.sampled_from(SHAPES))
    names = st.sampled_from(members(shape)) | st.text(max_size=12)
    return shape, draw(st.dictionaries(names, json_values, max_size=8) | json_values)


@given(bodies())
def test_it_finds_something_exactly_when_msgspec_refuses(case: tuple[Any, Any]) -> None:
    shape, value = case
    found = misfits(value, shape)
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError:
        assert found, "msgspec's own words would be shown"
    else:
        assert found == []
    assert len(found) <= 20
    typed = msgspec.json.encode(value).decode()
    said = [word.group() for error in found for word in FOREIGN_WORDS.finditer(error.message)]
    assert [word for word in said if word not in typed] == []


def test_every_error_is_told_at_once_and_the_choices_are_listed() -> None:
    timeframe = {"type": "week", "reset_day": True}
    value = {"nmae": "Cup", "config": {"timeframe": timeframe, "scoring": {"rules": [{"event_type": 5}], "aggregation": "average"}}}
    with pytest.raises(ValidationError) as refused:
        convert_value(value, LeaderboardDefinition)
    told = {detail["field"]: detail["message"] for detail in refused.value.details or []}
    assert told["nmae"] == "is not a known member; did you mean name?"
    assert "name" not in told, "said once"
    assert told["config.timeframe.type"].startswith('"week" is not one of hourly, daily, weekly')
    assert told["config.timeframe.type"].endswith("did you mean weekly?")
    assert told["config.scoring.rules[0].event_type"] == "must be a string, not a whole number"
    assert told["config.scoring.rules[0].points_expression"] == "is required"
    assert "avg" in told["config.scoring.aggregation"]
    assert refused.value.message.count("; ") >= 4


def test_a_condition_is_named_by_its_path() -> None:
    rules = [{"event_type": "goal", "points_expression": "1", "conditions": {"attrs.mode": True}}]
    with pytest.raises(ValidationError) as refused:
        convert_value(BOARD | {"config": BOARD["config"] | {"scoring": {"rules": rules}}}, LeaderboardDefinition)
    assert "config.scoring.rules[0].conditions.attrs.mode" in refused.value.message


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("fulfillmentData", ["status", "fulfillment_data"], "fulfillment_data"),
        ("eventId", ["event_id", "type"], "event_id"),
        ("event_type", ["event_id", "type"], "type"),
        ("fulfillment", ["fulfilment", "fields"], "fulfilment"),
        ("price", ["prices", "stock"], "prices"),
        ("opn", ["open", "closed"], "open"),
        ("user_id", ["external_user_id", "slug"], "external_user_id"),
        ("average", ["sum", "avg"], "avg"),
        ("colour", ["stock", "slug"], None),
    ],
)
def test_near_misses(name: str, known: list[str], meant: str | None) -> None:
    assert near_miss(name, known) == meant


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "UTF-16"),
        (b"\x1f\x8b\x08\x00\x00", "gzip"),
        (b"event_id=1&type=goal", "form"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b"--x\r\nContent-Disposition: form-data", "multipart form"),
        (b'{"a": NaN}', "NaN is not a JSON value (byte 6)"),
        (b'{"a": [True]}', "True is not a JSON value (byte 7)"),
        (b'{"a": [1, 2', "ends too early"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": {"b": [1, 10000000000000000]}}', "a.b[1]"),
    ],
)
def test_what_is_no_json_is_named(body: bytes, word: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(word)):
        decode_json(body)


def calls(function: Any, run: Callable[[], Any]) -> int:
    """How often the function (None: any) is called meanwhile: work, whatever the machine."""
    counted = 0

    def note(frame: FrameType, event: str, _: Any) -> None:
        nonlocal counted
        counted += event == "call" and (function is None or frame.f_code is function.__code__)

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("shape", SHAPES)
def test_thousands_of_strange_members_cost_no_more_than_those_that_are_told(shape: Any) -> None:
    body = {f"strange_{number}": 1 for number in range(5000)}
    assert calls(near_miss, lambda: misfits(body, shape)) <= 3 * MOST_ERRORS


def test_an_event_without_an_id_is_compared_with_few_of_its_strange_members() -> None:
    body = msgspec.json.encode({f"strange_{number}": 1 for number in range(5000)})

    def refuse() -> None:
        with pytest.raises(ValidationError):
            validate_event(body, datetime.now(UTC))

    assert calls(near_miss, refuse) <= 3 * MOST_ERRORS


def test_what_a_list_has_too_much_is_not_looked_at() -> None:
    one = {"external_user_id": "u", "currency": "points", "amount": 1, "reason": "r"}
    many, more = ({"adjustments": [one] * number} for number in (1001, 5000))
    first = calls(None, lambda: misfits(many, AdjustmentsBody))
    assert calls(None, lambda: misfits(more, AdjustmentsBody)) < 1.1 * first
    assert [error.field for error in misfits(more, AdjustmentsBody)] == ["adjustments"]


def test_a_refusal_repeats_little_of_what_was_sent() -> None:
    name = "x" * 50_000
    bodies = [{f"{name}{number}": 1 for number in range(20)}, {"name": "a", "config": {"scope": {name: {name: name}}}, "status": name}]
    for body in bodies:
        with pytest.raises(ValidationError) as refused:
            convert_value(body, LeaderboardDefinition)
        assert len(msgspec.json.encode([refused.value.message, refused.value.details])) < 10_000


def test_a_place_is_made_only_for_the_value_that_is_wrong() -> None:
    many = [0] * 20_000
    body = msgspec.json.encode({"k" * 20_000: many, "far": [1, {"off": 2**60}], "l" * 20_000: many})
    tracemalloc.start()
    try:
        with pytest.raises(ValidationError) as refused:
            decode_json(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.details == [{"field": "far[1].off", "message": "integers beyond 2^53-1 are not allowed: send them as strings"}]
    assert peak < 10 * len(body)


def test_a_deep_place_is_told_by_its_first_levels() -> None:
    value: Any = 2**60
    for _ in range(200):
        value = {"d" * 100: [value]}
    with pytest.raises(ValidationError) as refused:
        decode_json(msgspec.json.encode(value))
    assert len(refused.value.message) < 1500


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"slug": "a", "name": "x", "stock": 1e3}', {"stock": "must be a whole number, written as 1000"}),
        (b'{"slug": "a", "name": "x", "stock": 1.5}', {"stock": "must be a whole number, not 1.5"}),
        (b'{"slug": "a", "name": "x", "stock": 1e300}', {"stock": "must be a whole number, not 1e300"}),
    ],
)
def test_a_whole_number_in_another_spelling_is_told_how_to_write_it(body: bytes, told: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        decode_body(body, RewardBody)
    assert {each["field"]: each["message"] for each in refused.value.details or []} == told


def test_what_a_pattern_asks_for_is_said_in_words() -> None:
    with pytest.raises(ValidationError, match="must be 1 to 128 characters of A-Z a-z 0-9 _ -, and start with a letter or a digit"):
        parse_client_id("Weekly XP", "leaderboard_id")
    asked = [each for shape in (Identify, TierName, Origin) for each in _patterns(msgspec.inspect.type_info(shape))]
    assert len(asked) == 3
    assert [each for each in asked if each not in PATTERN_WORDS] == []


def _patterns(kind: Any) -> list[str]:
    """Every pattern in a shape that the wire has."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return _patterns(kind.type)
    if isinstance(kind, msgspec.inspect.StrType):
        return [kind.pattern] if kind.pattern is not None else []
    if isinstance(kind, msgspec.inspect.UnionType):
        return [each for part in kind.types for each in _patterns(part)]
    if isinstance(kind, msgspec.inspect.StructType):
        return [each for field in kind.fields for each in _patterns(field.type)]
    return []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"status": "FULFILLED"}, '"FULFILLED" is not one of fulfilled, failed, processing; did you mean fulfilled?'),
        ({"status": "done"}, '"done" is not one of fulfilled, failed, processing'),
        ({"state": "fulfilled"}, "is required: one of fulfilled, failed, processing"),
    ],
)
def test_a_callback_is_told_which_states_there_are(body: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        read_callback(body, "api_key:x")
    assert refused.value.details == [{"field": "status", "message": told}]
