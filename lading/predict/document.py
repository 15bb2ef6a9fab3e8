"""A JSON document of a request: read by simdjson, or by the laxer and slower parser where that one refuses.

simdjson was chosen by measuring: the body of one Fashion-MNIST image (6.5 kB) becomes an array in 12 µs, against 44 µs
by way of orjson's lists and 50 µs by way of msgspec's. As TensorFlow Serving's parser it tells integers from other
numbers, and takes the first of repeated names.
"""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import simdjson

from lading.errors import InvalidInstance
from lading.predict import rapidjson
from lading.predict.jsonvalues import excerpt, fit_integers

Array = npt.NDArray[Any]

WIDE: dict[str, tuple[Any, Any]] = {"f": ("d", np.float64), "i": ("i", np.int64), "u": ("u", np.uint64)}
"""simdjson's name and numpy's type of the numbers that it gives for floats, integers and integers beyond int64."""

_NAME = re.compile(rb'"\s*:')
_FEW_LISTS = 40
"""So many bytes of a body cost as much to filter as one list costs to look at."""


class Document:
    """An object at the root of a document.

    Raises:
        InvalidInstance: the body is not JSON (as TensorFlow Serving reads it), or its root is not an object.
    """

    __slots__ = ("_body", "_fast", "_members")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._members: dict[str, Any] | None = None
        self._fast: Any = None
        try:
            # A parser of its own costs 1 µs, and holds no memory of an earlier, longer body.
            self._fast = simdjson.Parser().parse(body)
        except (ValueError, RuntimeError, UnicodeDecodeError):
            self._members = _lax(body)
        if self._members is None and type(self._fast) is not simdjson.Object:
            raise _no_object(self._fast)

    def __contains__(self, name: str) -> bool:
        return bool(name in (self._fast if self._members is None else self._members))

    def get(self, name: str, default: Any) -> Any:
        """The member of this name; objects and arrays as simdjson has them, or as Python has them."""
        source = self._fast if self._members is None else self._members
        return source.get(name, default)

    @property
    def members(self) -> dict[str, Any]:
        """Everything as Python's own types; where a name is repeated the first counts."""
        if self._members is None:
            members: dict[str, Any] = self._fast.as_dict()
            # simdjson's dict has the last of repeated names.
            repeated = len(_NAME.findall(self._body)) != _names(members)
            self._members = _lax(self._body) if repeated else members
        return self._members

    def numbers(self, name: str, dtype: np.dtype[Any] | None) -> Array | None:
        """The member as an array, if it holds nothing but numbers of this type in lists of one shape; else None.

        Args:
            name: ``instances`` or ``inputs``.
            dtype: Of the array; integers are refused for none of the float types.
        """
        if self._members is not None or dtype is None or dtype.kind not in "fiu":
            return None
        value = self._fast[name]
        if type(value) is not simdjson.Array or not len(value):
            return None
        kind, wide = WIDE["f" if dtype.kind == "f" else "u" if dtype == np.uint64 else "i"]
        shape = self._shape(value)
        if shape is None:
            return None
        try:
            flat = np.frombuffer(value.as_buffer(of_type=kind), wide)
            if dtype.kind != "f":
                flat = fit_integers(flat, dtype)
            elif dtype != wide:
                flat = _narrow(flat, dtype)
        except (TypeError, ValueError, OverflowError):
            return None
        return flat.reshape(shape)

    def _shape(self, value: Any) -> list[int] | None:
        """The shape of nested lists; None unless it is certain that they all agree and hold no objects."""
        if not self._is_bare():
            return None
        shape, rows = [], value
        while type(rows) is simdjson.Array:
            size = len(rows)
            if not size:
                return None
            shape.append(size)
            rows = rows[0]
        brackets = self._body.count(b"[")
        if brackets != _lists(shape):
            return None
        if len(shape) == 1 or brackets == len(shape):
            return shape  # one list at each level
        if brackets * _FEW_LISTS > len(self._body):
            return shape if self._structure(shape) else None
        return shape if _is_even(value, shape) else None

    def _is_bare(self) -> bool:
        """Whether no text of the document has a character of its structure, and no other member is there."""
        if len(self._fast) == 1:
            return True
        name = self._fast.get("signature_name", None)
        return len(self._fast) == 2 and isinstance(name, str) and not set(name) & set("[],{}")

    def _structure(self, shape: list[int]) -> bool:
        """Whether brackets and commas stand as in an array of this shape."""
        expected = b""
        for size in reversed(shape):
            expected = b"[" + b",".join([expected] * size) + b"]"
        marks = self._body.translate(None, _NO_MARKS)
        return marks in ((expected,) if len(self._fast) == 1 else (expected + b",", b"," + expected))


def _lists(shape: list[int]) -> int:
    """How many lists an array of this shape has."""
    total, lists = 1, 1
    for size in shape[:-1]:
        lists *= size
        total += lists
    return total


def _is_even(value: Any, shape: list[int]) -> bool:
    """Whether all lists of one level have the length that the first has."""
    if len(shape) == 1:
        return bool(len(value) == shape[0])
    return len(value) == shape[0] and all(type(item) is simdjson.Array and _is_even(item, shape[1:]) for item in value)


def _narrow(flat: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as in TensorFlow Serving
        return flat.astype(dtype)


def _names(value: Any) -> int:
    """How many members the objects in a value have; lists that begin with a number are taken for lists of numbers."""
    count, pending = 0, [value]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            count += len(value)
            pending += value.values()
        elif isinstance(value, list) and value and type(value[0]) not in (int, float):
            pending += value
    return count


def _lax(body: bytes) -> dict[str, Any]:
    value = rapidjson.parse(body)
    if not isinstance(value, dict):
        raise _no_object(value)
    return value


def _no_object(value: Any) -> InvalidInstance:
    value = value.as_list() if type(value) is simdjson.Array else value
    return InvalidInstance(f"JSON Value: {excerpt(value)} Is not object")


_NO_MARKS = bytes(set(range(256)) - set(b"[],"))
