"""The runs of a service: those that wait for memory or for their output, those that work, and some that have ended."""

import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from lading.batch.model import OpenModel
from lading.batch.progress import Progress
from lading.batch.service.models import Lease, ModelRef, Models
from lading.batch.service.request import BatchRequest
from lading.batch.stop import Stop, Stopped
from lading.batches import BatchReport
from lading.errors import Conflict, LadingError, NotFound, Overloaded
from lading.serving.log import log

KEPT = 1000
"""So many runs are remembered after their end."""


class State(StrEnum):
    """Of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    """It has a verdict, and that is negative: too many bad rows, or a file that cannot be read to its end."""
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows it."""
        return self not in (State.QUEUED, State.RUNNING)


@dataclass(eq=False)
class Run:
    """A run and what became of it; its members are set by the thread that works on it, and read by others."""

    request: BatchRequest
    model: ModelRef
    bytes: int
    """Of memory, without the model."""
    key: str = ""
    """``Idempotency-Key`` of the request that made it."""
    context: dict[str, object] = field(default_factory=dict)
    """Of that request, for the log."""
    id: str = field(default_factory=lambda: f"batch-{uuid.uuid4().hex[:16]}")
    state: State = State.QUEUED
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None
    ended: datetime | None = None
    progress: Progress | None = None
    report: BatchReport | None = None
    error: BaseException | None = None
    """Why it failed."""
    is_open: bool = False
    """Whether its model is loaded."""
    is_cancelled: bool = False
    stop: Stop = field(default_factory=Stop)
    done: "Future[None]" = field(default_factory=Future)
    """Set at its end."""


Work = Callable[[Run, OpenModel], BatchReport]


class Runs:
    """Accepts runs, starts each when there is room, and remembers what became of them. Thread-safe.

    Runs start in the order in which they came, but for those whose output another run is writing.

    Args:
        models: Also has the memory of the runs.
        work: Does a run.
        max_runs: So many work at a time.
        max_queue: So many more may wait.

    Attributes:
        counts: Runs that ended, by their state.
        rows: Rows, and bad ones, that runs of this process had to do with.
    """

    def __init__(self, models: Models, work: Work, *, max_runs: int, max_queue: int) -> None:
        self.counts: Counter[State] = Counter()
        self.rows, self.bad_rows = 0, 0
        self._models, self._work = models, work
        self._max_runs, self._max_queue = max_runs, max_queue
        self._lock = threading.RLock()
        self._queue: list[Run] = []
        self._running: list[Run] = []
        self._ended: deque[Run] = deque(maxlen=KEPT)
        self._closed = False

    def check(self) -> None:
        """See that another run could be accepted.

        Raises:
            Overloaded: too many wait, or the service is about to end.
        """
        if self._closed:
            raise Overloaded("the service is stopping, and takes no more runs; ask again")
        if len(self._queue) >= self._max_queue:
            raise Overloaded(f"{len(self._queue)} runs are waiting already; try again later")

    def submit(self, run: Run) -> Run:
        """Accept a run; the one that is there already if it asks for the same.

        Raises:
            TooLarge: it would never fit into the memory.
            Overloaded: as ``check``.
            Conflict: another request had the same key.
        """
        self._models.check(run.model, run.bytes)
        with self._lock:
            known = self.known(run.request, run.key)
            if known is not None:
                return known
            self.check()
            self._queue.append(run)
        self._start()
        return run

    def known(self, request: BatchRequest, key: str) -> Run | None:
        """The run that a request asks for, if it was asked for before: by its key, or because it has not ended.

        Raises:
            Conflict: another request had the same key.
        """
        for run in self.all():
            if key and run.key == key:
                if run.request != request:
                    raise Conflict(f"the key {key!r} was used for another request: {run.id}", status=409)
                return run
            if not key and run.request == request and not run.state.is_final and not run.is_cancelled:
                return run
        return None

    def get(self, id: str) -> Run:
        """A run.

        Raises:
            NotFound: there is none, or it was forgotten.
        """
        found = next((run for run in self.all() if run.id == id), None)
        if found is None:
            raise NotFound(f"no run {id!r} here: the last {KEPT} that ended are remembered, until the service ends")
        return found

    def all(self) -> list[Run]:
        """Every run that is remembered, the newest first."""
        with self._lock:
            return sorted([*self._queue, *self._running, *self._ended], key=lambda run: run.created, reverse=True)

    def cancel(self, run: Run) -> None:
        """End a run at its next block, or before it began; nothing happens if it has ended."""
        with self._lock:
            if run.state.is_final:
                return
            run.is_cancelled = True
            run.stop.ask()
            waits = run in self._queue
        if waits:
            self._end(run, State.CANCELLED)
            self._start()

    def close(self) -> None:
        """Accept no more runs, forget those that wait, and end the others at their next block."""
        with self._lock:
            self._closed = True
            waiting = list(self._queue)
            for run in self._running:
                run.stop.ask()
        for run in waiting:
            self._end(run, State.FAILED, _leaving())

    def abandon(self, run: Run) -> None:
        """Answer for a run that does not end in time; nothing happens if it has ended."""
        if not run.state.is_final:
            self._end(run, State.FAILED, _leaving(Stopped("the run did not reach the end of a block in time")))

    @property
    def running(self) -> list[Run]:
        """The runs that work now."""
        with self._lock:
            return list(self._running)

    @property
    def queued(self) -> int:
        """How many runs wait."""
        return len(self._queue)

    def _start(self) -> None:
        """Start what there is room for."""
        while (started := self._next()) is not None:
            run, lease = started
            threading.Thread(target=self._run, args=(run, lease), name=run.id, daemon=True).start()

    def _next(self) -> tuple[Run, Lease] | None:
        with self._lock:
            if self._closed or len(self._running) >= self._max_runs:
                return None
            busy = {run.request.job.output.rstrip("/") for run in self._running}
            run = next((run for run in self._queue if run.request.job.output.rstrip("/") not in busy), None)
            lease = self._models.reserve(run.model, run.bytes) if run is not None else None
            if run is None or lease is None:
                return None
            self._queue.remove(run)
            self._running.append(run)
            run.state, run.started = State.RUNNING, datetime.now(UTC)
            return run, lease

    def _run(self, run: Run, lease: Lease) -> None:
        begun: dict[str, object] = {"model": run.request.model, "output": run.request.job.output, **run.context}
        log("batch run started", severity="INFO", batch=run.id, **begun)
        state = State.FAILED
        error: BaseException | None = None
        try:
            opened = lease.open()
            run.is_open = True
            if run.stop.asked:
                raise Stopped("the run was ended before it began")
            run.report = self._work(run, opened)
            state = State.SUCCEEDED if run.report.passed else State.REJECTED
        except Stopped as stopped:
            state, error = (State.CANCELLED, None) if run.is_cancelled else (State.FAILED, _leaving(stopped))
        except BaseException as caught:
            error = caught
        finally:
            lease.close()
            self._end(run, state, error)
            self._start()

    def _end(self, run: Run, state: State, error: BaseException | None = None) -> None:
        with self._lock:
            for runs in (self._queue, self._running):
                if run in runs:
                    runs.remove(run)
            if run.state.is_final:
                return
            run.error, run.ended = error, datetime.now(UTC)
            run.state = state
            self.counts[state] += 1
            self._ended.append(run)
        _log_end(run)
        run.done.set_result(None)

    def told(self, run: Run, progress: Progress) -> None:
        """Take the progress of a run."""
        before = run.progress
        run.progress = progress
        with self._lock:
            self.rows += max(0, progress.rows - (before.rows if before else 0))
            self.bad_rows += max(0, progress.bad_rows - (before.bad_rows if before else 0))


def message(error: BaseException) -> str:
    """What a caller is told about a failure."""
    return str(error) if isinstance(error, LadingError) else "internal error; the service's log says more"


def _leaving(stopped: Stopped | None = None) -> Overloaded:
    what = str(stopped) if stopped else "the run had not begun"
    return Overloaded(f"the service ended: {what}. Ask again: what was done is not done again")


def _log_end(run: Run) -> None:
    fields: dict[str, object] = {"batch": run.id, "state": run.state.value, "output": run.request.job.output}
    if run.report is not None:
        report = run.report
        fields |= {"rows": report.rows, "bad_rows": report.bad_rows, "files": report.files, "model": report.model}
        fields |= {"seconds": round(report.seconds, 3), "rows_per_second": round(report.rows_per_second, 1)}
        fields |= {"errors": report.errors, "reasons": dict(list(report.reasons.items())[:5])}
    if run.error is not None:
        fields["error"] = str(run.error) if isinstance(run.error, LadingError) else repr(run.error)
    severity = "ERROR" if run.state is State.FAILED else "WARNING" if run.state is State.REJECTED else "INFO"
    log("batch run ended", severity=severity, **fields, **run.context)
