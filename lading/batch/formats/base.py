"""What all formats of rows have in common."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lading.batch.options import BatchOptions
from lading.errors import InvalidInput
from lading.predict.signature import Signature

Array = npt.NDArray[Any]


class Source(Protocol):
    """A file that is read; what is compressed (``.gz``) is seen decompressed."""

    name: str
    """Its URI, for messages."""

    def stream(self, start: int = 0) -> Iterator[bytes]:
        """The content from an offset on, in pieces of any length that is not 0.

        Raises:
            InvalidData: the compression is damaged or cut off.
            NotFound, StorageError: it cannot be read, or has changed since the run was planned.
        """

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes of the file as it lies there; fewer at its end. For formats with an index at the end."""

    @property
    def size(self) -> int:
        """Of the file as it lies there, in bytes."""

    @property
    def consumed(self) -> int:
        """How much of ``size`` the last ``stream`` has read so far; for showing progress in compressed files."""


@dataclass(frozen=True)
class Block:
    """The rows of one call of the model, not decoded yet."""

    start: int
    """Offset of the first row: bytes of the decompressed file, or rows in a Parquet file."""
    end: int
    """Offset behind the last row; where the next block starts."""
    first_row: int
    """Number of the first row in the file, from 1, as error messages count: lines for text formats (a header is one),
    records or rows otherwise."""
    next_row: int
    """Number of the row behind the last one, blank lines counted."""
    rows: Sequence[Any]
    """One entry a row, as the format's ``decode`` wants it. A row that could not even be cut out (a line beyond
    ``max_line_bytes``) is a ``BadRow`` here already."""
    size: int
    """About how many bytes the rows take; shards end by the sum of these."""
    consumed: int | None = None
    """How much of the file as it lies there ends with the block, for showing progress; None: as the source says."""


@dataclass(frozen=True)
class BadRow:
    """A row that the model was not given, or that it refused."""

    row: int
    """Its number, as ``Block.first_row`` counts."""
    reason: str
    """What was expected and what came."""
    text: str
    """The row, or its beginning: at most ``MOST_SHOWN`` characters; binary rows as base64."""


MOST_SHOWN = 4096


@dataclass(frozen=True)
class Decoded:
    """What the model is given."""

    inputs: Mapping[str, Array]
    """For each input ``[N, …]`` of the declared type, C-contiguous, in the signature's order; N good rows."""
    rows: Sequence[int]
    """The number of each of the N rows, ascending."""
    carried: Mapping[str, Sequence[Any]]
    """For each column that is carried to the output (the key first) a value for each of the N rows: of JSON's types."""
    bad: Sequence[BadRow]
    """The others, ascending."""
    originals: Sequence[Any]
    """The entries of ``Block.rows`` that the N rows were decoded from: to show those that the model refuses."""


class InputFormat(Protocol):
    """Cuts a file into blocks, and decodes them. ``blocks`` runs in one thread, ``decode`` in several at once."""

    def blocks(self, source: Source, start: int = 0, row: int = 0) -> Iterator[Block]:
        """The blocks of a file, from the start of one of them on.

        Args:
            source: The file.
            start: 0, or the ``end`` of a block: what follows it is given.
            row: Then the ``next_row`` of that block; 0 at the beginning of the file.

        Where blocks begin and end depends on the file and the options alone: from the start of any block the same
        blocks follow. A block has at most ``batch_size`` rows and about ``MOST_BLOCK_BYTES``, but at least one row.

        Raises:
            InvalidData: the file is damaged from here on; the blocks before were given.
            NotFound, StorageError: as ``Source``.
        """

    def decode(self, block: Block) -> Decoded:
        """The arrays of a block; rows that do not fit are among ``bad``, and nothing is raised for them."""

    def show(self, original: Any) -> str:
        """A row as error messages show it, see ``BadRow.text``."""


MOST_BLOCK_BYTES = 4 << 20
"""Blocks end at this size even when they have fewer rows than the batch size; it bounds the memory of a run."""


class OutputFormat(Protocol):
    """Writes a model's outputs. ``encode`` runs in several threads at once.

    A finished file is ``head``, the parts of its blocks in order, and ``tail``; or, if it is not ``plain``, what
    ``join`` makes of the parts.
    """

    suffix: str
    """Of the file names, for instance ``.csv``."""
    plain: bool
    """Whether files are the bytes of their parts, one after the other."""

    def head(self) -> bytes:
        """What a plain file starts with, for instance the names of the columns."""

    def encode(self, outputs: Mapping[str, Array], carried: Mapping[str, Sequence[Any]]) -> bytes:
        """The rows of one block.

        Args:
            outputs: For each output of the signature ``[N, …]``; strings are ``bytes`` in arrays of dtype object.
            carried: For each carried column N values.

        Raises:
            RowErrors: some rows cannot be written (text that is not UTF-8, NaN where the format has none); the caller
                leaves these out and encodes again.
        """

    def join(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """The file of a format that is not plain, from what ``encode`` gave, in pieces."""


class RowErrors(Exception):
    """Rows of a block that cannot be written.

    Attributes:
        reasons: By their index in the block's arrays.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(f"{len(reasons)} rows cannot be written")
        self.reasons = reasons


def open_input(format: str, signature: Signature, options: BatchOptions) -> InputFormat:
    """The reader of a format.

    Args:
        format: One of ``INPUT_FORMATS``.
        signature: Of the model, callable.
        options: Of the run.

    Raises:
        InvalidInput: the signature cannot be fed from this format (several inputs from CSV without named columns are
            found out at the header, per file), or a library for it is not installed.
    """
    if format == "jsonl":
        from lading.batch.formats.json_lines import JsonLines

        return JsonLines(signature, options)
    if format == "csv":
        from lading.batch.formats.csv_rows import CsvRows

        return CsvRows(signature, options)
    if format == "tfrecord":
        from lading.batch.formats.tf_records import TfRecords

        return TfRecords(signature, options)
    _need_pyarrow()
    from lading.batch.formats.parquet_rows import ParquetRows

    return ParquetRows(signature, options)


def open_output(signature: Signature, options: BatchOptions) -> OutputFormat:
    """The writer of ``options.output_format``.

    Raises:
        InvalidInput: outputs of this type cannot be written in this format, or a library is not installed.
    """
    if options.output_format == "jsonl":
        from lading.batch.formats.json_output import JsonOutput

        return JsonOutput(signature, options)
    if options.output_format == "ai-platform":
        from lading.batch.formats.ai_platform import AiPlatformOutput

        return AiPlatformOutput(signature, options)
    if options.output_format == "csv":
        from lading.batch.formats.csv_output import CsvOutput

        return CsvOutput(signature, options)
    _need_pyarrow()
    from lading.batch.formats.parquet_output import ParquetOutput

    return ParquetOutput(signature, options)


def _need_pyarrow() -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise InvalidInput("Parquet needs pyarrow: pip install 'lading[batch]'")


def row_bytes(signature: Signature) -> int | None:
    """Bytes of one row of all inputs; None if a shape or the length of strings is not declared."""
    total = 0
    for spec in signature.inputs.values():
        if spec.shape is None or spec.dtype is None or spec.dtype.kind == "O" or None in spec.shape[1:]:
            return None
        total += int(np.prod([size or 1 for size in spec.shape[1:]], dtype=np.int64)) * spec.dtype.itemsize
    return total
