import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.errors import InvalidInstance
from lading.predict import rapidjson
from lading.predict.json_value import parse_value

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=4)
)


@given(VALUES, st.booleans(), st.booleans())
def test_what_python_writes_is_read(value: Any, ascii_only: bool, indented: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=1 if indented else None).encode()
    found = parse_value(text)
    assert found == value
    assert repr(found) == repr(rapidjson.parse(text))


@settings(max_examples=300)
@given(st.text('[]{},:" 1-.eNaInf\\ud8', max_size=14))
def test_what_is_taken_is_what_tensorflow_serving_takes(text: str) -> None:
    try:
        found = parse_value(text.encode())
    except InvalidInstance:
        found = None
        # RapidJSON refuses it too, or stops before its end: then it does so as an element of a list, or of an object.
        with pytest.raises((InvalidInstance, AssertionError)):
            rapidjson.parse(text.encode())
            assert len(rapidjson.parse(f"[{text}]".encode())) == 1
            rapidjson.parse(f'{{"":{text}}}'.encode())
    else:
        assert repr(found) == repr(rapidjson.parse(text.encode()))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "{'a': 1, 'b': 2}"),
        (b"[NaN, -NaN, Inf, -Infinity]", "[nan, nan, inf, -inf]"),
        (b"\xef\xbb\xbf[-Inf]", "[-inf]"),
        (b'"\xff"', r"'\udcff'"),
        (b'"\\ud83d\\ude00"', "'😀'"),
        (b"123456789012345678901234567890", "123456789012345678901234567890"),
    ],
)
def test_what_is_special(text: bytes, value: str) -> None:
    found = repr(parse_value(text))
    assert sorted(found) == sorted(value) if text.startswith(b"{") else found == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "The document is empty."),
        (b"[1] 2", "expected one value, received more text behind it"),
        (b"1],[2", "expected one value, received more text behind it"),
        (b'1,"x":2', "expected one value, received more text behind it"),
        (b"1}", "expected one value, received more text behind it"),
        (b"[1e400]", "Number too big to be stored in double. at offset: 1"),
        (b'"\\ud800"', "The surrogate pair in string is invalid."),
        (b"[nan]", "Invalid value. at offset: 1"),
    ],
)
def test_what_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(InvalidInstance) as caught:
        parse_value(text)
    assert reason in str(caught.value)
