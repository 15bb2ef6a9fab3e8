"""Repeated fields of protobuf whose encoding is an array's memory: read and written whole.

Element by element protobuf makes a Python object of each number, which costs many times what copying the bytes does.
Encoding: https://protobuf.dev/programming-guides/encoding/#packed.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def read_packed(proto: Any, field: str, dtype: "np.dtype[Any]") -> Array:
    """The values of a repeated field of a message.

    Args:
        proto: The message.
        field: The name of a repeated field of float, double or bool.
        dtype: The same type for numpy.

    Returns:
        An array of one axis, which may be read-only.
    """
    values = getattr(proto, field)
    count = len(values)
    header = _header(proto, field, count * dtype.itemsize)
    # Serialized again, the field is the last thing in the message, unless other values stand behind it.
    serialized = proto.SerializeToString() if count else b""
    start = len(serialized) - count * dtype.itemsize
    if count and serialized[max(0, start - len(header)) : start] == header:
        return np.frombuffer(serialized, dtype.newbyteorder("<"), offset=start).astype(dtype, copy=False)
    return np.fromiter(values, dtype, count)


def write_packed(proto: Any, field: str, array: Array) -> None:
    """Add an array's values, row-major, to a repeated field; arguments as in ``read_packed``.

    A complex array goes into a field of twice as many floats.
    """
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    if data:
        proto.MergeFromString(_header(proto, field, len(data)) + data)


def _header(proto: Any, field: str, length: int) -> bytes:
    """What stands before the data: the field's number with the wire type of bytes, and the length."""
    return _varint(proto.DESCRIPTOR.fields_by_name[field].number << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
