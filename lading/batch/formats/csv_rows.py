"""CSV (RFC 4180) in UTF-8, with a header: which columns are read, ``csv_columns`` says, and how, ``csv_cells``.

Records that are numbers without quotation marks are read by simdjson, as a list of JSON; all others field by field.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lading.batch.formats.base import BadRow, Block, Decoded, Source
from lading.batch.formats.csv_cells import to_list, to_row, to_scalar, to_text
from lading.batch.formats.csv_columns import Columns, InputColumns, match_columns
from lading.batch.formats.csv_numbers import NumberFields
from lading.batch.formats.csv_records import cut_records, split_record
from lading.batch.formats.lines import Entry, Overlong, cut_blocks, is_blank, show, without_mark
from lading.batch.formats.row_arrays import BetterShapes, RowArrays, Shapes, see_types
from lading.batch.options import BatchOptions
from lading.errors import InvalidData, InvalidInstance
from lading.predict.signature import Signature


class _Records(list[Any]):
    """The records of a block, with what their file's header means."""

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.columns = columns


class CsvRows:
    """Reads CSV. Row numbers count records: those of a spreadsheet; the header is the first.

    What is carried to the output is text. Blank lines are no rows, but they are counted. A file without a header is
    empty, and has no rows.

    Args:
        signature: Of the model.
        options: Of the run.
        numbers: Whether records of numbers are read the fast way; the result is the same.

    Raises:
        InvalidInput: the model has an input of a type that CSV cannot hold.
    """

    def __init__(self, signature: Signature, options: BatchOptions, *, numbers: bool = True) -> None:
        see_types(signature, "CSV")
        self._signature = signature
        self._carried = options.carried
        self._rows = options.batch_size
        self._most = options.max_line_bytes
        self._numbers = numbers

    def blocks(self, source: Source, start: int = 0, row: int = 0) -> Iterator[Block]:
        """See ``InputFormat``; the columns are found out first.

        Raises:
            InvalidInput: the header does not have the columns that the model needs.
        """
        records = without_mark(cut_records(source.stream(), self._most))
        header, offset, count = self._header(records, source.name)
        if header is None:
            return
        columns = match_columns(header, self._signature, self._carried, source.name)
        if start:
            records, offset, count = cut_records(source.stream(start), self._most), start, row - 1
        yield from cut_blocks(
            records, start=offset, row=count + 1, most_rows=self._rows, rows=lambda: _Records(columns)
        )

    def decode(self, block: Block) -> Decoded:
        """See ``InputFormat``."""
        columns: Columns = block.rows.columns  # type: ignore[attr-defined]
        shapes: Shapes | None = columns.shapes
        while True:
            try:
                with np.errstate(over="ignore"):  # beyond float32 is infinite, as in JSON
                    return self._decode(block, columns, shapes)
            except BetterShapes as better:
                shapes = better.shapes

    def show(self, original: Any) -> str:
        """See ``InputFormat``."""
        return show(original)

    def _header(self, records: Iterator[tuple[Entry, int]], file: str) -> tuple[list[str] | None, int, int]:
        """The names of the columns, the offset behind the header, and its number; no names without a header."""
        offset = 0
        for count, (record, length) in enumerate(records, 1):
            offset += length
            if isinstance(record, Overlong):
                raise InvalidData(f"{file}: expected a header: {record.reason}")
            if not is_blank(record):
                try:
                    names = [to_text(field, str(number)) for number, field in enumerate(split_record(record), 1)]
                except InvalidInstance as error:
                    raise InvalidData(f"{file}: expected a header: {error}") from error
                return [name.strip() for name in names], offset, count
        return None, offset, 0

    def _decode(self, block: Block, columns: Columns, shapes: Shapes | None) -> Decoded:
        rows = RowArrays(self._signature, block, self._carried, shapes=shapes)
        fast = NumberFields.of(columns, rows) if self._numbers else None
        for index, record in enumerate(block.rows):
            if isinstance(record, BadRow):
                rows.refuse(record)
                continue
            if fast is not None:
                carried = fast.read(record, rows.count)
                if carried is not None:
                    rows.keep(index, carried)
                    continue
            if is_blank(record):
                continue
            reason = _add(rows, index, record, columns)
            if reason:
                rows.refuse(BadRow(block.first_row + index, reason, show(record)))
        return rows.decoded()


def _add(rows: RowArrays, index: int, record: bytes, columns: Columns) -> str:
    """Add a record field by field; why it cannot be."""
    try:
        fields = split_record(record)
        if len(fields) != len(columns.names):
            return f"expected {len(columns.names)} fields, as the header has, received {len(fields)}"
        carried = [to_text(fields[place], columns.names[place]) for place in columns.carried]
        values = {found.spec.name: _value(found, fields, columns.names) for found in columns.inputs}
    except InvalidInstance as error:
        return str(error)
    except RecursionError:
        return "expected a list, received one that is nested too deep"
    shapes = columns.shapes or {
        found.spec.name: np.shape(values[found.spec.name]) if found.shape is None else found.shape
        for found in columns.inputs
    }
    return rows.add(index, values, carried, shapes=shapes)


def _value(found: InputColumns, fields: Sequence[bytes], names: Sequence[str]) -> Any:
    """The value of an input."""
    first, dtype = found.columns[0], found.spec.dtype
    assert dtype is not None, "types were looked at when the file was opened"
    if found.shape is None:
        return to_list(fields[first], found.spec, names[first])
    if len(found.columns) == 1:
        return to_scalar(fields[first], dtype, names[first])
    cells = [fields[place] for place in found.columns]
    return to_row(cells, dtype, [names[place] for place in found.columns]).reshape(found.shape)
