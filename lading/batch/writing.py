"""Writes predictions in order: parts while a file is being predicted, the whole file at its end."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from lading.batch.done import Done
from lading.batch.files import Outputs
from lading.batch.formats.base import OutputFormat
from lading.batch.parts import Part, publish
from lading.batch.plan import Plan
from lading.batch.predictor import Predicted
from lading.batch.reading import Piece

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
        self._part: Part | None = None
        self._shards = [file.shards for file in done.files]
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="batch-store")
        self._pending: list[Future[None]] = []

    def take(self, piece: Piece, predicted: Predicted | None) -> None:
        """Take the next block, or the end of a file.

        Raises:
            RunInProgress: the claim on the output was lost.
            AccessDenied, StorageError: an earlier write failed.
        """
        if piece.block is None or predicted is None:
            self._end(piece)
            return
        number = self._shards[piece.file]
        if self._part is None:
            self._part = Part(self._format, self._plan.files[piece.file].file.uri, is_first=not number)
        self._part.add(piece.block, predicted)
        if piece.ends_shard:
            part, self._part = self._part, None
            self._shards[piece.file] += 1
            self._later(lambda: self._store(piece.file, number, part))

    def finish(self) -> None:
        """Wait for every write.

        Raises:
            RunInProgress, AccessDenied, StorageError: one of them failed.
        """
        for pending in self._pending:
            pending.result()
        self._outputs.flush()

    def close(self) -> None:
        """End, whatever was written."""
        self._writes.shutdown(cancel_futures=True)
        if self._part:
            self._part.close()

    def _later(self, write: Callable[[], None]) -> None:
        while len(self._pending) >= _WAITING:
            self._pending.pop(0).result()
        self._pending.append(self._writes.submit(write))

    def _end(self, piece: Piece) -> None:
        if not piece.problem:
            self._later(lambda: self._publish(piece.file))
            return
        self.failed[piece.file] = piece.problem
        if self._part:
            self._part.close()
            self._part = None

    def _store(self, file: int, number: int, part: Part) -> None:
        part.store(self._outputs, file, number)
        self._done.shard(file, part.shard)
        part.close()

    def _publish(self, file: int) -> None:
        parts = publish(self._plan, self._outputs, self._format, file, so_far=self._done.files[file])
        self._done.whole(file)
        self._outputs.remove(parts)
