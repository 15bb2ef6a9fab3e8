"""Rows from Parquet files."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lading.batch.formats import base
from lading.batch.formats.arrow_columns import (
    check_type,
    json_values,
    row_bytes,
)
from lading.batch.formats.base import MOST_BLOCK_BYTES, MOST_SHOWN, BadRow, Block, Decoded, Source
from lading.batch.formats.columns import check_key
from lading.batch.formats.output_rows import json_text
from lading.batch.formats.parquet_columns import Columns, find_columns, find_nulls, read_inputs
from lading.batch.formats.row_arrays import RowArrays
from lading.batch.formats.row_shapes import Misfit
from lading.batch.formats.source_file import SourceFile
from lading.batch.options import BatchOptions
from lading.errors import InvalidData
from lading.predict.signature import Signature

Array = npt.NDArray[Any]

_BUFFERS_BYTES = 16 << 20
"""For what is read ahead, of all columns together."""
_BUFFER_BYTES = (64 << 10, 4 << 20)
"""The least and the most of one column."""
_MOST_READ_ROWS = 4096
_GZIP = b"\x1f\x8b"


class ParquetRows:
    """Reads Parquet files; a row is a row, and offsets are numbers of rows, from 0.

    Columns are inputs by the rules of CSV (``match_columns``), but a column of lists holds lists as such: lists of
    lists have to be of the declared shape, a plain list may hold all values of a row. And the only input of a model
    may be the only column that is not carried, whatever its name and type. Nothing but the columns that are needed is
    read; nulls in those of inputs are bad rows.

    Args:
        signature: What is called.
        options: Of the run, with the batch size that was chosen.

    Raises:
        InvalidInput: the key field is an input.
    """

    def __init__(self, signature: Signature, options: BatchOptions) -> None:
        check_key(signature, options)
        self._signature, self._options = signature, options
        self._known: dict[tuple[str, ...], Columns] = {}

    def blocks(self, source: Source, start: int = 0, row: int = 0) -> Iterator[Block]:
        """See ``InputFormat``.

        Raises:
            InvalidInput: a column is missing, or of a type that its input cannot take.
            InvalidData: it is no Parquet file, or a damaged one.
        """
        if source.read_at(0, len(_GZIP)) == _GZIP:
            raise InvalidData(
                f"{source.name}: expected a Parquet file, received a gzip file. Parquet compresses its pages itself "
                "and is read from its end: decompress the file first (gunzip)"
            )
        try:
            with self._open(source) as file:
                wanted = self._wanted(file.schema_arrow, source.name)
                for batch, size in self._cut(self._batches(file, wanted, start)):
                    end = start + batch.num_rows
                    consumed = source.size * end // file.metadata.num_rows
                    yield Block(start, end, start + 1, end + 1, RecordRows(batch), size, consumed)
                    start = end
        except (pa.ArrowException, OSError) as error:
            raise InvalidData(f"{source.name}: not a Parquet file, or a damaged one: {error}") from error

    def decode(self, block: Block) -> Decoded:
        """See ``InputFormat``."""
        assert isinstance(block.rows, RecordRows)
        batch = block.rows.batch
        columns = self._columns(batch.schema, "")
        bad, keep = find_nulls(batch, columns)
        good, numbers = batch, np.arange(block.first_row, block.next_row)
        if bad:
            good, numbers = batch.filter(pa.array(keep)), numbers[keep]
        try:
            inputs = read_inputs(good, columns)
        except Misfit:
            return self._decode_each(block, columns)
        return Decoded(
            inputs,
            numbers.tolist(),
            {name: json_values(good.column(name)) for name in self._options.carried},
            [BadRow(block.first_row + index, bad[index], self.show(block.rows[index])) for index in sorted(bad)],
            RecordRows(good),
        )

    def show(self, original: Any) -> str:
        """The beginning of a row's columns as JSON."""
        row = {name: json_values(original.column(name))[0] for name in original.schema.names}
        return json_text(row).decode("utf-8", "replace")[:MOST_SHOWN]

    def _open(self, source: Source) -> pq.ParquetFile:
        # Buffered, and not a whole column of a group of rows at once; in this thread, so that errors of the source
        # come out as they are.
        file = pq.ParquetFile(SourceFile(source), pre_buffer=False, buffer_size=_BUFFER_BYTES[0])
        wanted = len(self._wanted(file.schema_arrow, source.name))
        each = min(max(_BUFFERS_BYTES // max(1, wanted), _BUFFER_BYTES[0]), _BUFFER_BYTES[1])
        return pq.ParquetFile(
            SourceFile(source),
            metadata=file.metadata,
            pre_buffer=False,
            buffer_size=each,
            page_checksum_verification=True,
        )

    def _columns(self, schema: pa.Schema, file: str) -> Columns:
        """Where each input is; looked up once for each kind of file."""
        names = tuple(schema.names)
        if names not in self._known:
            self._known[names] = find_columns(names, self._signature, self._options, file)
        return self._known[names]

    def _wanted(self, schema: pa.Schema, file: str) -> list[str]:
        """The columns that are read.

        Raises:
            InvalidInput: one is missing, or of a type that its input cannot take.
        """
        wanted = dict.fromkeys(self._options.carried)
        for one in self._columns(schema, file):
            for column in one.columns:
                check_type(schema.field(column).type, column, one.spec, file=file)
                wanted[column] = None
        return list(wanted)

    def _batches(self, file: pq.ParquetFile, wanted: list[str], start: int) -> Iterator[pa.RecordBatch]:
        """What is stored from a row on, in pieces of any number of rows."""
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        first = 0
        while first < len(groups) and start >= groups[first].num_rows:
            start -= groups[first].num_rows
            first += 1
        # Values that repeat take less in the file than in memory, so the declared size counts, too.
        each = max([base.row_bytes(self._signature) or 1, *(_stored(group) for group in groups)])
        for batch in file.iter_batches(
            batch_size=max(1, min(_MOST_READ_ROWS, MOST_BLOCK_BYTES // each)),
            row_groups=range(first, len(groups)),
            columns=wanted,
            use_threads=False,
        ):
            left = batch.slice(min(start, batch.num_rows))
            start -= batch.num_rows - left.num_rows
            if left.num_rows:
                yield left.select(wanted)

    def _cut(self, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Blocks, and about how many bytes they take: by the rows alone, however they come."""
        held: list[pa.RecordBatch] = []
        rows, size = 0, 0
        for batch in batches:
            sums = np.cumsum(np.sum([row_bytes(column) for column in batch.columns], axis=0))
            at = 0
            while at < batch.num_rows:
                before = int(sums[at - 1]) if at else 0
                full = int(np.searchsorted(sums, before + MOST_BLOCK_BYTES - size)) + 1
                end = min(at + self._options.batch_size - rows, full, batch.num_rows)
                held.append(batch.slice(at, end - at))
                rows, size, at = rows + end - at, size + int(sums[end - 1]) - before, end
                if rows == self._options.batch_size or size >= MOST_BLOCK_BYTES:
                    yield _joined(held), size
                    held, rows, size = [], 0, 0
        if held:
            yield _joined(held), size

    def _decode_each(self, block: Block, columns: Columns) -> Decoded:
        """Row by row, when not all fit."""
        rows = RowArrays(self._signature, block, self._options.carried)
        for index, row in enumerate(block.rows):
            try:
                values = {name: array[0] for name, array in read_inputs(row, columns).items()}
                carried = [json_values(row.column(name))[0] for name in self._options.carried]
                reason = rows.add(index, values, carried, shapes={name: np.shape(values[name]) for name in values})
            except Misfit as misfit:
                reason = str(misfit)
            if reason:
                rows.refuse(BadRow(block.first_row + index, reason, self.show(row)))
        return rows.decoded()


class RecordRows(Sequence[pa.RecordBatch]):
    """The rows of a record batch, each a record batch of one row."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    @overload
    def __getitem__(self, index: int) -> pa.RecordBatch: ...

    @overload
    def __getitem__(self, index: slice) -> "RecordRows": ...

    def __getitem__(self, index: int | slice) -> "pa.RecordBatch | RecordRows":
        if isinstance(index, slice):
            return RecordRows(self.batch.take(pa.array(range(len(self))[index], pa.int64())))
        return self.batch.slice(range(len(self))[index], 1)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    (whole,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return whole


def _stored(group: Any) -> int:
    """Bytes of a row as it is stored, before compression."""
    return int(group.total_byte_size // max(1, group.num_rows))
