import struct

import numpy as np
import pytest

from lading.errors import InvalidInstance, Unsupported
from lading.predict import Signature, TensorSpec, oip
from lading.predict.signature import numpy_type

NUMBERS = [name for name in oip.DATATYPES if name not in ("BOOL", "BYTES")]


def spec(name: str, data_type: int, shape: tuple[int | None, ...] | None) -> TensorSpec:
    return TensorSpec(name, numpy_type(data_type), shape, f"{name}:0", data_type)


def signature(name: str, *, method: str = "tensorflow/serving/predict") -> Signature:
    return Signature(name, method, {"x": spec("x", 1, (None, 2))}, {"y": spec("y", 7, None), "z": spec("z", 8, ())})


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]], ids=["flat", "nested"])
def test_numbers_are_read_flat_and_nested(datatype: str, data: list) -> None:
    array = oip.from_json(data, datatype=datatype, shape=[2, 3], name="x")
    assert array.dtype == oip.DATATYPES[datatype]
    assert array.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_an_unsigned_integer_keeps_every_digit() -> None:
    data = [2**64 - 1, 1, 0]
    assert oip.from_json(data, datatype="UINT64", shape=[3], name="x").tolist() == data


def test_strings_and_booleans_are_read() -> None:
    text = oip.from_json([["ä"], [{"b64": "AP8="}]], datatype="BYTES", shape=[2, 1], name="x")
    assert text.tolist() == [["ä".encode()], [b"\x00\xff"]]
    assert oip.from_json([True, False], datatype="BOOL", shape=[2], name="x").tolist() == [True, False]


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "said"),
    [
        ([1, 2, 3], "FP32", [2, 2], "expected 4 elements for shape [2, 2], received 3"),
        ([1.5], "INT32", [1], "another type"),
        ([300], "UINT8", [1], "expected values of 0 to 255, received 300 to 300"),
        ([-1, 2**64 - 1], "UINT64", [2], "another type"),
        ([2**64], "UINT64", [1], "another type"),
        ([1], "BOOL", [1], "another type"),
        (["1"], "FP32", [1], "another type"),
        ([None], "FP32", [1], "another type"),
        ([[1], [1, 2]], "FP32", [3], "lists of one length"),
        ([1], "BF16", [1], "expected a datatype of BOOL, UINT8"),
        ([1], "FP32", [-1], "0 or more, received [-1]"),
        ([1], "FP32", [True], "0 or more"),
        ([1], "FP32", 1, "0 or more, received 1"),
        (1.0, "FP32", [1], "as a list, received float"),
        ([1], "BYTES", [1], "not of expected type: string"),
        ([], "FP32", [1] * 70, "expected 1 elements"),
        ([1], "FP32", [1] * 70, "dimension"),
    ],
)
def test_what_does_not_fit_is_refused(data: object, datatype: str, shape: list, said: str) -> None:
    with pytest.raises(InvalidInstance) as error:
        oip.from_json(data, datatype=datatype, shape=shape, name="x")
    assert said in str(error.value)


@pytest.mark.parametrize("datatype", oip.DATATYPES)
def test_raw_contents_round_trip(datatype: str) -> None:
    if datatype == "BYTES":
        array = np.array([[b"", b"a\x00b"], [b"x" * 300, b"\xff"]], object)
    else:
        array = np.arange(4).reshape(2, 2).astype(oip.DATATYPES[datatype])
    raw = oip.to_raw(array)
    back = oip.from_raw(raw, datatype=datatype, shape=[2, 2], name="x")
    assert back.dtype == array.dtype
    assert back.tolist() == array.tolist()
    with pytest.raises(InvalidInstance, match=r"received|end within"):
        oip.from_raw(raw[:-1], datatype=datatype, shape=[2, 2], name="x")
    with pytest.raises(InvalidInstance, match="expected"):
        oip.from_raw(raw, datatype=datatype, shape=[2, 3], name="x")


def test_raw_contents_are_little_endian() -> None:
    assert oip.to_raw(np.array([1, 258], np.int32)) == b"\x01\0\0\0\x02\x01\0\0"
    assert oip.to_raw(np.array([b"ab"], object)) == b"\x02\0\0\0ab"
    assert oip.from_raw(struct.pack("<d", 0.5), datatype="FP64", shape=[], name="x").tolist() == 0.5
    assert oip.from_raw(b"\x02\x00", datatype="BOOL", shape=[2], name="x").tolist() == [True, False]


def test_outputs_are_flat() -> None:
    assert oip.to_flat(np.array([[1, 2], [3, 4]], np.float32).T, "y").tolist() == [1, 3, 2, 4]
    assert oip.to_flat(np.array([[b"a"], ["ü".encode()]], object), "y") == ["a", "ü"]
    with pytest.raises(InvalidInstance, match="not UTF-8"):
        oip.to_flat(np.array([b"\xff"], object), "y")
    with pytest.raises(Unsupported, match="complex64"):
        oip.to_flat(np.zeros(1, np.complex64), "y")


def test_outputs_are_chosen_in_the_order_asked_for() -> None:
    outputs = {"a": np.zeros(1), "b": np.ones(1)}
    assert list(oip.choose_outputs(outputs, ["b", "a"])) == ["b", "a"]
    assert list(oip.choose_outputs(outputs, [])) == ["a", "b"]
    with pytest.raises(InvalidInstance, match='expected an output of a, b, received "c"'):
        oip.choose_outputs(outputs, ["c"])


def test_the_only_signature_needs_no_name() -> None:
    start = Signature("__saved_model_init_op", "", {}, {"y": spec("y", 0, None)})
    only = {"__saved_model_init_op": start, "classify": signature("classify")}
    assert oip.choose_signature(None, only).name == "classify"
    both = {"a": signature("a"), "b": signature("b")}
    assert oip.choose_signature("b", both).name == "b"
    with pytest.raises(InvalidInstance, match='expected one of a, b, received "serving_default"'):
        oip.choose_signature("", both)
    with pytest.raises(InvalidInstance, match="expected one of a, b"):
        oip.choose_signature(3, both)
    assert oip.model_metadata("m", [1], both)["inputs"] == []


def test_metadata_names_what_the_default_signature_takes_and_gives() -> None:
    assert oip.model_metadata("m", [2, 1], {"serving_default": signature("serving_default")}) == {
        "name": "m",
        "versions": ["2", "1"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [
            {"name": "y", "datatype": "BYTES", "shape": [-1]},
            {"name": "z", "datatype": "DT_COMPLEX64", "shape": []},
        ],
    }
