"""Our bodies are what JavaScript's JSON.stringify(JSON.parse(body)) gives, asked of Node itself when there is one."""

import json
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.canonical_json import canonical_json
from domain.errors import ValidationError
from domain.webhook.body import canonical_body

NODE = shutil.which("node")
ECHO = """
let text = ''; process.stdin.setEncoding('utf8'); process.stdin.on('data', part => text += part);
process.stdin.on('end', () => process.stdout.write(JSON.stringify(JSON.parse(text).map(body => JSON.stringify(JSON.parse(body))))));
"""
KEYS = st.one_of(
    st.text(max_size=8),
    st.integers(0, 2**33).map(str),
    st.sampled_from(["0", "00", "-1", "1.5", "4294967294", "4294967295", "__proto__", "constructor", "\u2028", "", "\x00"]),
)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 1.0, 1e21, 1e20, 123456789012345680000, 1e-6, 1e-7, 5e-324, 0.1, 100.0, 1e300, 2**53 + 1]),
)
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=15,
)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(VALUES, min_size=60, max_size=60))
def test_node_reproduces_the_bytes(values):
    bodies = [canonical_body(value).decode() for value in values]
    answer = subprocess.run([NODE, "-e", ECHO], input=json.dumps(bodies), capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(answer.stdout) == bodies


@given(VALUES)
def test_a_body_survives_being_read_and_written_again(value):
    body = canonical_body(value)
    assert canonical_body(json.loads(body)) == body


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ({"b": 1, "2": 0, "1": 0, "a": {"10": 1, "9": 2, "x": 3}}, '{"1":0,"2":0,"b":1,"a":{"9":2,"10":1,"x":3}}'),
        ([1.0, 10.5, -0.0, 1e21, 1e-7, 123456789012345678901], "[1,10.5,0,1e+21,1e-7,123456789012345680000]"),
        ("đặng \u2028 \x07 \x7f / \ud800", '"đặng \u2028 \\u0007 \x7f / \\ud800"'),
        ("\ud83d\ude00", '"😀"'),
        ([float("nan"), 10**400], "[null,null]"),
    ],
)
def test_javascript_forms_are_kept(value, body):
    assert canonical_body(value) == body.encode()


def nested(levels):
    value = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_what_fits_alone_fits_into_a_body_however_deep_the_caller_stands():
    deepest = nested(64)
    assert canonical_json(deepest)
    assert canonical_body({"event": "x", "reward": {"fulfillmentData": deepest}})
    for levels in (65, 400, 5000):
        with pytest.raises(ValidationError):
            canonical_json(nested(levels))


def test_a_body_above_64_kb_is_refused():
    assert len(canonical_body("x" * 65534)) == 65536
    with pytest.raises(Exception, match="65536"):
        canonical_body("x" * 65535)
