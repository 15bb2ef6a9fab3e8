"""Writes predictions: parts while a file is being predicted, the whole file at its end."""

import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

import orjson

from lading.batch.done import Done, Shard
from lading.batch.files import Outputs
from lading.batch.formats.base import BadRow, OutputFormat
from lading.batch.naming import errors_stats_name
from lading.batch.plan import ERROR_PARTS, PARTS, Plan
from lading.batch.predictor import Predicted
from lading.batch.reading import Piece

_IN_MEMORY = 4 << 20
"""More of a part than this is on this machine's disk until it is written."""
_PIECE_BYTES = 1 << 20
_LENGTH = struct.Struct("<Q")
_WAITING = 2
"""So many writes may wait for the storage while the next blocks are predicted."""


class Writer:
    """Takes predicted blocks in order.

    Attributes:
        failed: Files that could not be read to their end, by index, and why.
    """

    def __init__(self, plan: Plan, done: Done, outputs: Outputs, format: OutputFormat) -> None:
        self._plan, self._done, self._outputs, self._format = plan, done, outputs, format
        self.failed: dict[int, str] = {}
        self._part = _Part()
        self._shards = [file.shards for file in done.files]
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="batch-store")
        self._pending: list[Future[None]] = []

    def take(self, piece: Piece, predicted: Predicted | None) -> None:
        """Take the next block, or the end of a file.

        Raises:
            RunInProgress: the claim on the output was lost. StorageError, AccessDenied: an earlier write failed.
        """
        if piece.block is None or predicted is None:
            self._end(piece)
            return
        if not self._part.size and not self._shards[piece.file] and self._format.plain:
            self._part.add(self._format.head())
        self._part.add_block(piece, predicted, framed=not self._format.plain)
        if piece.ends_shard:
            part, number = self._part, self._shards[piece.file]
            self._part = _Part()
            self._shards[piece.file] += 1
            self._later(lambda: self._store(piece.file, number, part))

    def finish(self) -> None:
        """Wait for every write.

        Raises:
            RunInProgress, StorageError, AccessDenied: one of them failed.
        """
        for pending in self._pending:
            pending.result()
        self._outputs.flush()

    def close(self) -> None:
        """End, whatever was written."""
        self._writes.shutdown(cancel_futures=True)
        self._part.close()

    def _later(self, write: Callable[[], None]) -> None:
        while len(self._pending) >= _WAITING:
            self._pending.pop(0).result()
        self._pending.append(self._writes.submit(write))

    def _end(self, piece: Piece) -> None:
        if piece.problem:
            self.failed[piece.file] = piece.problem
            self._part.close()
            self._part = _Part()
        else:
            self._later(lambda: self._publish(piece.file))

    def _store(self, file: int, number: int, part: "_Part") -> None:
        self._outputs.write(part_name(PARTS, file, number), part.pieces())
        if part.errors:
            uri = self._plan.files[file].file.uri
            lines = b"".join(_error_line(uri, row) for row in part.errors)
            self._outputs.write(part_name(ERROR_PARTS, file, number), lines)
        self._done.shard(file, part.shard)
        part.close()

    def _publish(self, file: int) -> None:
        """Make the final file of the parts."""
        planned, so_far = self._plan.files[file], self._done.files[file]
        parts = [part_name(PARTS, file, number) for number in range(so_far.shards)]
        if not self._format.plain:
            self._outputs.write(planned.output, self._format.join(self._framed(parts)))
        elif parts:
            self._outputs.concatenate(parts, planned.output)
        else:
            self._outputs.write(planned.output, self._format.head())
        if self._plan.options.output_format == "ai-platform":
            from lading.batch.formats.ai_platform import errors_stats

            self._outputs.write(errors_stats_name(file, len(self._plan.files)), errors_stats(so_far.reasons))
        self._done.whole(file)
        self._outputs.remove(parts)

    def _framed(self, parts: Sequence[str]) -> Iterator[bytes]:
        """What ``encode`` gave for each block, out of the parts."""
        for name in parts:
            held = b""
            for piece in self._outputs.stream(name):
                held += piece
                while len(held) >= _LENGTH.size:
                    end = _LENGTH.size + _LENGTH.unpack_from(held)[0]
                    if len(held) < end:
                        break
                    yield held[_LENGTH.size : end]
                    held = held[end:]


class _Part:
    """The predictions of a shard, until they are written."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by close()
        self.size = 0
        self.shard = Shard()
        self.errors: list[BadRow] = []

    def add(self, content: bytes) -> None:
        self._file.write(content)
        self.size += len(content)

    def add_block(self, piece: Piece, predicted: Predicted, *, framed: bool) -> None:
        assert piece.block is not None
        if framed and predicted.content:
            self.add(_LENGTH.pack(len(predicted.content)))
        self.add(predicted.content)
        self.errors += predicted.bad
        shard = self.shard
        shard.end, shard.next_row = piece.block.end, piece.block.next_row
        shard.rows += predicted.rows
        shard.bad += len(predicted.bad)
        shard.reasons.update(Counter(row.reason for row in predicted.bad))

    def pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(_PIECE_BYTES):
            yield piece

    def close(self) -> None:
        self._file.close()


def part_name(directory: str, file: int, number: int) -> str:
    """The part of a shard of a file."""
    return f"{directory}/{file:06d}/{number:06d}"


def _error_line(uri: str, row: BadRow) -> bytes:
    return orjson.dumps({"file": uri, "row": row.row, "reason": row.reason, "text": row.text}) + b"\n"
