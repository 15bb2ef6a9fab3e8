"""Rows from TFRecord files: serialized tf.Example messages, or whatever a model with one string input parses itself."""

import base64
from collections.abc import Iterator
from typing import Any

from lading.batch.formats.base import MOST_BLOCK_BYTES, MOST_SHOWN, BadRow, Block, Decoded, Source
from lading.batch.formats.columns import check_key
from lading.batch.formats.row_arrays import RowArrays
from lading.batch.formats.row_shapes import Misfit, row_shape, shown
from lading.batch.formats.tf_examples import read_carried, read_features, read_input
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput
from lading.predict.signature import Signature
from lading.predict.tf_record import Record, stream_records

_SHOWN_BYTES = MOST_SHOWN // 4 * 3


class TfRecords:
    """Reads TFRecord files; a row is a record.

    A signature whose only input is a string for each row is given the records as they are: it parses them inside of
    the graph, as signatures for TensorFlow Serving's ``:classify`` do. Else a record is a serialized tf.Example whose
    features of the inputs' names hold the values: ``float_list`` and ``int64_list`` for floats, ``int64_list`` for
    integers and (as 0 and 1) booleans, ``bytes_list`` for strings.

    Args:
        signature: What is called.
        options: Of the run, with the batch size that was chosen.

    Raises:
        InvalidInput: an input has more unknown dimensions than can follow from the number of values, or a type that an
            example cannot hold; or the key field is an input.
    """

    def __init__(self, signature: Signature, options: BatchOptions) -> None:
        self._signature, self._options = signature, options
        check_key(signature, options)
        self._is_raw = takes_records(signature)
        if not self._is_raw:
            _check(signature)

    def blocks(self, source: Source, start: int = 0, row: int = 0) -> Iterator[Block]:
        """See ``InputFormat``; a record whose checksum is wrong is a bad row, one whose length is wrong ends the file.

        Raises:
            InvalidData: the file ends within a record, or it is not known where the next record starts.
        """
        row = row or 1
        rows: list[bytes | BadRow] = []
        size, end = 0, start
        records = stream_records(
            source.stream(start), name=source.name, start=start, number=row, most_bytes=self._options.max_line_bytes
        )
        for record in records:
            rows.append(self._row(record, row + len(rows)))
            # A record that was skipped takes no memory, so that it does not count: it may be larger than a block.
            size += len(record.data or b"")
            end = record.end
            if len(rows) == self._options.batch_size or size >= MOST_BLOCK_BYTES:
                yield Block(start, end, row, row + len(rows), rows, size)
                start, row, rows, size = end, row + len(rows), [], 0
        if rows:
            yield Block(start, end, row, row + len(rows), rows, size)

    def decode(self, block: Block) -> Decoded:
        """See ``InputFormat``."""
        shapes = dict.fromkeys(self._signature.inputs, ()) if self._is_raw else None
        rows = RowArrays(self._signature, block, self._options.carried, shapes=shapes)
        for index, record in enumerate(block.rows):
            if isinstance(record, BadRow):
                rows.refuse(record)
                continue
            try:
                reason = self._add(rows, index, record)
            except Misfit as misfit:
                reason = str(misfit)
            if reason:
                rows.refuse(BadRow(block.first_row + index, reason, self.show(record)))
        return rows.decoded()

    def show(self, original: Any) -> str:
        """The beginning of a record as base64."""
        return base64.b64encode(original[:_SHOWN_BYTES]).decode()

    def _row(self, record: Record, number: int) -> bytes | BadRow:
        if record.data is None:
            length = record.end - record.start
            most = self._options.max_line_bytes
            return BadRow(number, f"expected a record of at most {most} bytes, received {length}", "")
        if not record.is_intact:
            reason = "the checksum of the record's data is wrong: the file is damaged here"
            return BadRow(number, reason, self.show(record.data))
        return record.data

    def _add(self, rows: RowArrays, index: int, record: bytes) -> str:
        """Add a record to the good rows; why it cannot be."""
        names = self._options.carried
        features = {} if self._is_raw and not names else read_features(record)
        carried = [read_carried(features, name) for name in names]
        if self._is_raw:
            (array,) = rows.arrays.values()
            array[rows.count] = record
            rows.keep(index, carried)
            return ""
        values = {name: read_input(features, spec) for name, spec in self._signature.inputs.items()}
        return rows.add(index, values, carried, shapes={name: array.shape for name, array in values.items()})


def takes_records(signature: Signature) -> bool:
    """Whether a signature is given records as they are: it has one input, a string for each row."""
    specs = list(signature.inputs.values())
    if len(specs) != 1 or specs[0].dtype is None or specs[0].dtype.kind != "O":
        return False
    return specs[0].shape is None or len(specs[0].shape) == 1


def _check(signature: Signature) -> None:
    for name, spec in signature.inputs.items():
        declared = row_shape(spec)
        if declared is not None and declared.count(None) > 1:
            raise InvalidInput(
                f'the input "{name}" has the shape {shown(declared)}: expected at most one unknown dimension, as a '
                "tf.Example holds values without their shape. Use JSON Lines or Parquet"
            )
        if spec.dtype is None or spec.dtype.kind not in "fiubO":
            raise InvalidInput(f'the input "{name}" is of type {spec.dtype}, which a tf.Example cannot hold')
