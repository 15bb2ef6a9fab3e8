"""Predictions as Parquet."""

import functools
import io
import json
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lading.batch.formats.base import RowErrors
from lading.batch.formats.output_rows import (
    carried_rows,
    check_outputs,
    check_rows,
    gather,
    json_text,
    not_utf8,
    output_rows,
)
from lading.batch.formats.row_arrays import fits
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput
from lading.predict.signature import Signature, TensorSpec

Array = npt.NDArray[Any]

_GROUP_BYTES = 32 << 20
"""Rows of so many bytes are a row group: what is held in memory, and what readers read at once."""
_IN_MEMORY = 4 << 20
_LENGTH = struct.Struct("<Q")
_INT64 = range(-(2**63), 2**63)
_KINDS = b"kinds"
"""Metadata of a part: for each carried column the kinds of its values."""


class ParquetOutput:
    """Writes a column for each carried column, then one for each output in the signature's order.

    Outputs have the types that the signature declares: a row of more than one value is a list, of fixed size where
    that is declared, and lists of lists for more axes; an output of unknown rank is text of JSON. Strings are text, or
    binary if the name ends in ``_bytes``. A carried column is int64, double, boolean or text, as all its values in the
    file are; what is no text is JSON in a column of text.

    A part is a stream of Arrow's IPC format, in which values of carried columns are JSON: what type a column has is
    known when all parts are there.

    Raises:
        InvalidInput: an output of complex numbers, or one with the name of a carried column.
    """

    suffix = ".parquet"
    plain = False

    def __init__(self, signature: Signature, options: BatchOptions) -> None:
        check_outputs(signature)
        taken = [name for name in options.carried if name in signature.outputs]
        if taken:
            raise InvalidInput(
                f"the column {taken[0]!r} cannot be carried to the output, where an output of the model has that name: "
                "use the output format jsonl, or rename the column"
            )
        self._carried = options.carried
        self._specs = signature.outputs
        self._types = {name: _type(spec) for name, spec in signature.outputs.items()}
        self._part = pa.schema([*((name, pa.binary()) for name in self._carried), *self._types.items()])

    def head(self) -> bytes:
        """Nothing: the file is made by ``join``."""
        return b""

    def encode(self, outputs: Mapping[str, Array], carried: Mapping[str, Sequence[Any]]) -> bytes:
        """See ``OutputFormat``.

        Raises:
            RowErrors: strings that are not UTF-8, of outputs whose names do not end in ``_bytes``; carried text that
                is not Unicode.
            InvalidInput: an output without a row for each row, or of another shape than declared.
        """
        if not check_rows(outputs, carried):
            return b""
        texts = [functools.partial(_texts, carried[name], name) for name in self._carried]
        columns = [functools.partial(_column, outputs[name], name, spec) for name, spec in self._specs.items()]
        kinds = {name: sorted({_kind(value) for value in carried[name]}) for name in self._carried}
        schema = self._part.with_metadata({_KINDS: json.dumps(kinds).encode()})
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, schema) as stream:
            stream.write_batch(pa.record_batch(gather([*texts, *columns]), schema=schema))
        return sink.getvalue()

    def join(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """See ``OutputFormat``; one group of rows is in memory, the parts lie on this machine's disk if need be."""
        parts = filter(None, parts)  # a block without rows is empty
        if not self._carried:
            yield from self._file(parts, {})
            return
        kinds: dict[str, set[str]] = {name: set() for name in self._carried}
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
            for part in parts:
                for name, found in json.loads(pa.ipc.open_stream(part).schema.metadata[_KINDS]).items():
                    kinds[name].update(found)
                spool.write(_LENGTH.pack(len(part)) + part)
            spool.seek(0)
            yield from self._file(_framed(spool), {name: _carried_type(found) for name, found in kinds.items()})

    def _file(self, parts: Iterator[bytes], types: Mapping[str, pa.DataType]) -> Iterator[bytes]:
        schema, sink = pa.schema([*types.items(), *self._types.items()]), _Sink()
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        # Dictionaries make numbers larger. Nothing here depends on the time or the machine.
        options = {"compression": "snappy", "use_dictionary": texts, "version": "2.6", "data_page_version": "1.0"}
        with pq.ParquetWriter(sink, schema, **options) as writer:
            for group in _groups(parts):
                columns = [
                    _typed(column, types[name]) if name in types else column
                    for name, column in zip(group.schema.names, group.columns, strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=group.num_rows)
                yield from sink.take()
        yield from sink.take()


class _Sink(io.RawIOBase):
    """What is written, until it is taken."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        self._held.append(bytes(data))
        self._at += len(self._held[-1])
        return len(self._held[-1])

    def take(self) -> list[bytes]:
        held, self._held = self._held, []
        return held


def _type(spec: TensorSpec) -> pa.DataType:
    """The type of an output's column."""
    if spec.shape is None:
        return pa.string()
    kind = _leaf(spec)
    for size in reversed(spec.shape[1:]):
        kind = pa.list_(kind, size) if size else pa.list_(kind)
    return kind


def _leaf(spec: TensorSpec) -> pa.DataType:
    if spec.dtype == object:
        return pa.binary() if spec.name.endswith("_bytes") else pa.string()
    return pa.from_numpy_dtype(spec.dtype)


def _column(array: Array, name: str, spec: TensorSpec) -> pa.Array:
    """An output as its column."""
    if spec.shape is None:
        return pa.array([text.decode() for text in output_rows(array, name)], pa.string())
    if not fits(array.shape[1:], spec):
        raise InvalidInput(
            f'the output "{name}" has rows of the shape {list(array.shape[1:])}, the signature says '
            f"{list(spec.shape[1:])}: use the output format jsonl"
        )
    column = _strings(array, name, spec) if array.dtype.kind == "O" else pa.array(array.reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        size = array.shape[axis]
        if spec.shape[axis]:
            column = pa.FixedSizeListArray.from_arrays(column, size)
        else:
            count = int(np.prod(array.shape[:axis]))
            column = pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * size, column)
    return column


def _strings(array: Array, name: str, spec: TensorSpec) -> pa.Array:
    kind = _leaf(spec)
    if pa.types.is_string(kind):
        reasons = {}
        for index, row in enumerate(array.reshape(len(array), -1).tolist()):
            try:
                for value in row:
                    value.decode()
            except UnicodeDecodeError:
                reasons[index] = not_utf8(name)
        if reasons:
            raise RowErrors(reasons)
    return pa.array(array.reshape(-1).tolist(), pa.binary()).cast(kind)


def _texts(values: Sequence[Any], name: str) -> pa.Array:
    """A carried column as it stands in a part."""
    return pa.array(carried_rows(values, name, _text), pa.binary())


def _text(value: Any) -> bytes:
    if isinstance(value, str):
        value.encode()  # what JSON can escape a column of text cannot hold
    return json_text(value)


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool | float | str):
        return type(value).__name__
    return "int" if isinstance(value, int) and value in _INT64 else "other"


def _carried_type(kinds: set[str]) -> pa.DataType:
    known = kinds - {"NoneType"}
    if known == {"int"}:
        return pa.int64()
    if known and known <= {"int", "float"}:
        return pa.float64()
    return pa.bool_() if known == {"bool"} else pa.string()


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """A carried column of parts as that of the file."""
    texts = column.to_pylist()
    values = [json.loads(text) for text in texts]
    if pa.types.is_float64(kind):
        values = [value if value is None else float(value) for value in values]
    elif pa.types.is_string(kind):
        values = [
            value if value is None or isinstance(value, str) else text.decode()
            for value, text in zip(values, texts, strict=True)
        ]
    return pa.array(values, kind)


def _groups(parts: Iterator[bytes]) -> Iterator[pa.Table]:
    """Rows of parts, so many that they are a row group."""
    held, size = list[pa.RecordBatch](), 0
    for part in parts:
        held += [batch.replace_schema_metadata(None) for batch in pa.ipc.open_stream(part)]
        size += len(part)
        if size >= _GROUP_BYTES:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _framed(file: IO[bytes]) -> Iterator[bytes]:
    while head := file.read(_LENGTH.size):
        yield file.read(*_LENGTH.unpack(head))
