"""The data of the Open Inference Protocol (V2): datatypes, contents as JSON or raw bytes, and model metadata.

What its REST and its gRPC form have in common; no JSON library, no protobuf. Source: inference_rest.md,
open_inference_rest.yaml and open_inference_grpc.proto of the protocol; the raw form is also that of KServe's binary
tensor data extension. Rules that the protocol leaves open are marked "our choice".
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.errors import InvalidInstance, Unsupported
from lading.predict.jsonvalues import to_array
from lading.predict.signature import DEFAULT_SIGNATURE, DT_STRING, Signature, TensorSpec, type_name

Array = npt.NDArray[Any]

SERVER_NAME = "lading"
EXTENSIONS = ("binary_tensor_data",)
PLATFORM = "tensorflow_savedmodel"
SIGNATURE_PARAMETER = "signature_name"
"""The request parameter that chooses a signature; the protocol has no word for it (our choice)."""

DATATYPES: Mapping[str, "np.dtype[Any]"] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
"""The numpy dtype of each datatype; object arrays hold ``bytes``."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_LENGTH = struct.Struct("<I")
_ACCEPTED = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}
"""For each kind of dtype the kinds of numbers that it accepts, as numpy infers them from JSON."""


def datatype(dtype: "np.dtype[Any]") -> str:
    """The datatype of an array, for instance ``FP32``.

    Raises:
        Unsupported: complex numbers have none.
    """
    found = _NAMES.get(dtype)
    if found is None:
        raise Unsupported(f"the Open Inference Protocol has no datatype for {dtype}")
    return found


def to_dtype(datatype: str, name: str) -> "np.dtype[Any]":
    """The numpy dtype of the datatype that a request gives for its input ``name``.

    Raises:
        InvalidInstance: there is no such datatype.
    """
    found = DATATYPES.get(datatype)
    if found is None:
        raise InvalidInstance(f'input "{name}": expected a datatype of {", ".join(DATATYPES)}, received {datatype!r}')
    return found


def from_json(data: Any, *, datatype: str, shape: Sequence[Any], name: str) -> Array:
    """The array of an input's ``data``.

    Args:
        data: A list of numbers, booleans, or strings (``{"b64": …}`` is also taken, our choice), flat in row-major
            order or nested; or an array of one axis: of numbers, or of ``bytes`` for BYTES.
        datatype: As the request says.
        shape: As the request says.
        name: The input, for errors.

    Raises:
        InvalidInstance: an unknown datatype, a bad shape, elements of another kind or out of range, lists of different
            lengths, or not as many elements as the shape says.
    """
    dtype = to_dtype(datatype, name)
    dims = to_shape(shape, name)
    if not isinstance(data, list | np.ndarray):
        raise InvalidInstance(f'input "{name}": expected its data as a list, received {type(data).__name__}')
    if dtype.kind == "O" and isinstance(data, np.ndarray):
        return _shaped(data, dims, name)
    if dtype.kind == "O":
        return _shaped(to_array(data, TensorSpec(name, dtype, None, "", DT_STRING)), dims, name)
    return _shaped(_numbers(data, dtype, f'input "{name}" of datatype {datatype}'), dims, name)


def from_raw(data: bytes, *, datatype: str, shape: Sequence[Any], name: str) -> Array:
    """The array of an input's raw contents: little-endian and row-major; BYTES as 4 bytes of length before each.

    Args:
        data: All of it, and nothing else.
        datatype: As the request says.
        shape: As the request says.
        name: The input, for errors.

    Returns:
        An array that may be read-only, because it shares ``data``'s memory.

    Raises:
        InvalidInstance: an unknown datatype, a bad shape, or not as many bytes as both say.
    """
    dtype = to_dtype(datatype, name)
    dims = to_shape(shape, name)
    if dtype.kind == "O":
        return _shaped(_split(data, name), dims, name)
    expected = math.prod(dims) * dtype.itemsize
    if len(data) != expected:
        raise InvalidInstance(
            f'input "{name}": expected {expected} raw bytes for datatype {datatype} and shape {list(dims)}, '
            f"received {len(data)}"
        )
    if dtype == np.bool_:  # a byte that is neither 0 nor 1 would be a bool that is neither
        return _shaped(np.frombuffer(data, np.uint8) != 0, dims, name)
    return _shaped(np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False), dims, name)


def to_raw(array: Array) -> bytes:
    """The raw contents of an output, as ``from_raw`` reads them.

    Raises:
        Unsupported: complex numbers have no datatype.
    """
    if datatype(array.dtype) == "BYTES":
        return b"".join(_LENGTH.pack(len(item)) + item for item in array.ravel().tolist())
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def to_flat(array: Array, name: str) -> Any:
    """What an output's ``data`` is in JSON: numbers as an array of one axis, strings as a list of text.

    Raises:
        Unsupported: complex numbers have no datatype.
        InvalidInstance: a string is not UTF-8; the binary form carries it.
    """
    if datatype(array.dtype) != "BYTES":
        return np.ascontiguousarray(array).reshape(-1)
    try:
        return [item.decode() for item in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise InvalidInstance(
            f'output "{name}" holds bytes that are not UTF-8, which JSON cannot carry: ask for it as binary data'
        ) from error


def to_shape(shape: Any, name: str) -> tuple[int, ...]:
    """The shape that a request gives for an input.

    Raises:
        InvalidInstance: it is not a list of integers that are 0 or more.
    """
    fits = isinstance(shape, Sequence) and not isinstance(shape, str | bytes)
    if not fits or not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape):
        raise InvalidInstance(f'input "{name}": expected a shape of integers that are 0 or more, received {shape!r}')
    return tuple(shape)


def choose_signature(parameter: object, signatures: Mapping[str, Signature]) -> Signature:
    """The signature that a request is for.

    Args:
        parameter: The value of its parameter ``signature_name``; None or empty for ``serving_default``, or for the
            only signature that can be called.
        signatures: Those of the model.

    Raises:
        InvalidInstance: there is none of this name; names those that are there.
    """
    callable_ones = [signature for signature in signatures.values() if signature.is_callable]
    wanted = parameter or DEFAULT_SIGNATURE
    found = signatures.get(wanted) if isinstance(wanted, str) else None
    if found is None and not parameter and len(callable_ones) == 1:
        return callable_ones[0]
    if found is None:
        names = ", ".join(signature.name for signature in callable_ones)
        raise InvalidInstance(f'parameter {SIGNATURE_PARAMETER}: expected one of {names}, received "{wanted}"')
    return found


def choose_outputs(outputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """The outputs that a request asks for, in its order; all if it names none.

    Raises:
        InvalidInstance: the model has no such output.
    """
    for name in names:
        if name not in outputs:
            raise InvalidInstance(f'expected an output of {", ".join(outputs)}, received "{name}"')
    return {name: outputs[name] for name in names} if names else dict(outputs)


def model_metadata(name: str, versions: Sequence[int], signatures: Mapping[str, Signature]) -> dict[str, Any]:
    """The answer about a model: its inputs and outputs are those of the signature that is called by default.

    A dimension that varies is -1; so is the single dimension of a tensor of unknown rank (our choice). A type that the
    protocol cannot carry has TensorFlow's name, ``DT_COMPLEX64`` (our choice).
    """
    try:
        signature = choose_signature(None, signatures)
    except InvalidInstance:  # a model whose signatures are all called by name
        inputs, outputs = [], []
    else:
        inputs = [_tensor(spec) for spec in signature.inputs.values()]
        outputs = [_tensor(spec) for spec in signature.outputs.values()]
    return {
        "name": name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORM,
        "inputs": inputs,
        "outputs": outputs,
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    dims = [-1] if spec.shape is None else [-1 if size is None else size for size in spec.shape]
    known = None if spec.dtype is None else _NAMES.get(spec.dtype)
    return {"name": spec.name, "datatype": known or type_name(spec.data_type), "shape": dims}


def _numbers(data: Any, dtype: "np.dtype[Any]", what: str) -> Array:
    try:
        array = np.array(data)
    except (ValueError, OverflowError) as error:
        raise InvalidInstance(f"{what}: expected lists of one length at each level: {error}") from error
    if dtype == np.uint64 and array.dtype.kind == "f":
        array = _large(data, array)
    # A list without numbers is float64 to numpy, whatever it is meant to be.
    if array.dtype.kind not in _ACCEPTED[dtype.kind] and (array.size or array.dtype.kind == "O"):
        raise InvalidInstance(f"{what}: its data holds elements of another type")
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise InvalidInstance(f"{what}: expected values of {limits.min} to {limits.max}, received {low} to {high}")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as in TensorFlow Serving
        return array.astype(dtype, copy=False)


def _large(data: Any, array: Array) -> Array:
    """Integers beyond int64, which are float64 to numpy when smaller ones stand beside them."""
    exact = np.array(data, object)
    if not all(type(item) is int and 0 <= item < 2**64 for item in exact.ravel().tolist()):
        return array
    return exact.astype(np.uint64)


def _split(data: bytes, name: str) -> Array:
    found: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _LENGTH.size
        at = start + (_LENGTH.unpack_from(data, at)[0] if start <= len(data) else 0)
        if at > len(data):
            raise InvalidInstance(f'input "{name}": its raw bytes end within element {len(found)}')
        found.append(data[start:at])
    array = np.empty(len(found), object)
    array[:] = found
    return array


def _shaped(array: Array, shape: tuple[int, ...], name: str) -> Array:
    if array.size != math.prod(shape):
        raise InvalidInstance(
            f'input "{name}": expected {math.prod(shape)} elements for shape {list(shape)}, received {array.size}'
        )
    try:
        return array.reshape(shape)
    except ValueError as error:  # more axes than numpy has, or a size beyond its index type beside a 0
        raise InvalidInstance(f'input "{name}": shape {list(shape)}: {error}') from error
