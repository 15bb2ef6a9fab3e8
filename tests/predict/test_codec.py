"""TensorFlow Serving's JSON: what is accepted, what is refused and in which words, and how answers look."""

import json
from typing import Any

import numpy as np
import pytest

from lading.errors import InvalidInstance
from lading.predict import Signature, TensorSpec, codec

TYPES = {"float32": 1, "int32": 3, "uint8": 4, "string": 7, "int64": 9, "bool": 10, "complex64": 8}


def signature(**inputs: str) -> Signature:
    specs = {
        name: TensorSpec(name, np.dtype(object if kind == "string" else kind), None, f"{name}:0", TYPES[kind])
        for name, kind in inputs.items()
    }
    return Signature("serving_default", "tensorflow/serving/predict", specs, {})


def decode(body: Any, **inputs: str) -> dict[str, Any]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    arrays, _ = codec.decode(codec.parse(text), signature(**inputs))
    return {name: array.tolist() for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("body", "inputs", "expected"),
    [
        ({"instances": [1.0, 2, 5e0]}, {"x": "float32"}, {"x": [1.0, 2.0, 5.0]}),
        ({"instances": [[1, 2], [3, 4]]}, {"x": "int32"}, {"x": [[1, 2], [3, 4]]}),
        ({"instances": [{"x": 1.5}, {"x": 2.5}]}, {"x": "float32"}, {"x": [1.5, 2.5]}),
        ({"instances": [{"x": 1, "s": "a"}, {"s": "b", "x": 2}]}, {"x": "int64", "s": "string"},
         {"x": [1, 2], "s": [b"a", b"b"]}),
        ({"instances": [{"b64": "AP8="}, "ü"]}, {"s": "string"}, {"s": [b"\x00\xff", "ü".encode()]}),
        ({"instances": [True, False]}, {"x": "bool"}, {"x": [True, False]}),
        ({"instances": [[]]}, {"x": "float32"}, {"x": [[]]}),
        ({"inputs": 3.0}, {"x": "float32"}, {"x": 3.0}),
        ({"inputs": []}, {"x": "int32"}, {"x": []}),
        ({"inputs": {"x": [1], "y": [2, 3], "extra": 1}}, {"x": "int32", "y": "int32"}, {"x": [1], "y": [2, 3]}),
        ({"inputs": {"b64": "YQ"+"=="}}, {"s": "string"}, {"s": b"a"}),
        ({"instances": [9007199254740993]}, {"x": "int64"}, {"x": [9007199254740993]}),
        ({"instances": [1], "parameters": {}}, {"x": "int32"}, {"x": [1]}),
    ],
)  # fmt: skip
def test_what_is_accepted(body: Any, inputs: dict[str, str], expected: dict[str, Any]) -> None:
    assert decode(body, **inputs) == expected


@pytest.mark.parametrize(
    ("body", "inputs", "message"),
    [
        (b"", {"x": "int32"}, "JSON Parse error: .* at offset: "),
        (b"{", {"x": "int32"}, "JSON Parse error"),
        (b"[1]", {"x": "int32"}, "Is not object"),
        ({"signature_name": 1, "instances": [1]}, {"x": "int32"}, "'signature_name' key must be a string value."),
        ({}, {"x": "int32"}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [1], "inputs": [1]}, {"x": "int32"}, "expecting only one of"),
        ({"instances": 1}, {"x": "int32"}, "Expecting 'instances' to be an list/array"),
        ({"instances": []}, {"x": "int32"}, "No values in 'instances' array"),
        ({"instances": [1, {"x": 1}]}, {"x": "int32"}, "Expecting value/list but got object at item 1"),
        ({"instances": [{"x": 1}, 1]}, {"x": "int32"}, "Expecting object but got list at item 1"),
        ({"instances": [1]}, {"x": "int32", "y": "int32"}, "instances is a plain list, but expecting list of objects"),
        ({"instances": [{"x": 1, "z": 2}]}, {"x": "int32"}, "does not have named input: z"),
        ({"instances": [{"x": 1}]}, {"x": "int32", "y": "int32"}, "keys must be equal to: x,y"),
        ({"instances": [[1, 2], [3]]}, {"x": "int32"}, r"element: 1 key: x .* Expecting tensor size: 2 but got: 1"),
        ({"instances": [[1, 2], [[3, 4]]]}, {"x": "int32"}, r"Expecting shape \[2\] but got: \[1,2\]"),
        ({"instances": [1.5]}, {"x": "int32"}, "is not of expected type: int32"),
        ({"instances": ["1"]}, {"x": "float32"}, "is not of expected type: float"),
        ({"instances": [None]}, {"x": "float32"}, "is not of expected type: float"),
        ({"instances": [True]}, {"x": "int32"}, "is not of expected type: int32"),
        ({"instances": [1]}, {"x": "bool"}, "is not of expected type: bool"),
        ({"instances": [2**31]}, {"x": "int32"}, "is not of expected type: int32"),
        ({"instances": [1]}, {"s": "string"}, "is not of expected type: string"),
        ({"instances": [{"b64": "?"}]}, {"s": "string"}, "Unable to base64 decode"),
        ({"inputs": {"x": 1}}, {"x": "int32", "y": "int32"}, "Missing named input: y in 'inputs' object."),
        ({"inputs": [1]}, {"x": "int32", "y": "int32"}, "inputs is a plain value/list"),
        ({"inputs": [[1], [1, 2]]}, {"x": "int32"}, "Encountered list at unexpected size"),
        ({"inputs": 1}, {"x": "complex64"}, "Conversion of JSON Value: 1 to type: complex64"),
    ],
)  # fmt: skip
def test_what_is_refused_and_why(body: Any, inputs: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInstance, match=message):
        decode(body, **inputs)


@pytest.mark.parametrize(
    ("outputs", "rows", "expected"),
    [
        ({"y": np.array([0.1, 3, 9e6], np.float32)}, True, b'{"predictions":[0.1,3.0,9000000.0]}'),
        ({"y": np.array([0.1], np.float64)}, False, b'{"outputs":[0.1]}'),
        ({"y": np.array(2.0, np.float32)}, False, b'{"outputs":2.0}'),
        ({"a": np.array([1, 2]), "b": np.array([[1.5], [2.5]])}, True,
         b'{"predictions":[{"a":1,"b":[1.5]},{"a":2,"b":[2.5]}]}'),
        ({"a": np.array([1]), "b": np.array([True])}, False, b'{"outputs":{"a":[1],"b":[true]}}'),
        ({"y": np.array(["ü".encode()], object)}, True, '{"predictions":["ü"]}'.encode()),
        ({"y_bytes": np.array([b"\xff"], object)}, True, b'{"predictions":[{"b64":"/w=="}]}'),
        ({"y": np.array([b"\xff\n", "ü".encode()], object)}, True, b'{"predictions":["\xff\\n","\xc3\xbc"]}'),
        ({"y": np.array([np.nan, np.inf, -np.inf], np.float32)}, True, b'{"predictions":[NaN,Infinity,-Infinity]}'),
        ({"y": np.zeros((0, 3), np.float32)}, True, b'{"predictions":[]}'),
        ({"y": np.arange(4, dtype=np.float32).reshape(2, 2).T}, True, b'{"predictions":[[0.0,2.0],[1.0,3.0]]}'),
    ],
)  # fmt: skip
def test_how_answers_look(outputs: dict[str, Any], rows: bool, expected: bytes) -> None:
    assert codec.encode(outputs, rows=rows) == expected


@pytest.mark.parametrize(
    ("outputs", "kind", "message"),
    [
        ({"y": np.array(1.0)}, InvalidInstance, "Tensor name: y has no shape information"),
        ({"a": np.zeros(2), "b": np.zeros(1)}, InvalidInstance, "b has inconsistent batch size: 1 expecting: 2"),
        ({"y": np.zeros(1, np.complex64)}, InvalidInstance, "Failed to write JSON value for tensor type: complex64"),
    ],
)
def test_what_cannot_be_shown(outputs: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        codec.encode(outputs, rows=True)


def test_strict_answers_hold_text_only() -> None:
    with pytest.raises(InvalidInstance, match="give it a name that ends in _bytes"):
        codec.encode({"y": np.array([b"\xff"], object)}, rows=True, strict=True)
