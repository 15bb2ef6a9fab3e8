"""The fast way for records of CSV whose inputs stand side by side and are numbers without quotation marks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import simdjson

from lading.batch.formats.csv_cells import within
from lading.batch.formats.csv_columns import Columns
from lading.batch.formats.row_arrays import RowArrays
from lading.predict.document import WIDE

Array = npt.NDArray[Any]


class NumberFields:
    """Reads consecutive fields as one list of JSON, whose numbers are a part of what CSV may hold."""

    def __init__(self, columns: Columns, kind: str, targets: Sequence[tuple[Array, Any]]) -> None:
        used = [place for found in columns.inputs for place in found.columns]
        self._first, self._width = min(used), max(used) - min(used) + 1
        self._behind = len(columns.names) - self._first - self._width
        self._carried = columns.carried
        self._all_behind = self._first + self._width
        self._kind, self._wide = WIDE[kind]
        self._targets = targets
        self._parse: Callable[[bytes], Any] = simdjson.Parser().parse

    @classmethod
    def of(cls, columns: Columns, rows: RowArrays) -> "NumberFields | None":
        """For the arrays of a block; None if there is no fast way for these columns."""
        dtypes = [found.spec.dtype for found in columns.inputs]
        used = {place for found in columns.inputs for place in found.columns}
        kinds = {_kind(dtype) for dtype in dtypes}
        if columns.shapes is None or not used or len(kinds) != 1 or None in kinds:
            return None
        first = min(used)
        if any(first <= place <= max(used) for place in columns.carried):
            return None
        targets = [
            (
                rows.arrays[found.spec.name].reshape(len(rows.arrays[found.spec.name]), -1),
                _slice([place - first for place in found.columns]),
            )
            for found in columns.inputs
        ]
        return cls(columns, str(kinds.pop()), targets)

    def read(self, record: bytes, index: int) -> Sequence[Any] | None:
        """Store the inputs of a record at an index.

        Returns:
            The carried values; None if the record is not certainly one of numbers.
        """
        if b'"' in record:
            return None
        before: list[bytes] = []
        after: list[bytes] = []
        numbers = record
        if self._first:
            *before, numbers = record.split(b",", self._first)
        if self._behind:
            numbers, *after = numbers.removesuffix(b"\r").rsplit(b",", self._behind)
        if len(before) != self._first or len(after) != self._behind or b"[" in numbers:
            return None
        try:
            values = np.frombuffer(self._parse(b"[" + numbers + b"]").as_buffer(of_type=self._kind), self._wide)
            if len(values) != self._width:
                return None
            for target, places in self._targets:
                target[index] = values[places] if target.dtype.kind == "f" else within(values[places], target.dtype)
            return [
                (before[place] if place < self._first else after[place - self._all_behind]).decode()
                for place in self._carried
            ]
        except (ValueError, TypeError, OverflowError, RuntimeError):
            return None


def _kind(dtype: "np.dtype[Any] | None") -> str | None:
    if dtype is None or dtype.kind not in "fiu":
        return None
    return "f" if dtype.kind == "f" else "u" if dtype == np.uint64 else "i"


def _slice(places: list[int]) -> Any:
    """Indices into an array; consecutive ones as a slice, which copies nothing."""
    first = places[0]
    return slice(first, first + len(places)) if places == [*range(first, first + len(places))] else places
