"""Writes predictions in order: parts while a file is being predicted, the whole file at its end."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from lading.batch.done import Done
from lading.batch.files import Outputs
from lading.batch.formats.base import OutputFormat
from lading.batch.parts import Part, publish
from lading.batch.plan import Plan
from lading.batch.predictor import Predicted
from lading.batch.reading import Piece

_WAITING = 2
"""So many parts may wait for the storage while the next blocks are predicted."""
_AT_ONCE = 4
"""So many files of a single shard are written side by side: each waits for the disk, or the bucket, several times."""


@dataclass(frozen=True)
class _Whole:
    """A part to which nothing is added any more."""

    file: int
    number: int
    part: Part


class Writer:
    """Takes predicted blocks in order.

    Attributes:
        failed: Files that could not be read to their end, by index, and why.
    """

    def __init__(self, plan: Plan, done: Done, outputs: Outputs, format: OutputFormat) -> None:
        self._plan, self._done, self._outputs, self._format = plan, done, outputs, format
        self.failed: dict[int, str] = {}
        self._part: Part | None = None
        self._open: set[Part] = set()
        """With files of their own, to be closed whether or not they are written."""
        self._held: _Whole | None = None
        """Not written before the next block, or the end of the file: a file's only part is the final file."""
        self._shards = [file.shards for file in done.files]
        self._parts = ThreadPoolExecutor(1, thread_name_prefix="batch-store")
        self._files = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="batch-publish")
        self._pending: list[Future[None]] = []
        self._error: BaseException | None = None
        """Of the first write that failed; none is done after it, as a file's writes build on each other."""

    def take(self, piece: Piece, predicted: Predicted | None) -> None:
        """Take the next block, or the end of a file.

        Raises:
            RunInProgress: the claim on the output was lost.
            AccessDenied, StorageError: an earlier write failed.
        """
        if piece.block is None or predicted is None:
            self._end(piece)
            return
        self._store_held()
        number = self._shards[piece.file]
        if self._part is None:
            self._part = Part(self._format, self._plan.files[piece.file].file.uri, is_first=not number)
            self._open.add(self._part)
        self._part.add(piece.block, predicted)
        if piece.ends_shard:
            self._held, self._part = _Whole(piece.file, number, self._part), None
            self._shards[piece.file] += 1

    def finish(self) -> None:
        """Wait for every write.

        Raises:
            RunInProgress, AccessDenied, StorageError: one of them failed.
        """
        self._store_held()
        for pending in self._pending:
            pending.result()
        self._outputs.flush()

    def close(self) -> None:
        """End, whatever was written."""
        self._parts.shutdown(cancel_futures=True)
        self._files.shutdown(cancel_futures=True)
        for part in self._open:
            part.close()

    def _later(self, pool: ThreadPoolExecutor, most: int, write: Callable[[], None]) -> None:
        while len(self._pending) >= most:
            self._pending.pop(0).result()
        self._pending.append(pool.submit(self._do, write))

    def _do(self, write: Callable[[], None]) -> None:
        if self._error is not None:
            raise self._error
        try:
            write()
        except BaseException as error:
            self._error = error
            raise

    def _end(self, piece: Piece) -> None:
        whole = self._held
        if whole and not whole.number and not piece.problem:
            self._held = None
            self._later(self._files, _AT_ONCE, lambda: self._publish_part(whole))
            return
        self._store_held()
        if not piece.problem:
            self._later(self._parts, _WAITING, lambda: self._publish(piece.file))
            return
        self.failed[piece.file] = piece.problem
        if self._part:
            self._close(self._part)
            self._part = None

    def _store_held(self) -> None:
        if self._held:
            whole, self._held = self._held, None
            self._later(self._parts, _WAITING, lambda: self._store(whole))

    def _store(self, whole: _Whole) -> None:
        whole.part.store(self._outputs, whole.file, whole.number)
        self._done.shard(whole.file, whole.part.shard)
        self._close(whole.part)

    def _publish_part(self, whole: _Whole) -> None:
        whole.part.publish(self._plan, self._outputs, self._format, whole.file)
        self._done.shard(whole.file, whole.part.shard, whole=True)
        self._close(whole.part)

    def _close(self, part: Part) -> None:
        part.close()
        self._open.discard(part)

    def _publish(self, file: int) -> None:
        parts = publish(self._plan, self._outputs, self._format, file, so_far=self._done.files[file])
        self._done.whole(file)
        self._outputs.remove(parts)
