import subprocess
import sys

import numpy as np
import pytest

from lading.errors import InvalidInstance, Unsupported
from lading.predict import TensorSpec, tensor_protos
from lading.predict.protos import message
from lading.predict.signature import numpy_type, type_name

TYPES = [number for number in range(24) if numpy_type(number) is not None]
LIMIT = 1 << 20


def spec(data_type: int) -> TensorSpec:
    return TensorSpec("y", numpy_type(data_type), None, "y:0", data_type)


def values(data_type: int) -> np.ndarray:
    dtype = numpy_type(data_type)
    if dtype.kind == "O":
        return np.array([[b"", b"a\x00"], [b"\xff", b"x" * 200]], object)
    if dtype.kind == "b":
        return np.array([[True, False], [False, True]])
    if dtype.kind in "fc":
        return np.array([[0, -1.5], [np.inf, 2**-10]], dtype)
    return np.array([[0, 1], [np.iinfo(dtype).min, np.iinfo(dtype).max]], dtype)


def proto(data_type: int, shape: list[int], **fields: object):
    return message("tensorflow.TensorProto")(
        dtype=data_type, tensor_shape={"dim": [{"size": size} for size in shape]}, **fields
    )


def read(tensor: object) -> np.ndarray:
    return tensor_protos.to_array(tensor, "x", most_bytes=LIMIT)


@pytest.mark.parametrize("data_type", TYPES, ids=type_name)
def test_every_type_round_trips_in_typed_fields(data_type: int) -> None:
    array = values(data_type)
    tensor = message("tensorflow.TensorProto")()
    tensor_protos.fill(tensor, array, spec(data_type))
    assert not tensor.tensor_content
    # As it comes out of a socket, and beside a field that a newer TensorFlow may write.
    tensor = type(tensor).FromString(tensor.SerializeToString() + b"\xfa\x3f\x01x")
    back = read(tensor)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tolist() == array.tolist()


def test_the_typed_fields_are_those_that_clients_read() -> None:
    tensor = message("tensorflow.TensorProto")()
    tensor_protos.fill(tensor, np.array([[1.5, 2.5]], np.float32).T, spec(1))
    assert list(tensor.float_val) == [1.5, 2.5]
    assert [dim.size for dim in tensor.tensor_shape.dim] == [2, 1]
    scalar = message("tensorflow.TensorProto")()
    tensor_protos.fill(scalar, np.array(7, np.int8), spec(6))
    assert (list(scalar.int_val), list(scalar.tensor_shape.dim)) == ([7], [])
    empty = message("tensorflow.TensorProto")()
    tensor_protos.fill(empty, np.zeros((0, 3), np.float32), spec(1))
    assert read(empty).shape == (0, 3)


def test_fewer_values_repeat_the_last() -> None:
    assert read(proto(1, [2, 2], float_val=[1, 2])).tolist() == [[1, 2], [2, 2]]
    assert read(proto(7, [3], string_val=[b"a"])).tolist() == [b"a", b"a", b"a"]
    assert read(proto(9, [2])).tolist() == [0, 0]
    assert read(proto(7, [2])).tolist() == [b"", b""]
    assert read(proto(8, [2], scomplex_val=[1, 2])).tolist() == [1 + 2j, 1 + 2j]


def test_content_is_read() -> None:
    assert read(proto(3, [2], tensor_content=b"\x01\0\0\0\xff\xff\xff\xff")).tolist() == [1, -1]
    assert read(proto(10, [2], tensor_content=b"\x00\x02")).tolist() == [False, True]
    assert read(proto(14, [1], tensor_content=b"\xc0\x3f")).tolist() == [1.5]
    assert read(proto(7, [2], tensor_content=b"\x01\x02abc")).tolist() == [b"a", b"bc"]
    long = b"\xac\x02" + b"x" * 300
    assert read(proto(7, [1], tensor_content=long)).tolist() == [b"x" * 300]


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (proto(1, [2], float_val=[1, 2, 3]), "expected 2 values for shape [2], received 3"),
        (proto(1, [2], tensor_content=b"\0" * 7), "expected 8 bytes of tensor_content for 2 values of DT_FLOAT"),
        (proto(7, [2], tensor_content=b"\x01\x09abc"), "does not hold 2 strings"),
        (proto(7, [2], tensor_content=b"\xff\xff"), "does not hold 2 strings"),
        (proto(1, [-1], float_val=[1]), "known shape, received [-1]"),
        (proto(1, [10**9, 10**9, 10**9], float_val=[1]), "more than the 1048576 that a request may"),
        (proto(1, [0] + [10**18] * 4), "shape [0, "),
    ],
)
def test_what_does_not_fit_is_refused(tensor: object, said: str) -> None:
    with pytest.raises(InvalidInstance) as error:
        read(tensor)
    assert said in str(error.value)


def test_quantised_types_and_resources_are_refused() -> None:
    for data_type in (0, 11, 12, 13, 15, 16, 20, 21, 99):
        with pytest.raises(Unsupported, match="not supported"):
            read(proto(data_type, [1]))


def test_another_type_than_the_signature_declares_is_refused_in_the_words_of_tensorflow() -> None:
    with pytest.raises(InvalidInstance, match=r"^Expects arg\[2\] to be float but string is provided$"):
        tensor_protos.check_type(proto(7, [1]), spec(1), 2)


def test_tensorflow_reads_and_writes_the_same(tmp_path) -> None:
    """Each type, written by TensorFlow in both forms and read here, and the other way round."""
    for data_type in TYPES:
        tensor = message("tensorflow.TensorProto")()
        tensor_protos.fill(tensor, values(data_type), spec(data_type))
        (tmp_path / f"{data_type}.ours").write_bytes(tensor.SerializeToString())
    program = """
import sys, pathlib
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
for ours in pathlib.Path(sys.argv[1]).glob("*.ours"):
    proto = tensor_pb2.TensorProto.FromString(ours.read_bytes())
    array = tf.make_ndarray(proto)
    ours.with_suffix(".content").write_bytes(tf.make_tensor_proto(array).SerializeToString())
    ours.with_suffix(".values").write_text(repr(np.asarray(tf.make_ndarray(proto)).tolist()))
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], timeout=100, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    for data_type in TYPES:
        expected = values(data_type)
        assert (tmp_path / f"{data_type}.values").read_text() == repr(expected.tolist()), type_name(data_type)
        tensor = message("tensorflow.TensorProto").FromString((tmp_path / f"{data_type}.content").read_bytes())
        assert read(tensor).tolist() == expected.tolist(), type_name(data_type)
