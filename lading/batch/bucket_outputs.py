"""The output directory of a run in a bucket."""

import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

from lading import buckets
from lading.batch.lease import LEASE_SECONDS, Lease
from lading.batch.objects import MOST_SOURCES, Objects
from lading.batch.plan import NOTES
from lading.batch.segments import SegmentJournal
from lading.errors import Conflict, RunInProgress

_SCRATCH = f"{NOTES}/scratch/"


class BucketOutputs:
    """See ``lading.batch.files.Outputs``.

    Every write has the generation that was there before as its precondition, read before it is seen that the claim
    holds: what a suspended run began to write fails when another one has written there meanwhile.
    """

    def __init__(
        self,
        uri: str,
        *,
        patience_seconds: float = buckets.PATIENCE_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._objects = Objects(uri, patience_seconds=patience_seconds)
        self.uri = self._objects.uri
        self._lease = Lease(self._objects, f"{NOTES}/lock.json", seconds=lease_seconds)
        self._journals: dict[str, SegmentJournal] = {}
        self._lock = threading.Lock()
        """Held for the dictionary."""
        self._kept = ExitStack()

    def claim(self, owner: str) -> None:
        """See ``Outputs``; waits for as long as a lease lasts if there is one."""
        with ExitStack() as entered:
            entered.enter_context(buckets.kept())
            self._lease.take(owner)
            entered.callback(self._lease.release)
            self._objects.each(self._objects.remove, self._objects.names(_SCRATCH))
            self._kept = entered.pop_all()

    def check(self) -> None:
        """See ``Outputs``."""
        self._lease.check()

    def release(self) -> None:
        """See ``Outputs``."""
        with self._kept, self._lock:
            for journal in self._journals.values():
                journal.close()
            self._journals.clear()

    def read(self, name: str) -> bytes | None:
        """See ``Outputs``."""
        found = self._objects.read(name)
        return found[0] if found is not None else None

    def write(self, name: str, content: bytes | Iterable[bytes]) -> None:
        """See ``Outputs``."""
        pieces = [content] if isinstance(content, bytes) else content
        generation = self._before(name)
        try:
            self._objects.put_pieces(name, pieces, generation=generation)
        except Conflict as error:
            self._see_conflict(name, error)

    def concatenate(self, names: Sequence[str], to: str) -> None:
        """See ``Outputs``; more than 32 objects are joined in a scratch object first, 31 at a time."""
        scratch, generation, rest = f"{_SCRATCH}{uuid.uuid4().hex}", 0, list(names)
        if not rest:
            return self.write(to, b"")
        last = self._before(to)
        try:
            while len(rest) > MOST_SOURCES:
                generation = self._objects.compose(rest[:MOST_SOURCES], scratch, generation=generation)
                rest = [scratch, *rest[MOST_SOURCES:]]
            self._objects.compose(rest, to, generation=last)
        except Conflict as error:
            self._see_conflict(to, error)
        finally:
            if generation:
                self._objects.remove(scratch)
        return None

    def stream(self, name: str) -> Iterator[bytes]:
        """See ``Outputs``."""
        return self._objects.stream(name)

    def names(self, directory: str) -> list[str]:
        """See ``Outputs``."""
        return self._objects.names(f"{directory}/" if directory else "")

    def remove(self, names: Sequence[str]) -> None:
        """See ``Outputs``; what was recorded before is made durable first: it may say why the files can go."""
        self.flush()
        with self._lock:
            for name in [name for name in self._journals if any(gone.startswith(f"{name}/") for gone in names)]:
                self._journals.pop(name).close()
        if self._lease.held:
            self._lease.check()
        self._objects.each(self._objects.remove, names)

    def append(self, name: str, line: bytes) -> None:
        """See ``Outputs``."""
        self._journal(name).append(line)

    def flush(self) -> None:
        """See ``Outputs``."""
        with self._lock:
            journals = list(self._journals.values())
        for journal in journals:
            journal.flush()

    def lines(self, name: str) -> list[bytes]:
        """See ``Outputs``."""
        return self._journal(name).lines()

    def _journal(self, name: str) -> SegmentJournal:
        with self._lock:
            if name not in self._journals:
                self._journals[name] = SegmentJournal(self._objects, name, check=self._lease.check)
            return self._journals[name]

    def _before(self, name: str) -> int:
        """The generation that a write replaces."""
        generation = self._objects.generation(name)
        if self._lease.held:
            self._lease.check()
        return generation

    def _see_conflict(self, name: str, error: Conflict) -> None:
        """Refuse that another run wrote in between.

        Without a claim, as among the workers of one run, it is as if this write had been just before the other one.
        """
        if self._lease.held:
            raise RunInProgress(
                f"{self.uri}/{name} was written by another run meanwhile. Run again to go on when that one has ended"
            ) from error
