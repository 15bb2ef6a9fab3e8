"""The parts that a file's predictions are written in, and the whole file that is made of them."""

import struct
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import orjson

from lading.batch.done import FileDone, Shard
from lading.batch.files import Outputs
from lading.batch.formats.base import BadRow, Block, OutputFormat
from lading.batch.naming import errors_stats_name
from lading.batch.plan import ERROR_PARTS, PARTS, Plan
from lading.batch.predictor import Predicted
from lading.files import storage_errors

_IN_MEMORY = 4 << 20
"""More of a part than this is on this machine's disk until it is written."""
_PIECE_BYTES = 1 << 20
_LENGTH = struct.Struct("<Q")


class Part:
    """The predictions of a shard, until they are written.

    Args:
        format: What they are written in.
        uri: Of the input file.
        is_first: Whether it is the first of its file.
    """

    def __init__(self, format: OutputFormat, uri: str, *, is_first: bool) -> None:
        self._file, self._errors = _spooled(), _spooled()
        self._framed = not format.plain
        self._uri = uri
        self.shard = Shard()
        if is_first and format.plain:
            self._file.write(format.head())

    def add(self, block: Block, predicted: Predicted) -> None:
        """Add the next block.

        Raises:
            StorageError: this machine's directory for temporary files is full, or cannot be written.
        """
        with storage_errors(Path(tempfile.gettempdir(), "part")):
            if self._framed and predicted.content:
                self._file.write(_LENGTH.pack(len(predicted.content)))
            self._file.write(predicted.content)
            for row in predicted.bad:
                self._errors.write(_error_line(self._uri, row))
        shard = self.shard
        shard.end, shard.next_row = block.end, block.next_row
        shard.rows += predicted.rows
        shard.bad += len(predicted.bad)
        shard.reasons.update(Counter(row.reason for row in predicted.bad))

    def store(self, outputs: Outputs, file: int, number: int) -> None:
        """Write it, and its bad rows beside it.

        Args:
            outputs: Where.
            file: Index of the input file in the plan.
            number: Of the shard in the file, from 0.

        Raises:
            AccessDenied, StorageError: it cannot be written.
        """
        outputs.write(part_name(PARTS, file, number), _pieces(self._file))
        self._store_errors(outputs, file, number)

    def publish(self, plan: Plan, outputs: Outputs, format: OutputFormat, file: int) -> None:
        """Write it as the final file, of which it is the only part, and its bad rows where those of parts are.

        Args:
            plan: The run.
            outputs: Where.
            format: What it is written in.
            file: Index in the plan.

        Raises:
            AccessDenied, StorageError: it cannot be written.
        """
        self._store_errors(outputs, file, 0)
        pieces = _pieces(self._file)
        outputs.write(plan.files[file].output, format.join(_unframed(pieces)) if self._framed else pieces)
        _write_errors_stats(plan, outputs, file, self.shard.frequent)

    def _store_errors(self, outputs: Outputs, file: int, number: int) -> None:
        if self.shard.bad:
            outputs.write(part_name(ERROR_PARTS, file, number), _pieces(self._errors))

    def close(self) -> None:
        """Forget it."""
        self._file.close()
        self._errors.close()


def _spooled() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(_IN_MEMORY)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        yield piece


def publish(plan: Plan, outputs: Outputs, format: OutputFormat, file: int, *, so_far: FileDone) -> list[str]:
    """Make the final file of the parts.

    Args:
        plan: The run.
        outputs: Where the parts are.
        format: What they are written in.
        file: Index in the plan.
        so_far: What was stored of it.

    Returns:
        The names of the parts, which may be removed.

    Raises:
        AccessDenied, StorageError: it cannot be written.
    """
    output = plan.files[file].output
    parts = [part_name(PARTS, file, number) for number in range(so_far.shards)]
    if not format.plain:
        blocks = (block for name in parts for block in _unframed(outputs.stream(name)))
        outputs.write(output, format.join(blocks))
    elif parts:
        outputs.concatenate(parts, output)
    else:
        outputs.write(output, format.head())
    _write_errors_stats(plan, outputs, file, so_far.reasons)
    return parts


def _write_errors_stats(plan: Plan, outputs: Outputs, file: int, reasons: Mapping[str, int]) -> None:
    if plan.options.output_format == "ai-platform":
        from lading.batch.formats.ai_platform import errors_stats

        outputs.write(errors_stats_name(file, len(plan.files)), errors_stats(reasons))


def _unframed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What ``encode`` gave for each block, out of a part."""
    held = b""
    for piece in pieces:
        held += piece
        while len(held) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(held)[0]
            if len(held) < end:
                break
            yield held[_LENGTH.size : end]
            held = held[end:]


def part_name(directory: str, file: int, number: int) -> str:
    """The part of a shard of a file."""
    return f"{directory}/{file:06d}/{number:06d}"


def _error_line(uri: str, row: BadRow) -> bytes:
    return orjson.dumps({"file": uri, "row": row.row, "reason": row.reason, "text": row.text}) + b"\n"
