"""The fast way for lines of JSON that are like the first one of their block: simdjson, straight into arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import simdjson

from lading.batch.formats.row_arrays import RowArrays
from lading.predict.document import WIDE
from lading.predict.jsonvalues import fit_integers
from lading.predict.signature import Signature

Array = npt.NDArray[Any]
Put = Callable[[Any, int], bool]
"""Stores a value at an index of an array; False if it is of another type or size."""

_MARKS = b"[],{}"
_NO_MARKS = bytes(set(range(256)) - set(_MARKS))
_REFUSALS = (ValueError, TypeError, OverflowError, RuntimeError)
"""What simdjson raises for text that is no JSON and for numbers of another type, and numpy for what does not fit."""


class Pattern:
    """What lines of one kind have in common: the names and their order, and the shape of each value.

    A line is read only if it is certain that reading it by the rules would give the same. The proof is in the brackets:
    where every list is to be flat there are as many as there are lists; where lists are nested all brackets, commas
    and braces are those of the first line, and there are as many numbers.
    """

    def __init__(
        self, names: list[str] | None, puts: Sequence[Put | None], order: Sequence[int], *, marks: bytes | None
    ) -> None:
        self._names = names
        self._puts = puts
        self._order = order
        self._marks = marks
        self._parse = simdjson.Parser().parse

    @classmethod
    def of(cls, line: bytes, rows: RowArrays, signature: Signature, carried: Sequence[str]) -> "Pattern | None":
        """The pattern of a line that was the last one added to rows; None if there is no fast way for such."""
        try:
            value = simdjson.Parser().parse(line)
        except _REFUSALS:
            return None
        puts = {name: _put(array, signature.inputs[name].dtype) for name, array in rows.arrays.items()}
        if None in puts.values():
            return None
        names = list(value) if type(value) is simdjson.Object else None
        if names is not None and (len(set(names)) != len(names) or not puts.keys() <= set(names)):
            return None  # a repeated name; or {"b64": …}
        nested = any(array.ndim > 2 for array in rows.arrays.values())
        marks = line.translate(None, _NO_MARKS) if nested else None
        order = [] if names is None else [names.index(name) for name in carried]
        pattern = cls(names, [puts.get(name) for name in names or puts], order, marks=marks)
        # Whether the line itself is read says whether strings in it have marks.
        return pattern if pattern.read(line, rows.count - 1) is not None else None

    def read(self, line: bytes, index: int) -> Sequence[Any] | None:
        """Store the inputs of a line at an index.

        Returns:
            The carried values; None if the line is not certainly of this pattern, and the arrays may hold anything
            there.
        """
        try:
            value = self._parse(line)
            if self._names is None:
                is_list = type(value) is simdjson.Array
                put = self._puts[0]
                return () if put is not None and put(value, index) and self._is_proven(line, int(is_list)) else None
            return self._read_object(value, line, index) if type(value) is simdjson.Object else None
        except _REFUSALS:
            return None

    def _read_object(self, value: Any, line: bytes, index: int) -> Sequence[Any] | None:
        if list(value) != self._names:
            return None
        # Not items(): it turns lists into Python's.
        members = [value[name] for name in self._names]
        lists = 0
        for member, put in zip(members, self._puts, strict=True):
            if put is None:
                if type(member) in (simdjson.Array, simdjson.Object):
                    return None
            elif not put(member, index):
                return None
            lists += type(member) is simdjson.Array
        if not self._is_proven(line, lists):
            return None
        carried = [members[place] for place in self._order]
        if self._marks is not None and any(_may_have_marks(member) for member in members):
            return None
        return [member.as_list() if type(member) is simdjson.Array else member for member in carried]

    def _is_proven(self, line: bytes, lists: int) -> bool:
        if self._marks is not None:
            return line.translate(None, _NO_MARKS) == self._marks
        at = -1
        for _ in range(lists):
            at = line.find(b"[", at + 1)
        return line.find(b"[", at + 1) < 0


def _may_have_marks(member: Any) -> bool:
    return type(member) is str and not set(_MARKS.decode()).isdisjoint(member)


def _put(array: Array, dtype: "np.dtype[Any] | None") -> Put | None:
    """Stores values of one type and shape; None if there is no fast way."""
    if dtype is None or not array[:1].size:
        return None
    if array.ndim > 1:
        return _put_numbers(array.reshape(len(array), -1), dtype) if dtype.kind in "fiu" else None
    types = {"f": (float, int), "i": (int,), "u": (int,), "b": (bool,), "O": (str,)}.get(dtype.kind)
    if types is None:
        return None

    def put(value: Any, index: int) -> bool:
        if type(value) not in types:
            return False
        array[index] = value.encode() if dtype.kind == "O" else value
        return True

    return put


def _put_numbers(flat: Array, dtype: "np.dtype[Any]") -> Put:
    kind, wide = WIDE["f" if dtype.kind == "f" else "u" if dtype == np.uint64 else "i"]
    size, narrow = flat.shape[1], dtype.kind != "f" and dtype != wide

    def put(value: Any, index: int) -> bool:
        if type(value) is not simdjson.Array:
            return False
        numbers = np.frombuffer(value.as_buffer(of_type=kind), wide)
        if len(numbers) != size:
            return False
        flat[index] = fit_integers(numbers, dtype) if narrow else numbers
        return True

    return put
