"""How far a run is, and how fast."""

import time
from collections import deque
from dataclasses import dataclass

from lading.batch.done import Done
from lading.batch.plan import Plan
from lading.batch.predictor import Predicted
from lading.batch.reading import Piece

_RECENT_SECONDS = 10.0


@dataclass(frozen=True)
class Progress:
    """Where a run stands; counts are of the whole run, what earlier attempts did included."""

    files: int
    files_done: int
    bytes: int
    """Of all input files, as they lie there."""
    bytes_done: int
    rows: int
    """Predicted or bad, so far."""
    bad_rows: int
    seconds: float
    """Since this attempt began."""
    rows_per_second: float
    """Over the last seconds of this attempt."""
    seconds_left: float | None
    """As fast as this attempt was on average; None before anything is known."""

    @property
    def share(self) -> float:
        """Done, from 0 to 1, by bytes of input."""
        return self.bytes_done / self.bytes if self.bytes else float(self.files_done >= self.files)


class Meter:
    """Counts what goes through; one thread counts, another reads."""

    def __init__(self, plan: Plan, done: Done) -> None:
        self._sizes = [planned.file.size for planned in plan.files]
        self._bytes_before = 0  # of files that are done
        self._bytes_at_start = 0
        self._consumed = 0
        """Of the file that is being read."""
        self._files_done = 0
        for size, file in zip(self._sizes, done.files, strict=True):
            if file.is_whole:
                self._bytes_before += size
                self._files_done += 1
        self._bytes_at_start = self._bytes_before
        self._rows_before, self._bad_before = done.rows, done.bad
        self.rows = 0
        """Of this attempt."""
        self._bad = 0
        self._started = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque([(self._started, 0)])

    @property
    def is_done(self) -> bool:
        """Whether every file came to its end, also one that could not be read further."""
        return self._files_done == len(self._sizes)

    def take(self, piece: Piece, predicted: Predicted | None) -> None:
        """Count a block, or the end of a file."""
        if predicted is None:
            self._bytes_before += self._sizes[piece.file]
            self._files_done += 1
            self._consumed = 0
        else:
            self._consumed = min(piece.consumed, self._sizes[piece.file])
            self.rows += predicted.rows
            self._bad += len(predicted.bad)

    def progress(self) -> Progress:
        """Where the run stands now."""
        now = time.monotonic()
        self._recent.append((now, self.rows))
        while now - self._recent[0][0] > _RECENT_SECONDS and len(self._recent) > 2:
            self._recent.popleft()
        (then, rows), seconds = self._recent[0], now - self._started
        total, done = sum(self._sizes), self._bytes_before + self._consumed
        worked = done - self._bytes_at_start
        return Progress(
            files=len(self._sizes),
            files_done=self._files_done,
            bytes=total,
            bytes_done=done,
            rows=self._rows_before + self.rows,
            bad_rows=self._bad_before + self._bad,
            seconds=seconds,
            rows_per_second=(self.rows - rows) / (now - then) if now > then else 0.0,
            seconds_left=seconds * (total - done) / worked if worked > 0 else None,
        )
