"""A journal in a bucket, where nothing can be added to an object: numbered segments, each written once."""

import contextlib
import threading
from collections.abc import Callable

from lading.batch.objects import Objects
from lading.errors import Conflict, LadingError, RunInProgress, StorageError

FLUSH_SECONDS = 0.5
"""Lines wait for others so long."""


class SegmentJournal:
    """Lines that are only ever added; they are durable within about a second, or after ``flush``.

    Segment N is created under the precondition that there is none: of two runs that write the same journal, one fails.
    """

    def __init__(self, objects: Objects, name: str, *, check: Callable[[], None]) -> None:
        self._objects, self._name = objects, name
        self._check = check
        """Raises when the claim was lost."""
        self._next = 0
        self._waiting: list[bytes] = []
        self._error: LadingError | None = None
        self._lock = threading.Lock()
        """Held for the lines that wait."""
        self._writing = threading.Lock()
        """Held while a segment is written."""
        self._wake, self._closed = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def lines(self) -> list[bytes]:
        """The lines, those included that wait.

        Raises:
            StorageError: a segment is missing.
        """
        self.flush()
        numbers = self._numbers()
        contents = self._objects.each(self._read, [self._segment(number) for number in numbers])
        return [line for content in contents for line in content.split(b"\n")[:-1]]

    def append(self, line: bytes) -> None:
        """Add a line.

        Raises:
            RunInProgress: another run has written to this journal.
            AccessDenied, StorageError: earlier lines could not be written.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            self._waiting.append(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="batch-journal", daemon=True)
                self._thread.start()
        self._wake.set()

    def flush(self) -> None:
        """Write what waits; raises as ``append``."""
        with self._writing:
            with self._lock:
                lines, self._waiting = self._waiting, []
                if self._error is not None:
                    raise self._error
            if lines:
                try:
                    self._write(b"".join(line + b"\n" for line in lines))
                except LadingError as error:
                    self._error = error
                    raise

    def close(self) -> None:
        """Write what waits, if that is possible, and end."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        # What was not recorded is done again by the next run; why it could not be was, or will be, said elsewhere.
        with contextlib.suppress(LadingError):
            self.flush()

    def _work(self) -> None:
        while not self._closed.is_set():
            self._wake.wait()
            self._wake.clear()
            self._closed.wait(FLUSH_SECONDS)
            if not self._closed.is_set():
                try:
                    self.flush()
                except LadingError:
                    return  # the next call says so

    def _write(self, content: bytes) -> None:
        if not self._next:
            self._next = len(self._numbers()) + 1
        self._check()
        try:
            self._objects.put(self._segment(self._next), content, generation=0)
        except Conflict as error:
            raise RunInProgress(
                f"{self._objects.uri}/{self._segment(self._next)} was written by another run meanwhile. Run again to "
                "go on when that one has ended"
            ) from error
        self._next += 1

    def _numbers(self) -> list[int]:
        names = self._objects.names(f"{self._name}/")
        numbers = sorted(int(text) for text in (name.rpartition("/")[2] for name in names) if text.isdigit())
        if numbers != list(range(1, len(numbers) + 1)):
            raise StorageError(
                f"{self._objects.uri}/{self._name} has {len(numbers)} segments, the last of which is {numbers[-1]}: "
                "some were removed. Begin anew with --restart"
            )
        return numbers

    def _segment(self, number: int) -> str:
        return f"{self._name}/{number:06d}"

    def _read(self, name: str) -> bytes:
        found = self._objects.read(name)
        return found[0] if found is not None else b""
