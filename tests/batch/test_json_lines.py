import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_rows import (
    BOOL,
    FLOAT,
    INT32,
    INT64,
    STRING,
    UINT8,
    UINT64,
    Memory,
    assert_same,
    read,
    read_one,
    reasons,
    signature,
)

from lading.batch.formats.json_lines import JsonLines
from lading.batch.formats.json_rows import Pattern
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput

ROWS = BatchOptions(batch_size=100)
KEYED = BatchOptions(batch_size=100, key_field="id")
X3 = signature(x=(FLOAT, (None, 3)))
ANY = signature(x=(FLOAT, None))
TEXT = signature(text=(STRING, (None,)))
TWO = signature(a=(FLOAT, (None, 2)), b=(STRING, (None,)))


def test_lines_are_instances() -> None:
    decoded = read_one(JsonLines(X3, ROWS), b'[1, 2, 3]\n{"x": [4.5, 5, -6e1]}\n\n  \r\n[7,8,9]\r\n[0.5, 1, NaN]')
    np.testing.assert_array_equal(
        decoded.inputs["x"], np.array([[1, 2, 3], [4.5, 5, -60], [7, 8, 9], [0.5, 1, np.nan]], np.float32)
    )
    assert decoded.inputs["x"].dtype == np.float32
    assert list(decoded.rows) == [1, 2, 5, 6]  # blank lines are counted
    assert decoded.bad == []
    assert decoded.originals[0] == b"[1, 2, 3]"


@pytest.mark.parametrize("line", [b"[1, 2]", b"[1,2,3", b"[1,2,3],[4", b"[1,2,3] 4", b'["1",2,3]', b"[[1,2,3]]"])
def test_a_bad_line_harms_no_other(line: bytes) -> None:
    decoded = read_one(JsonLines(X3, ROWS), b"[1,2,3]\n" + line + b"\n[4,5,6]\n")
    np.testing.assert_array_equal(decoded.inputs["x"], [[1, 2, 3], [4, 5, 6]])
    (bad,) = decoded.bad
    assert (bad.row, bad.text) == (2, line.decode())
    assert bad.reason


def test_bad_lines_that_complete_each_other_are_bad() -> None:
    decoded = read_one(JsonLines(signature(x=(FLOAT, (None, 2))), ROWS), b"[1,2]\n[1,2],[3\n4]\n[5,6]\n")
    assert list(decoded.rows) == [1, 4]
    assert [bad.row for bad in decoded.bad] == [2, 3]


def test_reasons_say_what_was_expected_and_what_came() -> None:
    content = b'[1,2,3]\n[1,"2",3]\n[1,2]\n{"y": 1}\nno\n[1,2,3]]\n{"x":[1,2,3],"id":4}\n{"x":[1,2,3]} {}'
    found = reasons(read_one(JsonLines(X3, ROWS), content))
    assert found == {
        2: 'x: JSON Value: "2" Type: String is not of expected type: float',
        3: "expected for a row the shape [3], received [2]",
        4: 'expected an object with "x": "x" is missing and "y" is unknown; what is to be carried along is named by '
        "the key field and passthrough",
        5: "JSON Parse error: Invalid value. at offset: 0",
        6: "JSON Parse error: expected one value, received more text behind it",
        7: 'expected an object with "x": "id" is unknown; what is to be carried along is named by the key field and '
        "passthrough",
        8: "JSON Parse error: expected one value, received more text behind it",
    }


def test_columns_are_carried() -> None:
    options = BatchOptions(batch_size=100, key_field="id", passthrough=("b", "more"))
    content = b'{"id":7,"a":[1,2],"b":"x","more":null}\n{"a":[3,4],"more":{"u":[1,"\xc3\xa9"]},"b":"y","id":"k"}\n'
    decoded = read_one(JsonLines(TWO, options), content + b'[1,2]\n{"a":[1,2],"b":"","id":1}\n')
    assert decoded.carried == {"id": [7, "k"], "b": ["x", "y"], "more": [None, {"u": [1, "é"]}]}
    np.testing.assert_array_equal(decoded.inputs["a"], [[1, 2], [3, 4]])
    assert decoded.inputs["b"].tolist() == [b"x", b"y"]
    assert list(decoded.inputs) == ["a", "b"]
    assert reasons(decoded) == {
        3: 'expected an object with "id", "b", "more", "a", received a list',
        4: 'expected an object with "id", "b", "more", "a": "more" is missing',
    }


def test_text_and_binary_rows() -> None:
    content = (
        b'"a \xc3\xa9 \\u00e9"\n{"b64": "AAE="}\n{"text": {"b64": "/w"}}\n{"text": "t"}\nraw text\n{"b64": "!"}\n5\n'
    )
    decoded = read_one(JsonLines(TEXT, ROWS), content)
    assert decoded.inputs["text"].tolist() == ["a é é".encode(), b"\x00\x01", b"\xff", b"t"]
    assert reasons(decoded) == {
        5: "JSON Parse error: Invalid value. at offset: 0",
        6: "text: Unable to base64 decode",
        7: "text: JSON Value: 5 Type: Number is not of expected type: string",
    }


def test_the_declared_shape_wins_over_the_first_row() -> None:
    decoded = read_one(JsonLines(X3, ROWS), b"[1,2]\n[1,2]\n[1,2,3]\n[4,5,6]\n")
    np.testing.assert_array_equal(decoded.inputs["x"], [[1, 2, 3], [4, 5, 6]])
    assert reasons(decoded) == dict.fromkeys((1, 2), "expected for a row the shape [3], received [2]")


def test_without_a_declared_shape_the_first_row_counts() -> None:
    decoded = read_one(JsonLines(signature(x=(FLOAT, (None, None))), ROWS), b"[1,2]\n[1,2,3]\n[3,4]\n")
    np.testing.assert_array_equal(decoded.inputs["x"], [[1, 2], [3, 4]])
    assert reasons(decoded) == {
        2: "expected for a row the shape [2], as rows before it have, received [3]: rows of one call have one shape "
        "(a batch size of 1 takes any)"
    }


def test_declared_shapes_are_not_enforced() -> None:
    """As in TensorFlow Serving: its own example feeds [1.0, 2.0, 5.0] to an input of shape [-1, 1]."""
    decoded = read_one(JsonLines(signature(x=(FLOAT, (None, 1))), ROWS), b"1.0\n2.0\n5.0\n")
    np.testing.assert_array_equal(decoded.inputs["x"], [1, 2, 5])


def test_a_block_without_good_rows() -> None:
    decoded = read_one(JsonLines(X3, ROWS), b"\n\nx\n")
    assert decoded.inputs["x"].shape == (0, 3)
    assert [bad.row for bad in decoded.bad] == [3]


def test_a_byte_order_mark_and_a_missing_final_newline_are_no_fault() -> None:
    format = JsonLines(X3, ROWS)
    (block,), (decoded,) = read(format, b"\xef\xbb\xbf[1,2,3]\n[4,5,6]")
    assert (block.start, block.end, block.rows[0]) == (0, 18, b"[1,2,3]")
    assert len(decoded.rows) == 2
    assert read(format, b"") == ([], [])


def test_other_encodings_are_bad_rows() -> None:
    decoded = read_one(JsonLines(TEXT, ROWS), b"\x00\n" + "[1]\n".encode("utf-16") + b'\n"ok"\n"\x00"')
    assert decoded.inputs["text"].tolist() == [b"ok"]
    assert len(decoded.bad) == 4


def test_a_line_beyond_the_limit_is_a_bad_row() -> None:
    options = BatchOptions(batch_size=2, max_line_bytes=10)
    blocks, decoded = read(JsonLines(X3, options), b"[1,2,3]\n[1,2,3,4,5,6,7,8]\n[4,5,6]\n")
    assert [len(block.rows) for block in blocks] == [2, 1]
    assert reasons(decoded[0]) == {2: "expected a line of at most 10 bytes, received 17"}
    assert decoded[0].bad[0].text == "[1,2,3,4,5,6,7,8]"
    np.testing.assert_array_equal(decoded[1].inputs["x"], [[4, 5, 6]])
    assert list(decoded[1].rows) == [3]


def test_any_block_goes_on_as_the_whole_file_does() -> None:
    format = JsonLines(X3, BatchOptions(batch_size=3, max_line_bytes=30))
    lines = [b"[1,2,3]", b"", b"x" * 40, b"bad", b"[4,5,6]\r"] * 5
    content = b"\xef\xbb\xbf" + b"\n".join(lines)
    blocks = list(format.blocks(Memory(content)))
    for index, block in enumerate(blocks):
        assert list(format.blocks(Memory(content, piece=7), block.start, block.first_row)) == blocks[index:]
    assert blocks[-1].end == len(content)
    assert blocks[-1].next_row == 26


def test_deep_nesting_is_a_bad_row() -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    decoded = read_one(JsonLines(X3, ROWS), b"[1," + deep + b"]\n" + deep + b"\n[1,2,3]\n")
    assert list(decoded.rows) == [3]
    assert len(decoded.bad) == 2


def test_types_that_json_cannot_hold_are_refused_at_once() -> None:
    with pytest.raises(InvalidInput, match='expected inputs that JSON can hold, received "x" of type DT_COMPLEX64'):
        JsonLines(signature(x=(8, (None,))), ROWS)


def test_lines_of_one_kind_are_read_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    whole = Pattern.read

    def counted(self: Pattern, line: bytes, index: int) -> Any:
        nonlocal count
        carried = whole(self, line, index)
        count += carried is not None
        return carried

    monkeypatch.setattr(Pattern, "read", counted)
    image = np.arange(16).reshape(4, 4).tolist()
    for shapes, options, line in (
        ({"x": (FLOAT, (None, 3))}, ROWS, "[1, 2.5, 3]"),
        ({"x": (UINT8, (None, 3))}, ROWS, "[1, 2, 3]"),
        ({"x": (FLOAT, (None, 4, 4))}, ROWS, json.dumps(image)),
        ({"x": (FLOAT, (None, 4, 4))}, KEYED, json.dumps({"id": "k", "x": image})),
        ({"x": (FLOAT, (None, 3)), "y": (INT64, (None,))}, KEYED, '{"y": 5, "id": 7, "x": [1, 2, 3]}'),
        ({"x": (STRING, (None,))}, KEYED, '{"x": "text", "id": null}'),
    ):
        count = 0
        decoded = read_one(JsonLines(signature(**shapes), options), f"{line}\n".encode() * 10)
        assert len(decoded.rows) == 10
        assert count == 10, line  # the first one is read once more, to see that it can be


NUMBER_TEXTS = """
    0 1 -1 -0 255 256 300 -129 2147483647 2147483648 9223372036854775807 9223372036854775808 18446744073709551615
    18446744073709551616 -9223372036854775809 123456789012345678901234567890 1.0 0.1 -2.5e3 1E2 1e39 1e-400 1e308 1e400
    NaN -NaN Infinity -Infinity Inf nan 01 1. .5 +1
"""
NUMBERS = st.sampled_from(NUMBER_TEXTS.split()) | st.integers(-300, 300).map(str)
OTHERS = st.sampled_from(
    ['"a"', '"[1,2]"', '"{"', "true", "false", "null", "{}", "[]", '{"b64":"AAE="}', '"\\ud800"', ""]
)
VALUES = st.recursive(
    NUMBERS | NUMBERS | OTHERS,
    lambda inner: st.lists(inner, max_size=4).map(lambda parts: f"[{','.join(parts)}]"),
    max_leaves=8,
)
LISTS = st.lists(NUMBERS, min_size=2, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
SQUARES = st.lists(LISTS, min_size=2, max_size=2).map(lambda parts: f"[{','.join(parts)}]")
ANYTHING = VALUES | LISTS | SQUARES
MEMBERS = st.lists(st.tuples(st.sampled_from(["x", "x", "id", "y"]), ANYTHING | OTHERS), max_size=3).map(
    lambda members: "{" + ",".join(f'"{name}":{value}' for name, value in members) + "}"
)
NAMED = st.tuples(ANYTHING, ANYTHING).map(lambda values: f'{{"id":{values[0]},"x":{values[1]}}}')
NOISE = st.text('[]{},:"1 NaN\\', max_size=12)
SHAPES = st.sampled_from([None, (None,), (None, 2), (None, None), (None, 2, 2), (None, 3)])
TYPES = st.sampled_from([FLOAT, 2, INT32, UINT8, INT64, UINT64, BOOL, STRING])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(ANYTHING | NAMED | MEMBERS | NOISE, min_size=1, max_size=6),
    TYPES,
    SHAPES,
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_both_ways_give_the_same(lines: list[str], data_type: int, shape: Any, keyed: bool, newline: str) -> None:
    """The first line twice: so that the fast way has a pattern, and a line that it must read."""
    content = newline.join([lines[0], *lines, *lines]).encode()
    model, options = signature(x=(data_type, shape)), KEYED if keyed else ROWS
    for block in JsonLines(model, options).blocks(Memory(content)):
        assert_same(JsonLines(model, options).decode(block), JsonLines(model, options, patterns=False).decode(block))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(LISTS, SQUARES, OTHERS | NUMBERS, OTHERS), min_size=1, max_size=5), st.booleans())
def test_both_ways_give_the_same_for_several_inputs(rows: list[tuple[str, ...]], swapped: bool) -> None:
    model = signature(a=(FLOAT, (None, None)), b=(FLOAT, (None, 2, None)), c=(INT32, (None,)))
    options = BatchOptions(batch_size=100, key_field="id", passthrough=("a",))
    good = '{"a":[1,2],"b":[[1,2],[3,4]],"c":1,"id":"k"}'
    lines = [good, *(f'{{"a":{a},"b":{b},"c":{c},"id":{key}}}' for a, b, c, key in rows), good]
    lines += [f'{{"c":{c},"b":{b},"a":{a},"id":{key}}}' for a, b, c, key in rows if swapped]
    for block in JsonLines(model, options).blocks(Memory("\n".join(lines).encode())):
        assert_same(JsonLines(model, options).decode(block), JsonLines(model, options, patterns=False).decode(block))
