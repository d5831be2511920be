"""What is said of a body that does not fit: all of it, at its place, in no programming language's words."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.earning import EarningRule
from domain.error import ValidationFault
from domain.leaderboard import LeaderboardDefinition
from domain.misfit import misfits, near_miss
from domain.payout_schedule import ScheduleBody
from domain.reward import RewardBody
from domain.reward_config import ConfigBody
from domain.reward_item import ItemBody
from domain.wire import convert_value, decode_json

SHAPES: tuple[Any, ...] = (EarningRule, LeaderboardDefinition, ScheduleBody, RewardBody, ConfigBody, ItemBody)
FOREIGN_WORDS = re.compile(r"`|\b(?:str|int|float|bool|dict|NoneType|Struct|datetime|Expected|Object|enum)\b")
BOARD: dict[str, Any] = {
    "name": "Cup",
    "config": {"timeframe": {"type": "weekly"}, "scoring": {"rules": [{"event_type": "goal", "points_expression": "attrs.score"}]}},
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
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
    said = [word.group() for fault in found for word in FOREIGN_WORDS.finditer(fault.message)]
    assert [word for word in said if word not in typed] == []


def test_every_fault_is_told_at_once_and_the_choices_are_listed() -> None:
    timeframe = {"type": "week", "reset_day": True}
    value = {"nmae": "Cup", "config": {"timeframe": timeframe, "scoring": {"rules": [{"event_type": 5}], "aggregation": "average"}}}
    with pytest.raises(ValidationFault) as refused:
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
    with pytest.raises(ValidationFault) as refused:
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
        (b'{"a": [1, 2', "ends too early"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": {"b": [1, 10000000000000000]}}', "a.b[1]"),
    ],
)
def test_what_is_no_json_is_named(body: bytes, word: str) -> None:
    with pytest.raises(ValidationFault, match=re.escape(word)):
        decode_json(body)
