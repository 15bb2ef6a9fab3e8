"""Moves values between numpy arrays and tensors of TensorFlow's C API."""

import ctypes
import functools
from ctypes import c_int64, c_ssize_t, c_void_p
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.errors import EngineError
from lading.predict.engines.tensorflow_c import TSTRING_BYTES, Deallocator, library
from lading.predict.signature import DT_BFLOAT16, DT_STRING, numpy_type, type_name

Array = npt.NDArray[Any]

_copy_of = ctypes.pythonapi.PyByteArray_FromStringAndSize
"""A bytearray of so many bytes from an address on."""
_copy_of.restype, _copy_of.argtypes = ctypes.py_object, (c_void_p, c_ssize_t)

_lent: dict[int, "ctypes.Array[ctypes.c_char]"] = {}
"""The memory of string tensors that TensorFlow still refers to, by address."""


def from_array(array: Array, data_type: int) -> int:
    """A new tensor with the array's values, which the caller deletes.

    The values are copied: an operation may keep a reference to its input for longer than the call (assigning it to a
    variable does), so the memory must be the tensor's own.

    Args:
        array: C-contiguous, of ``numpy_type(data_type)``; bytes in an object array for strings.
        data_type: TensorFlow's ``DataType``.
    """
    dims = _dims(array.shape)
    if data_type == DT_STRING:
        return _from_strings(array, dims)
    if data_type == DT_BFLOAT16:
        array = _to_bfloat16(array)
    lib = library()
    tensor: int | None = lib.TF_AllocateTensor(data_type, dims, array.ndim, array.nbytes)
    if not tensor:
        raise EngineError(f"no memory for a tensor of {array.nbytes} bytes")
    if array.nbytes:
        ctypes.memmove(lib.TF_TensorData(tensor), _address(array), array.nbytes)
    return tensor


def to_array(tensor: int) -> Array:
    """The values of a tensor, in memory of their own; strings are bytes in an object array."""
    lib = library()
    data_type = lib.TF_TensorType(tensor)
    dtype = numpy_type(data_type)
    if dtype is None:
        raise EngineError(f"the model returned a tensor of type {type_name(data_type)}, which numpy cannot hold")
    shape = tuple([lib.TF_Dim(tensor, axis) for axis in range(lib.TF_NumDims(tensor))])
    if data_type == DT_STRING:
        return _to_strings(tensor, shape)
    size = lib.TF_TensorByteSize(tensor)
    memory = _copy_of(lib.TF_TensorData(tensor), size) if size else b""
    array = np.frombuffer(memory, np.uint16 if data_type == DT_BFLOAT16 else dtype).reshape(shape)
    return _from_bfloat16(array) if data_type == DT_BFLOAT16 else array


@functools.lru_cache(256)
def _dims(shape: tuple[int, ...]) -> "ctypes.Array[c_int64]":
    """A shape as TensorFlow takes it, which copies it."""
    return (c_int64 * len(shape))(*shape)


def _address(array: Array) -> int:
    """Where an array's memory is."""
    if array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))  # quicker than the other way
    return int(array.ctypes.data)


def _from_strings(array: Array, dims: "ctypes.Array[c_int64]") -> int:
    lib = library()
    size = array.size * TSTRING_BYTES
    memory = ctypes.create_string_buffer(max(1, size))
    start = ctypes.addressof(memory)
    for place, text in zip(range(start, start + size, TSTRING_BYTES), array.ravel().tolist(), strict=True):
        lib.TF_StringInit(place)
        lib.TF_StringCopy(place, text, len(text))
    _lent[start] = memory
    tensor: int | None = lib.TF_NewTensor(DT_STRING, dims, array.ndim, start, size, _free_strings, None)
    if not tensor:
        raise EngineError(f"no memory for a tensor of {array.size} strings")
    return tensor


def _free(start: int, size: int, _: object) -> None:
    lib = library()
    for place in range(start, start + size, TSTRING_BYTES):
        lib.TF_StringDealloc(place)
    del _lent[start]


_free_strings = Deallocator(_free)


def _to_strings(tensor: int, shape: tuple[int, ...]) -> Array:
    lib = library()
    flat = np.empty(int(np.prod(shape, dtype=np.int64)), object)
    start = lib.TF_TensorData(tensor)
    for index in range(flat.size):
        place = start + index * TSTRING_BYTES
        flat[index] = ctypes.string_at(lib.TF_StringGetDataPointer(place), lib.TF_StringGetSize(place))
    return flat.reshape(shape)


def _to_bfloat16(array: Array) -> Array:
    """The upper half of each float32, rounded to nearest even, as TensorFlow casts; NaN stays NaN."""
    bits = array.reshape(-1).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    rounded[np.isnan(array).reshape(-1)] = 0x7FC0
    return rounded.reshape(array.shape)


def _from_bfloat16(bits: Array) -> Array:
    return (bits.reshape(-1).astype(np.uint32) << 16).view(np.float32).reshape(bits.shape)
