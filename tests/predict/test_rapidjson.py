"""The JSON that TensorFlow Serving reads: RapidJSON 1.1.0 with NaN, infinities, and text behind the document."""

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.errors import InvalidInstance
from lading.predict.rapidjson import parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_it_reads_all_json_as_python_does(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    if "\\ud" in text.decode("utf-8", "replace").lower() and any(0xD800 <= ord(c) < 0xE000 for c in str(value)):
        return  # halves of surrogate pairs are no text
    came = parse(text)
    assert came == value
    assert json.dumps(came) == json.dumps(value)  # 1 is not 1.0, and True is not 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": 1, "a": 2}', {"a": 1}),
        (b'{"a": 1} and more', {"a": 1}),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"[Infinity, -Infinity, Inf, -Inf]", [math.inf, -math.inf, math.inf, -math.inf]),
        (b"[18446744073709551615, 18446744073709551616]", [2**64 - 1, 2.0**64]),
        (b"[-9223372036854775808, -9223372036854775809]", [-(2**63), -(2.0**63)]),
        (b"[1e-400, -0, 1E2]", [0.0, 0, 100.0]),
        (rb'["\ud83d\ude00\u0000\/\"\\"]', ['😀\0/"\\']),
        (b' \t\r\n{"a" : [ ] , "b" : { } } ', {"a": [], "b": {}}),
    ],
)
def test_what_is_more_or_other_than_json(text: bytes, value: Any) -> None:
    assert parse(text) == value


def test_nan() -> None:
    assert all(math.isnan(number) for number in parse(b"[NaN, -NaN]"))


@pytest.mark.parametrize(
    ("text", "reason", "offset"),
    [
        (b"", "The document is empty.", 0),
        (b"  ", "The document is empty.", 2),
        (b"[01]", "Missing a comma or ] after an array element.", 3),
        (b"[1.]", "Miss fraction part in number.", 2),
        (b"[1e]", "Miss exponent in number.", 2),
        (b"[.5]", "Invalid value.", 1),
        (b"[+1]", "Invalid value.", 1),
        (b"[1,]", "Invalid value.", 3),
        (b'{"a":1,}', "Missing a name for object member.", 7),
        (b"{'a':1}", "Missing a name for object member.", 1),
        (b'{"a" 1}', "Missing a colon after a name of object member.", 6),
        (b'{"a":1 "b"', "Missing a comma or } after an object member.", 10),
        (b"[nan]", "Invalid value.", 1),
        (b"[Infi]", "Invalid value.", 1),
        (b"[tru]", "Invalid value.", 1),
        (b"/* no */ 1", "Invalid value.", 0),
        (b'["\x01"]', "Invalid escape character in string.", 2),
        (b'["\\x"]', "Invalid escape character in string.", 2),
        (b'["\\u12g4"]', "Incorrect hex digit after \\u escape in string.", 2),
        (b'["abc', "Missing a closing quotation mark in string.", 5),
        (b"[1e400]", "Number too big to be stored in double.", 1),
        (b"[" + b"9" * 400 + b"]", "Number too big to be stored in double.", 1),
    ],
)
def test_what_is_refused_and_where(text: bytes, reason: str, offset: int) -> None:
    with pytest.raises(InvalidInstance) as raised:
        parse(text)
    assert str(raised.value) == f"JSON Parse error: {reason} at offset: {offset}"


def test_half_a_surrogate_pair_is_refused() -> None:
    for text in (rb'["\ud800"]', rb'["\ud800x"]', rb'["\udc00"]'):
        with pytest.raises(InvalidInstance, match="The surrogate pair in string is invalid"):
            parse(text)


def test_any_depth() -> None:
    depth = 500_000
    value = parse(b'{"a":' + b"[" * depth + b"]" * depth + b',"b":1}')
    assert value["b"] == 1
    found = 0
    inner = value["a"]
    while inner:
        inner, found = inner.pop(), found + 1
    assert found == depth - 1


@given(st.binary(max_size=40))
def test_no_bytes_make_it_fail_otherwise(text: bytes) -> None:
    with contextlib.suppress(InvalidInstance):
        parse(text)
