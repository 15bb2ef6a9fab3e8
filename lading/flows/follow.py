"""Follows a run on a backend to its end, through lost connections, with at most one request a second."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from lading.backends.base import ENDED, Backend, RunView, StepView
from lading.errors import AccessDenied, DeadlineExceeded, LadingError, QuotaExceeded, RemoteError, ServiceUnreachable
from lading.flows.ending import last_error, outcome_of
from lading.run_report import StepRecord
from lading.wait import Deadline

SECONDS_BETWEEN_REQUESTS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
PATIENCE_SECONDS = 600.0
"""For how long a backend that does not answer is asked again."""

_REQUEST_SECONDS = 30.0
_LOG_LINES = 20

R = TypeVar("R")


@dataclass(frozen=True)
class Followed:
    """A run that has ended, as a team wants to hear of it."""

    outcome: str
    """``promoted``, ``succeeded``, ``rejected``, ``failed`` or ``cancelled``."""
    problem: str
    steps: tuple[StepRecord, ...]
    log: tuple[str, ...] = ()
    """The last lines of the step that failed."""


@dataclass
class Follower:
    """Asks a backend about one run.

    Args:
        backend: Where it runs.
        run_id: Which it is.
        watch: Called with each change, in the form of ``lading.flows.run.execute``, and with ``{"event": "lost"}`` and
            ``{"event": "back"}`` when the backend stops and starts to answer.
        patience_seconds: For how long a backend that does not answer is asked again.
    """

    backend: Backend
    run_id: str
    watch: Callable[[dict[str, Any]], None]
    patience_seconds: float = PATIENCE_SECONDS
    _last_request: float = field(default=-SECONDS_BETWEEN_REQUESTS, init=False)
    _seen: dict[str, StepView] = field(default_factory=dict, init=False)

    def follow(self, deadline: Deadline) -> Followed:
        """Wait for the end of the run.

        Raises:
            DeadlineExceeded: the run has not ended in time; it goes on.
            ServiceUnreachable: the backend did not answer for as long as ``patience_seconds``; the run may go on.
            AccessDenied: the credentials have expired or do not suffice; the run goes on.
            NotFound: there is no such run (any more).
        """
        begin = time.monotonic()
        while True:
            view = self._patiently(lambda limit: self.backend.read(self.run_id, deadline=limit), deadline)
            self._report(view)
            if view.state in ENDED:
                return self._conclude(view, deadline)
            if deadline.passed:
                raise DeadlineExceeded(f"run {self.run_id} has not ended in the time that was given; it goes on")
            pause = max(SECONDS_BETWEEN_REQUESTS, (time.monotonic() - begin) / 30)
            deadline.sleep(min(pause, LONGEST_PAUSE_SECONDS))

    def _patiently(self, ask: Callable[[Deadline], R], deadline: Deadline) -> R:
        """Ask, and again when the backend does not answer; at most one request a second."""
        patience, pause, lost = Deadline.after(self.patience_seconds), SECONDS_BETWEEN_REQUESTS, False
        while True:
            wait = self._last_request + SECONDS_BETWEEN_REQUESTS - time.monotonic()
            time.sleep(max(0.0, wait))
            self._last_request = time.monotonic()
            try:
                answer = ask(Deadline.after(_REQUEST_SECONDS))
            except (ServiceUnreachable, DeadlineExceeded, RemoteError) as error:
                if not _passes(error):
                    raise
                if patience.passed or deadline.passed:
                    raise ServiceUnreachable(
                        f"the backend has not answered for {self.patience_seconds:.0f} s; run {self.run_id} may go on. "
                        f"The last problem: {error}"
                    ) from error
                if not lost:
                    lost = True
                    self.watch({"event": "lost", "problem": str(error)})
                patience.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                if lost:
                    self.watch({"event": "back"})
                return answer

    def _report(self, view: RunView) -> None:
        for step in _distinct(view.steps):
            before = self._seen.get(step.name)
            self._seen[step.name] = step
            if before is None or before.status != step.status:
                for event in _events(before, step):
                    self.watch(event)
        self.watch({"event": "tick"})

    def _conclude(self, view: RunView, deadline: Deadline) -> Followed:
        steps = tuple(_record(step) for step in self._seen.values() if step.status != "pending")
        if view.state == "cancelled":
            words = (
                "cancelled, so the pipeline's own exit handler did not run: a release that it left open is undone by"
            )
            problem = f"{words} `lading settle --service NAME --target TARGET`, or by the next release"
            return Followed("cancelled", problem, steps)
        outcome = outcome_of(steps, succeeded=view.state == "succeeded")
        if outcome not in ("rejected", "failed"):
            return Followed(outcome, "", steps)
        failed = [step for step in self._seen.values() if step.status == "failed"]
        if outcome == "rejected":
            failed = [step for step in failed if step.name.startswith("reject")]
        if not failed:
            return Followed(outcome, view.problem or "the backend does not say why", steps)
        log, problem = self._log_of(failed[0], deadline)
        if not problem:
            problem = last_error(log) if log else failed[0].problem or view.problem or "the backend does not say why"
        return Followed(outcome, problem if outcome == "rejected" else f"step {failed[0].name}: {problem}", steps, log)

    def _log_of(self, step: StepView, deadline: Deadline) -> tuple[tuple[str, ...], str]:
        """The end of a step's log; what went wrong, when it cannot be read."""
        if not step.log_key:
            return (), ""
        try:
            lines = self._patiently(
                lambda limit: self.backend.logs(self.run_id, step, lines=_LOG_LINES, deadline=limit), deadline
            )
        except LadingError as error:
            return (), f"{step.problem or 'failed'} (its log could not be read: {error})"
        while lines and not lines[-1].strip():
            lines.pop()
        return tuple(lines), ""


def _passes(error: LadingError) -> bool:
    """Whether the same request may be answered in a while."""
    if isinstance(error, AccessDenied):
        return False
    if isinstance(error, QuotaExceeded | ServiceUnreachable | DeadlineExceeded):
        return True
    return isinstance(error, RemoteError) and error.status >= 500


def _distinct(steps: tuple[StepView, ...]) -> Iterator[StepView]:
    """Steps with a name of their own: a loop runs the same task more than once."""
    count: Counter[str] = Counter()
    for step in steps:
        count[step.name] += 1
        yield step if count[step.name] == 1 else replace(step, name=f"{step.name} ({count[step.name]})")


def _events(before: StepView | None, step: StepView) -> Iterator[dict[str, Any]]:
    started, now = step.started or time.time(), time.time()
    if step.status == "running" or (step.status in ("succeeded", "failed") and not (before and before.started)):
        yield {"event": "started", "step": step.name, "at": started}
    if step.status in ("succeeded", "failed"):
        yield {"event": "ended", "step": step.name, "ok": step.status == "succeeded", "at": step.ended or now}
    elif step.status in ("skipped", "cancelled"):
        yield {"event": step.status, "step": step.name, "at": step.ended or now}


def _record(step: StepView) -> StepRecord:
    seconds = (step.ended or time.time()) - step.started if step.started else 0.0
    return StepRecord(step.name, step.status, round(max(0.0, seconds), 3), step.problem[:200])
