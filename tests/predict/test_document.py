"""The fast reading of a request is the slow one, faster: both give the same arrays, or the same refusal."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lading.errors import InvalidInstance
from lading.predict import Signature, TensorSpec, codec
from lading.predict.document import Document
from lading.predict.rapidjson import parse as parse_slowly

TYPES = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int8": 6,
    "string": 7,
    "int64": 9,
    "bool": 10,
    "uint64": 23,
}


def spec(name: str, kind: str) -> TensorSpec:
    return TensorSpec(name, np.dtype(object if kind == "string" else kind), None, f"{name}:0", TYPES[kind])


def signature(**inputs: str) -> Signature:
    return Signature("serving_default", "", {name: spec(name, kind) for name, kind in inputs.items()}, {})


def outcome(document: Any, wanted: Signature) -> Any:
    """What comes of a request, in a form that can be compared."""
    try:
        arrays, rows = codec.decode(document, wanted)
    except InvalidInstance as error:
        return str(error)
    return rows, {name: (array.dtype, array.shape, array.tobytes() if array.dtype != object else array.tolist())
                  for name, array in arrays.items()}  # fmt: skip


class Slow(codec.Document):
    """A document that is never read by simdjson."""

    __slots__ = ()

    def __init__(self, body: bytes) -> None:
        value = parse_slowly(body)
        if not isinstance(value, dict):
            raise InvalidInstance("Is not object")
        self._body, self._fast, self._members, self._names = body, None, value, list(value)


NUMBERS = (
    st.integers(-(2**65), 2**65) | st.floats(width=64) | st.sampled_from([2**31, -(2**31) - 1, 300, 2**63, -1, 0.1])
)
ODD = st.none() | st.booleans() | st.text(max_size=3) | st.just({"b64": "AA=="}) | st.just({"x": 1})


@st.composite
def nested(draw: Any) -> Any:
    """Lists of one shape, now and then with a fault."""
    shape = draw(st.lists(st.integers(1, 3), min_size=0, max_size=4))

    def fill(level: int) -> Any:
        if draw(st.integers(0, 60)) == 0:
            return draw(ODD | st.lists(NUMBERS, max_size=2))
        return [fill(level + 1) for _ in range(shape[level])] if level < len(shape) else draw(NUMBERS)

    return fill(0)


BODIES = st.fixed_dictionaries(
    {},
    optional={
        "instances": nested() | st.lists(st.dictionaries(st.sampled_from("xyz"), nested(), max_size=3), max_size=3),
        "inputs": nested() | st.dictionaries(st.sampled_from("xyz"), nested(), max_size=3),
        "signature_name": st.text(max_size=4) | st.sampled_from(["[", "],", "a,b"]) | st.none(),
        "parameters": st.just({"a": [1, {"a": 2}]}),
    },
)


@settings(deadline=None, max_examples=400)
@given(BODIES, st.sampled_from(["float32", "float64", "int32", "uint8", "int8", "int64", "uint64", "bool", "string"]))
@example({"instances": [[1, 2], [3]]}, "float32")
@example({"instances": [[1, 2, 3], [4], [5, 6]]}, "int64")
@example({"instances": [1, [2]]}, "float32")
@example({"signature_name": "[", "instances": [[1], 2]}, "float32")
@example({"instances": [[[1], [2, 3]], [[4, 5], [6]]]}, "float32")
@example({"inputs": []}, "float32")
def test_fast_and_slow_agree(body: dict[str, Any], kind: str) -> None:
    text = json.dumps(body).encode()
    for wanted in (signature(x=kind), signature(x=kind, y="float32")):
        assert outcome(codec.Document(text), wanted) == outcome(Slow(text), wanted)


@given(st.binary(max_size=30).map(lambda middle: b'{"instances":[' + middle + b"]}"))
def test_fast_and_slow_agree_on_damaged_bodies(text: bytes) -> None:
    results = []
    for read in (codec.Document, Slow):
        try:
            results.append(outcome(read(text), signature(x="float32")))
        except InvalidInstance as error:
            results.append(str(error).partition("Is not object")[0])
    assert results[0] == results[1]


@pytest.mark.parametrize("shape", [(1, 784), (32, 28, 28), (3,), (2, 1, 1, 1), (1, 40, 40, 3), (500, 2)])
def test_arrays_of_every_shape_are_read_fast(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).random(shape, np.float32)
    for extra in ({}, {"signature_name": "serving_default"}):
        document = codec.Document(json.dumps({**extra, "instances": array.tolist()}).encode())
        came = document.numbers("instances", np.dtype(np.float32))
        assert came is not None
        np.testing.assert_array_equal(came, array)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"instances": [1], "instances": [2]}', [1.0]),
        (b'{"instances": [{"x": 1, "x": 2}]}', [1.0]),
        (b'{"inputs": {"x": [1], "x": [2]}}', [1.0]),
        (b'{"instances": [NaN, 1]} behind', [float("nan"), 1.0]),
        (b'{"instances": [1e39, -1e39, 1e-60]}', [float("inf"), float("-inf"), 0.0]),
    ],
)
def test_the_dialect(text: bytes, expected: list[float]) -> None:
    arrays, _ = codec.decode(codec.parse(text), signature(x="float32"))
    np.testing.assert_array_equal(arrays["x"], np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("kind", "given_", "expected"),
    [("uint8", 256, 0), ("int8", 300, 44), ("uint8", -1, 255), ("uint64", 2**64 - 1, 2**64 - 1), ("int64", -1, -1)],
)
def test_small_integers_wrap_around(kind: str, given_: int, expected: int) -> None:
    for body in ({"instances": [given_]}, {"inputs": {"x": [given_]}}):
        arrays, _ = codec.decode(codec.parse(json.dumps(body).encode()), signature(x=kind))
        assert arrays["x"].tolist() == [expected]


@pytest.mark.parametrize("text", ["YQ", "YQ==", "Y Q\n=="])
def test_base64_with_and_without_padding(text: str) -> None:
    arrays, _ = codec.decode(codec.parse(json.dumps({"inputs": {"b64": text}}).encode()), signature(x="string"))
    assert arrays["x"].tolist() == b"a"


@pytest.mark.parametrize("text", ["YQ=", "Y", "-_==", "YQ==="])
def test_base64_that_is_refused(text: str) -> None:
    with pytest.raises(InvalidInstance, match="Unable to base64 decode"):
        codec.decode(codec.parse(json.dumps({"inputs": {"b64": text}}).encode()), signature(x="string"))


def test_a_short_body_does_not_promise_more_than_it_holds() -> None:
    value = "1"
    for _ in range(6):
        value = f"[{value}{',1' * 99}]"  # the first lists of 10**12 elements
    document = Document(f'{{"instances":{value}}}'.encode())
    assert document.numbers("instances", np.dtype("float32")) is None


def test_more_axes_than_numpy_has_are_left_to_who_can_say_so() -> None:
    document = Document(b'{"inputs":' + b"[" * 100 + b"1" + b"]" * 100 + b"}")
    assert document.numbers("inputs", np.dtype("float32")) is None
