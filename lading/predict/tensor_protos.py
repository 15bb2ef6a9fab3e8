"""Turns ``tensorflow.TensorProto`` into arrays and back.

Rules: tensorflow/core/framework/tensor.proto and Tensor::FromProto (tensor.cc). Both forms are read, typed fields
(``float_val``…) and ``tensor_content``; typed fields are written, as TensorFlow Serving does.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.errors import InvalidInstance, Unsupported
from lading.predict.packed import read_packed, write_packed
from lading.predict.signature import DT_BFLOAT16, DT_STRING, TensorSpec, numpy_type, type_name

Array = npt.NDArray[Any]

_FIELDS: dict[int, str] = {
    1: "float_val",
    2: "double_val",
    3: "int_val",
    4: "int_val",
    5: "int_val",
    6: "int_val",
    DT_STRING: "string_val",
    8: "scomplex_val",
    9: "int64_val",
    10: "bool_val",
    DT_BFLOAT16: "half_val",
    17: "int_val",
    18: "dcomplex_val",
    19: "half_val",
    22: "uint32_val",
    23: "uint64_val",
}
"""The field that holds the values of a ``DataType``."""

_PACKED = frozenset({"float_val", "double_val", "scomplex_val", "bool_val", "dcomplex_val"})
"""Fields whose encoding is the memory of an array."""


def to_array(proto: Any, name: str, *, most_bytes: int) -> Array:
    """The values of a TensorProto.

    Args:
        proto: The message.
        name: The input, for errors.
        most_bytes: To what values that repeat may fill up: a short message can declare a huge shape.

    Returns:
        An array that may be read-only; bytes in an object array for strings, float32 for bfloat16. Fewer values than
        the shape says are filled up with the last, or with zeros if there are none.

    Raises:
        InvalidInstance: an unknown shape, more values than the shape says, too few of a huge one, or content of
            another length.
        Unsupported: a type that numpy cannot hold (quantised, resources, variants).
    """
    dtype = numpy_type(proto.dtype)
    if dtype is None:
        raise Unsupported(f'input "{name}": tensors of type {type_name(proto.dtype)} are not supported')
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise InvalidInstance(f'input "{name}": expected a tensor of known shape, received {list(shape) or "none"}')
    size = math.prod(shape)
    if proto.tensor_content:
        flat = _from_content(proto.tensor_content, proto.dtype, size=size, name=name)
    else:
        flat = _from_field(proto, dtype)
        if flat.size > size:
            raise InvalidInstance(
                f'input "{name}": expected {size} values for shape {list(shape)}, received {flat.size}'
            )
        if flat.size < size and size * dtype.itemsize > most_bytes:
            raise InvalidInstance(
                f'input "{name}": the {flat.size} values given would fill {size * dtype.itemsize} bytes for shape '
                f"{list(shape)}, more than the {most_bytes} that a request may"
            )
        flat = _filled(flat, size)
    try:
        return flat.reshape(shape)
    except ValueError as error:  # more axes than numpy has
        raise InvalidInstance(f'input "{name}": shape {list(shape)}: {error}') from error


def fill(proto: Any, array: Array, spec: TensorSpec) -> None:
    """Write an array into an empty TensorProto.

    Args:
        proto: The message.
        array: Of ``spec.dtype``.
        spec: The output that the array is.
    """
    proto.dtype = spec.data_type
    shape = proto.tensor_shape
    for size in array.shape:
        shape.dim.add(size=size)
    field = _FIELDS[spec.data_type]
    if field in _PACKED:
        write_packed(proto, field, array)
    elif field == "half_val":
        getattr(proto, field).extend(_bits(array, spec.data_type).tolist())
    else:
        getattr(proto, field).extend(array.ravel().tolist())


def check_type(proto: Any, spec: TensorSpec, index: int) -> None:
    """Refuse a tensor of another type than its input's, with TensorFlow's text.

    Raises:
        InvalidInstance: it is.
    """
    if proto.dtype != spec.data_type:
        raise InvalidInstance(
            f"Expects arg[{index}] to be {_short(spec.data_type)} but {_short(proto.dtype)} is provided"
        )


def _short(data_type: int) -> str:
    return type_name(data_type).removeprefix("DT_").lower()


def _from_field(proto: Any, dtype: "np.dtype[Any]") -> Array:
    name = _FIELDS[proto.dtype]
    field = getattr(proto, name)
    if name == "string_val":
        return _objects(list(field))
    if name == "half_val":
        return _from_bits(np.fromiter(field, np.int32, len(field)).astype(np.uint16), proto.dtype)
    if dtype.kind == "c":
        parts = read_packed(proto, name, np.dtype(f"f{dtype.itemsize // 2}"))
        return parts[: len(parts) // 2 * 2].view(dtype)
    if name in _PACKED:
        return read_packed(proto, name, dtype)
    # int_val is wider than int8; values beyond wrap, as in TensorFlow.
    wide = np.dtype(np.int32) if name == "int_val" else dtype
    return np.fromiter(field, wide, len(field)).astype(dtype, copy=False)


def _filled(flat: Array, size: int) -> Array:
    if flat.size == size:
        return flat
    if not flat.size:
        return _objects([b""] * size) if flat.dtype.kind == "O" else np.zeros(size, flat.dtype)
    return np.concatenate([flat, np.full(size - flat.size, flat[-1], flat.dtype)])


def _from_content(content: bytes, data_type: int, *, size: int, name: str) -> Array:
    if data_type == DT_STRING:
        return _strings(content, size, name)
    dtype = np.dtype(np.uint16) if data_type == DT_BFLOAT16 else numpy_type(data_type)
    assert dtype is not None  # the caller looked
    if len(content) != size * dtype.itemsize:
        raise InvalidInstance(
            f'input "{name}": expected {size * dtype.itemsize} bytes of tensor_content for {size} values of '
            f"{type_name(data_type)}, received {len(content)}"
        )
    if dtype.kind == "b":  # a byte that is neither 0 nor 1 would be a bool that is neither
        return np.not_equal(np.frombuffer(content, np.uint8), 0)
    array: Array = np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype, copy=False)
    return _from_bits(array, data_type) if data_type == DT_BFLOAT16 else array


def _strings(content: bytes, size: int, name: str) -> Array:
    """Strings as port::EncodeStringList writes them: the length of each as a varint, then all their bytes."""
    at, lengths = 0, []
    for _ in range(size):
        length = shift = 0
        while at < len(content):
            length |= (content[at] & 127) << shift
            shift += 7
            at += 1
            if content[at - 1] < 128:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise InvalidInstance(f'input "{name}": its tensor_content does not hold {size} strings')
    found = []
    for length in lengths:
        found.append(content[at : at + length])
        at += length
    return _objects(found)


def _objects(items: Sequence[bytes]) -> Array:
    flat = np.empty(len(items), object)
    flat[:] = items
    return flat


def _bits(array: Array, data_type: int) -> Array:
    """The bits of 16-bit floats; bfloat16 is the upper half of a float32, rounded to nearest even; NaN stays NaN."""
    if data_type != DT_BFLOAT16:
        return np.ascontiguousarray(array).reshape(-1).view(np.uint16)
    bits = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    rounded[np.isnan(array).reshape(-1)] = 0x7FC0
    return rounded


def _from_bits(bits: Array, data_type: int) -> Array:
    return (bits.astype(np.uint32) << 16).view(np.float32) if data_type == DT_BFLOAT16 else bits.view(np.float16)
