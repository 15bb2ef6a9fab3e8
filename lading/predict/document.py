"""A JSON document of a request: read by simdjson, or by the laxer and slower parser where that one refuses.

simdjson was chosen by measuring (``benchmarks/request_parts.py``): the body of one Fashion-MNIST image (6.5 kB) becomes
an array in half the time that the way over orjson's lists takes. As TensorFlow Serving's parser it tells integers from
other numbers, and takes the first of repeated names.
"""

import contextvars
import functools
import re
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import simdjson

from lading.errors import InvalidInstance
from lading.predict import rapidjson
from lading.predict.jsonvalues import MOST_AXES, excerpt, fit_integers

Array = npt.NDArray[Any]

WIDE: dict[str, tuple[Any, Any]] = {"f": ("d", np.float64), "i": ("i", np.int64), "u": ("u", np.uint64)}
"""simdjson's name and numpy's type of the numbers that it gives for floats, integers and integers beyond int64."""

_NAME = re.compile(rb'"\s*:')


class Document:
    """An object at the root of a document.

    Raises:
        InvalidInstance: the body is not JSON (as TensorFlow Serving reads it), or its root is not an object.
    """

    __slots__ = ("_body", "_fast", "_members", "_names")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._members: dict[str, Any] | None = None
        self._fast: Any = None
        try:
            # A parser of its own costs next to nothing, and holds no memory of an earlier, longer body.
            self._fast = simdjson.Parser().parse(body)
        except (ValueError, RuntimeError, UnicodeDecodeError):
            self._members = _lax(body)
            self._names = list(self._members)
            return
        if type(self._fast) is not simdjson.Object:
            raise _no_object(self._fast)
        # To ask simdjson for a name that is not there raises, which costs more than all names.
        self._names = list(self._fast)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def get(self, name: str, default: Any) -> Any:
        """The member of this name; objects and arrays as simdjson has them, or as Python has them."""
        if name not in self._names:
            return default
        return self._fast[name] if self._members is None else self._members[name]

    @property
    def members(self) -> dict[str, Any]:
        """Everything as Python's own types; where a name is repeated the first counts."""
        if self._members is None:
            members: dict[str, Any] = self._fast.as_dict()
            # simdjson's dict has the last of repeated names.
            repeated = len(_NAME.findall(self._body)) != _count_names(members)
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
        if type(value) is not simdjson.Array:
            return None
        shape = self._shape(value)
        return None if shape is None else _array(value, shape, dtype)

    def _shape(self, value: Any) -> tuple[int, ...] | None:
        """The shape of nested lists; None if they do not all agree, or it is not certain that they do."""
        if len(self._names) > 1 and not self._is_bare():
            return None
        return _shape(value, self._body, alone=len(self._names) == 1)

    def _is_bare(self) -> bool:
        """Whether there is only a signature's name besides, and none that has a character of JSON's structure."""
        if len(self._names) != 2 or "signature_name" not in self._names:
            return False
        name = self._fast["signature_name"]
        return isinstance(name, str) and not set(name) & set("[],{}")


def only_numbers(text: bytes, name: str, dtype: np.dtype[Any] | None) -> Array | None:
    """The array of a text that is nothing but lists of numbers of one shape, or an object with nothing but these.

    Args:
        text: For instance a line of JSON Lines.
        name: The name that they have in the object.
        dtype: Of the array; integers are refused for none of the float types.

    Returns:
        None if it is another text, or it is not certain that it is such.
    """
    if dtype is None or dtype.kind not in "fiu":
        return None
    try:
        value = simdjson.Parser().parse(text)
    except (ValueError, RuntimeError, UnicodeDecodeError):
        return None
    if type(value) is simdjson.Object and list(value) == [name]:
        value = value[name]
    shape = _shape(value, text, alone=True) if type(value) is simdjson.Array else None
    return None if shape is None else _array(value, shape, dtype)


def _array(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
    """The numbers of a list of this shape; None if one of them is none of this type."""
    kind, wide = WIDE["f" if dtype.kind == "f" else "u" if dtype == np.uint64 else "i"]
    try:
        flat = np.frombuffer(value.as_buffer(of_type=kind), wide)
        if dtype.kind != "f":
            flat = fit_integers(flat, dtype)
        elif dtype != wide:
            flat = _QUIET.call(flat.astype, dtype)  # beyond float32 is infinite, as in TensorFlow Serving
    except (TypeError, ValueError, OverflowError):
        return None
    return flat.reshape(shape)


def _shape(value: Any, text: bytes, *, alone: bool) -> tuple[int, ...] | None:
    """The shape of nested lists in a text; None if they do not all agree, or it is not certain that they do.

    Args:
        value: The list.
        text: That it stands in.
        alone: Whether it has no neighbours there.
    """
    sizes, lists = [], 1
    while type(value) is simdjson.Array:
        if not len(value):
            return None
        sizes.append(len(value))
        if len(sizes) > MOST_AXES:
            return None
        value = value[0]
        lists *= sizes[-1]
    shape = tuple(sizes)
    if lists == shape[-1]:  # one list at each level, if there are no others
        return shape if text.count(b"[") == len(shape) else None
    marks = text.translate(None, _NO_MARKS)
    if not alone:
        marks = marks.strip(b",")
    # Before it is made: the first lists of a short body may promise more than fits into memory.
    if len(marks) != _structure_length(shape):
        return None
    expected = _short_structure(shape) if len(marks) <= _SHORT else _structure(shape)
    return shape if marks == expected else None


def _structure(shape: tuple[int, ...]) -> bytes:
    """The brackets and commas of an array of this shape."""
    marks = b""
    for size in reversed(shape):
        marks = b"[" + b",".join([marks] * size) + b"]"
    return marks


def _structure_length(shape: tuple[int, ...]) -> int:
    length = 0
    for size in reversed(shape):
        length = size * length + size + 1
    return length


_SHORT = 10_000
_short_structure = functools.lru_cache(64)(_structure)


class _Quiet(threading.local):
    """Calls numpy without its warnings of an overflow; np.errstate, made anew each time, would cost more."""

    def __init__(self) -> None:
        self.call = contextvars.Context().run
        self.call(np.seterr, over="ignore")


_QUIET = _Quiet()


def _count_names(value: Any) -> int:
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
