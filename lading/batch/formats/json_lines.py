"""JSON Lines: each line one instance, in the row form of TensorFlow Serving's ``instances``.

A line is a value (for a model with one input), or an object with a member for each input. Members that are carried to
the output stand in the object too. ``{"b64": …}`` is binary data. Blank lines are no rows, but they are counted.

Lines like the first good one of their block are read by simdjson straight into the block's arrays (``json_rows``), and
that one too if it is nothing but numbers; all others one by one, by the rules of TensorFlow Serving. One line at a time
even so: the numbers of a line then stay in the processor's cache, and a line can neither break nor complete another,
as it could in a whole block that is read as one document.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.batch.formats.base import BadRow, Block, Decoded, Source
from lading.batch.formats.json_rows import Pattern
from lading.batch.formats.lines import cut_blocks, cut_lines, is_blank, show, without_mark
from lading.batch.formats.row_arrays import BetterShapes, RowArrays, Shapes, see_types
from lading.batch.options import BatchOptions
from lading.errors import InvalidInstance
from lading.predict.document import only_numbers
from lading.predict.json_value import parse_value
from lading.predict.jsonvalues import is_base64, to_array
from lading.predict.signature import Signature

Array = npt.NDArray[Any]


class JsonLines:
    """Reads JSON Lines. Row numbers are line numbers.

    Args:
        signature: Of the model.
        options: Of the run.
        patterns: Whether lines like others are read the fast way; the result is the same.

    Raises:
        InvalidInput: the model has an input of a type that JSON cannot hold.
    """

    def __init__(self, signature: Signature, options: BatchOptions, *, patterns: bool = True) -> None:
        see_types(signature, "JSON")
        self._signature = signature
        self._carried = options.carried
        self._rows = options.batch_size
        self._most = options.max_line_bytes
        self._patterns = patterns

    def blocks(self, source: Source, start: int = 0, row: int = 0) -> Iterator[Block]:
        """See ``InputFormat``."""
        lines = cut_lines(source.stream(start), self._most)
        return cut_blocks(
            lines if start else without_mark(lines), start=start, row=row if start else 1, most_rows=self._rows
        )

    def decode(self, block: Block) -> Decoded:
        """See ``InputFormat``."""
        shapes: Shapes | None = None
        while True:
            try:
                # Beyond float32 is infinite, as in TensorFlow Serving.
                with np.errstate(over="ignore"):
                    return self._decode(block, shapes)
            except BetterShapes as better:
                shapes = better.shapes

    def show(self, original: Any) -> str:
        """See ``InputFormat``."""
        return show(original)

    def _decode(self, block: Block, shapes: Shapes | None) -> Decoded:
        rows = RowArrays(self._signature, block, self._carried, shapes=shapes)
        pattern: Pattern | None = None
        for index, line in enumerate(block.rows):
            if isinstance(line, BadRow):
                rows.refuse(line)
                continue
            if pattern is not None:
                carried = pattern.read(line, rows.count)
                if carried is not None:
                    rows.keep(index, carried)
                    continue
            if is_blank(line):
                continue
            reason = self._add(rows, index, line)
            if reason:
                rows.refuse(BadRow(block.first_row + index, reason, show(line)))
            elif pattern is None and self._patterns and index + 1 < len(block.rows):
                pattern = Pattern.of(line, rows, self._signature, self._carried)
        return rows.decoded()

    def _add(self, rows: RowArrays, index: int, line: bytes) -> str:
        """Add a line without a pattern; why it cannot be."""
        try:
            values, carried = self._numbers(line) or self._values(line)
        except InvalidInstance as error:
            return str(error)
        except RecursionError:
            return "expected a value for the model, received one that is nested too deep"
        return rows.add(index, values, carried, shapes={name: array.shape for name, array in values.items()})

    def _numbers(self, line: bytes) -> tuple[dict[str, Array], Sequence[Any]] | None:
        """As ``_values``, but fast: of a line that is nothing but numbers for the only input."""
        if not self._patterns or self._carried or len(self._signature.inputs) != 1:
            return None
        ((name, spec),) = self._signature.inputs.items()
        array = only_numbers(line, name, spec.dtype)
        return None if array is None else ({name: array}, ())

    def _values(self, line: bytes) -> tuple[dict[str, Array], Sequence[Any]]:
        """An array for each input, and a value for each carried column, by the rules of TensorFlow Serving."""
        named, carried = self._members(parse_value(line))
        values = {}
        for name, spec in self._signature.inputs.items():
            try:
                values[name] = to_array(named[name], spec)
            except InvalidInstance as error:
                raise InvalidInstance(f"{name}: {error}") from error
        return values, carried

    def _members(self, value: Any) -> tuple[dict[str, Any], Sequence[Any]]:
        """A value for each input, and for each carried column."""
        inputs = self._signature.inputs
        expected = dict.fromkeys((*self._carried, *inputs))
        if not isinstance(value, dict) or is_base64(value):
            if self._carried or len(inputs) != 1:
                raise InvalidInstance(f"expected an object with {_names(expected)}, received {_kind(value)}")
            return dict.fromkeys(inputs, value), ()
        missing, unknown = expected.keys() - value.keys(), value.keys() - expected.keys()
        if missing or unknown:
            wrong = [f"{_names(sorted(missing))} is missing"] if missing else []
            wrong += [f"{_names(sorted(unknown))} is unknown"] if unknown else []
            raise InvalidInstance(
                f"expected an object with {_names(expected)}: {' and '.join(wrong)}"
                + ("; what is to be carried along is named by the key field and passthrough" if unknown else "")
            )
        return value, [value[name] for name in self._carried]


def _kind(value: Any) -> str:
    """What a value is: a reason that names no values is counted once for all rows that have it."""
    if isinstance(value, bool) or value is None:
        return "null" if value is None else "a boolean"
    return "a list" if isinstance(value, list) else "a string" if isinstance(value, str | dict) else "a number"


def _names(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in list(names)[:10])
