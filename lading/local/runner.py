"""Keeps the process of one revision running while it is wanted: starts, probes, restarts, drains, ends it.

::

    STOPPED ──want──► STARTING ──ready──► READY ──dies──► RESTARTING ──ready──► READY
       ▲                 │ (never ready)     │                 └─ again and again ─► FAILING (keeps trying)
       └──── FAILED ◄────┘                   └── not wanted: drained, ended ──► STOPPED
"""

import logging
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from lading.errors import DeadlineExceeded, LadingError, RevisionFailed
from lading.local import logs, ports, process
from lading.local.images import Host, prepare
from lading.local.objects import PROGRESS_DEADLINE, Object, key_of, parse_duration, service_key
from lading.local.probe import probe_path, ready
from lading.wait import Deadline

_LOG = logging.getLogger(__name__)

DRAIN_SECONDS = 30.0
"""How long requests may take to end before a process that is no longer wanted gets SIGTERM."""
PROGRESS_SECONDS = 60
"""How long a revision may take to become ready, when its annotation says nothing."""
_TICK_SECONDS = 0.1
_STEADY_SECONDS = 10.0  # a process that lived this long begins with no failures counted
_FAILING_AFTER = 3
_LONGEST_PAUSE_SECONDS = 30.0


class State(StrEnum):
    """Where a revision's process stands."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILING = "failing"
    FAILED = "failed"


class Backends(Protocol):
    """What a runner tells the router."""

    def up(self, name: str, port: int) -> None:
        """The revision answers at this port."""

    def down(self, name: str, failure: str = "") -> None:
        """The revision does not answer: requests wait, or fail with ``failure`` when it is given."""

    def in_flight(self, name: str) -> int:
        """Requests that the revision is answering, or will be as soon as it can."""


class Runner:
    """The process of one revision, in a thread of its own. Methods may be called from any thread.

    Args:
        revision: The revision object.
        host: This machine.
        backends: Is told where the process answers.
        changed: Called after every change of state.
    """

    def __init__(
        self,
        revision: Object,
        *,
        host: Host,
        backends: Backends,
        changed: Callable[[], None],
    ) -> None:
        metadata = revision["metadata"]
        self.uid: str = metadata["uid"]
        self.key, self.service = key_of(revision), service_key(revision)
        self.image: str = revision["spec"]["containers"][0]["image"]
        self._revision, self._host = revision, host
        self._backends, self._changed = backends, changed
        self._container: Object = revision["spec"]["containers"][0]
        progress = metadata.get("annotations", {}).get(PROGRESS_DEADLINE, "")
        self._progress_seconds = parse_duration(progress) or PROGRESS_SECONDS
        self._log = host.layout.log(metadata["namespace"], metadata["name"])
        self._record = host.layout.processes / f"{self.uid}.json"
        self.state, self.message, self.restarts = State.STOPPED, "", 0
        self._wanted = self._keep = self._over = self._proven = False
        self._drain_seconds = DRAIN_SECONDS
        self._failures = 0
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._main, name=f"runner {key_of(revision)}", daemon=True)
        self._thread.start()

    def want(self, *, keep: bool) -> None:
        """Have the process run.

        Args:
            keep: It serves already, so keep trying however often it fails; else the first failure is final.
        """
        self._tell(wanted=True, keep=keep)

    def unwant(self) -> None:
        """Let the process end, after the requests that it is answering."""
        self._tell(wanted=False, keep=False)

    def retry(self) -> None:
        """Try a failed revision once more when it is wanted."""
        with self._wake:
            if self.state is State.FAILED:
                self.state, self.message, self._failures = State.STOPPED, "", 0
                self._wake.notify_all()

    def finish(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """End the process and the thread; ``join`` waits for it."""
        with self._wake:
            self._over, self._wanted, self._drain_seconds = True, False, drain_seconds
            self._wake.notify_all()

    @property
    def over(self) -> bool:
        """Whether the process has ended for good."""
        return not self._thread.is_alive()

    def join(self, deadline: Deadline) -> None:
        """Wait until the thread has ended."""
        self._thread.join(deadline.remaining())

    def _tell(self, *, wanted: bool, keep: bool) -> None:
        with self._wake:
            if not self._over and (wanted, keep) != (self._wanted, self._keep):
                self._wanted, self._keep = wanted, keep
                self._wake.notify_all()

    def _main(self) -> None:
        running = process.adopt(self._record)
        while self._await_work(running):
            if not self._wanted:  # adopted, and of no more use
                self._end(running)
                running = None
                continue
            try:
                running = self._bring_up(running)
            except LadingError as error:
                self._failed(str(error))
            except Exception as error:
                _LOG.exception("revision %s", key_of(self._revision))
                self._failed(f"it could not be run: {error!r}")
            else:
                running = self._watch(running) if running else None
                continue
            running = None
        self._end(running)

    def _await_work(self, running: process.Process | None) -> bool:
        """Wait until there is something to do; False when the runner is over."""
        with self._wake:
            while not self._over and not (self._wanted and self.state is not State.FAILED) and not running:
                self._wake.wait()
            if running and not self._wanted and not self._over:
                self._wake.wait(_TICK_SECONDS * 20)  # the controller has not yet said whether it wants what it adopts
            return not self._over

    def _bring_up(self, running: process.Process | None) -> process.Process | None:
        """Start the process unless it runs, and wait until it is ready; None when it is no longer wanted."""
        if self.state is State.STOPPED:
            self._set(State.STARTING)
        running = running or self._start()
        deadline = Deadline.after(self._progress_seconds)
        try:
            while not ready(running.port, probe_path(self._container)):
                if not running.alive():
                    raise RevisionFailed(f"{running.ending()} before it was ready{self._last_words()}")
                if deadline.passed:
                    raise DeadlineExceeded(f"it was not ready after {self._progress_seconds} s{self._last_words()}")
                if not self._pause(min(_TICK_SECONDS / 4, deadline.remaining())):
                    self._end(running)
                    return None
        except BaseException:
            running.end()
            raise
        self._proven = True
        self._backends.up(self.uid, running.port)
        self._set(State.READY)
        return running

    def _start(self) -> process.Process:
        service = self.service.name
        own = {"PORT": str(ports.pick()), "K_SERVICE": service, "K_CONFIGURATION": service, "K_REVISION": self.key.name}
        launch = prepare(self._host, self._container, id=self.uid, own=own)
        return process.start(launch, port=int(own["PORT"]), log=self._log, record=self._record)

    def _watch(self, running: process.Process) -> process.Process | None:
        """Return when the process died, or was ended because it is no longer wanted."""
        since = time.monotonic()
        ticks = 0
        while running.alive():
            if not self._pause(_TICK_SECONDS) and self._drained() and self._give_up():
                self._end(running)
                return None
            ticks += 1
            if ticks % 10 == 0:
                logs.bound(self._log)
            if self._failures and time.monotonic() - since > _STEADY_SECONDS:
                self._failures = 0
        self._backends.down(self.uid)
        if time.monotonic() - since > _STEADY_SECONDS:
            self._failures = 0
        message = f"{running.ending()}{self._last_words()}"
        running.end()  # whatever of its group is left
        self.restarts += 1
        self._failed(message)
        return None

    def _failed(self, message: str) -> None:
        """Count a failure, and wait before the next try if there is to be one."""
        _LOG.warning("revision %s: %s", key_of(self._revision), message)
        self._failures += 1
        if not (self._keep or self._proven):  # what was ready once is worth trying again
            self._backends.down(self.uid, message)
            self._set(State.FAILED, message)
            return
        failing = self._failures >= _FAILING_AFTER
        self._backends.down(self.uid, message if failing else "")
        self._set(State.FAILING if failing else State.RESTARTING, message)
        pause = 0.0 if self._failures == 1 else min(0.25 * 2**self._failures, _LONGEST_PAUSE_SECONDS)
        if not self._pause(pause):
            self._set(State.STOPPED)

    def _pause(self, seconds: float) -> bool:
        """Wait, but not longer than the process is wanted; whether it still is."""
        with self._wake:
            if self._wanted:
                self._wake.wait_for(lambda: not self._wanted, timeout=seconds)
            return self._wanted

    def _drained(self) -> bool:
        """Wait for the requests in flight; False when the process is wanted again before they ended."""
        deadline = Deadline.after(self._drain_seconds)
        while self._backends.in_flight(self.uid) and not deadline.passed:
            with self._wake:
                if self._wake.wait_for(lambda: self._wanted, timeout=0.05):
                    return False
                if self._over:
                    deadline = min(deadline, Deadline.after(self._drain_seconds), key=lambda d: d.at)
        return True

    def _give_up(self) -> bool:
        """Leave the state READY, unless the process is wanted again: one that is ending must not count as ready."""
        with self._wake:
            if not self._wanted:
                self.state = State.STOPPED
            return not self._wanted

    def _end(self, running: process.Process | None) -> None:
        self._backends.down(self.uid)
        if running:
            running.end()
        self._set(State.STOPPED)

    def _last_words(self) -> str:
        """The end of the log, for an error message."""
        lines = [line for line in logs.tail(self._log, lines=8) if line.strip()]
        return f"; its log ends: {' | '.join(lines)}" if lines else "; it wrote no log"

    def _set(self, state: State, message: str = "") -> None:
        with self._wake:
            changed = (state, message) != (self.state, self.message)
            self.state, self.message = state, message
        if changed:
            self._changed()
