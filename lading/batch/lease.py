"""A claim on a prefix of a bucket: an object that its owner renews.

Who finds one watches it for as long as it lasts. If it is renewed meanwhile, its owner is alive; if not, it is taken
over. No clocks of two machines are compared. Source: the leader election of Kubernetes
(k8s.io/client-go/tools/leaderelection).
"""

import json
import threading
import time
import uuid
from typing import Any

from lading.batch.objects import Objects
from lading.errors import Conflict, LadingError, RunInProgress, StorageError
from lading.wait import Deadline

LEASE_SECONDS = 30.0
_RENEWALS, _LOOKS = 3, 10
"""So often in the time that a lease lasts."""


class Lease:
    """An object that says who is at work, for ``seconds`` from its last renewal on."""

    def __init__(self, objects: Objects, name: str, *, seconds: float = LEASE_SECONDS) -> None:
        self._patient, self._objects = objects, objects.with_patience(seconds / _RENEWALS)
        self._name, self._seconds = name, seconds
        self._place = objects.uri
        self._about: dict[str, Any] = {}
        self._generation = 0
        self._renewed = 0.0
        self._lost: RunInProgress | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Whether it was taken and not released."""
        return self._thread is not None

    def take(self, owner: str) -> None:
        """Take the lease; if another run has it, or had it when it was killed, this takes as long as a lease lasts.

        Raises:
            RunInProgress: another run is at work.
            NotFound, AccessDenied, StorageError: the bucket cannot be used.
        """
        self._about = {"owner": owner, "seconds": self._seconds, "run": uuid.uuid4().hex}
        generation = 0
        while not self._write(generation, self._patient):
            generation = self._watch()
        self._ended.clear()
        self._thread = threading.Thread(target=self._keep, name="batch-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """See that the lease still holds; where it may have run out, it is renewed now.

        Raises:
            RunInProgress: another run has taken it over.
            StorageError: it cannot be renewed.
        """
        if not self.held:
            raise RunInProgress(f"the claim on {self._place} was given back")
        if self._lost is None and _now() - self._renewed > self._seconds:
            self._renew()
        if self._lost is not None:
            raise self._lost

    def release(self) -> None:
        """Give it back. If that fails, it runs out."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        if self._lost is None:
            try:
                self._objects.remove(self._name, generation=self._generation)
            except (Conflict, StorageError):
                return

    def _write(self, generation: int, objects: Objects) -> bool:
        """Take, or renew, the lease that has this generation; False if it has another one.

        Renewing has to succeed before the lease runs out. Taking has time: what ran out meanwhile is seen by ``check``.
        """
        before = _now()
        content = json.dumps(self._about).encode()
        try:
            self._generation = objects.put(self._name, content, generation=generation)
        except Conflict:
            return False
        # From before it was written: another run may see it at once.
        self._renewed = before
        return True

    def _watch(self) -> int:
        """The generation of a lease that ran out; 0 if there is none any more."""
        first = self._patient.read(self._name)
        if first is None:
            return 0
        about, generation = _about(first[0]), first[1]
        seconds = max(self._seconds, float(about.get("seconds", 0)))
        deadline = Deadline.after(seconds)
        while not deadline.passed:
            deadline.sleep(seconds / _LOOKS)
            now = self._objects.generation(self._name)
            if now == 0:
                return 0
            if now != generation:
                raise RunInProgress(
                    f"another run is at work on {self._place}: process {about.get('owner', 'unknown')}. Wait for it, "
                    "end it, or choose another output"
                )
        return generation

    def _keep(self) -> None:
        while not self._ended.wait(self._seconds / _RENEWALS):
            try:
                self._renew()
            except LadingError:
                # The next one may succeed; ``check`` says so when none has for too long.
                continue

    def _renew(self) -> None:
        with self._lock:
            if self._lost is None and not self._write(self._generation, self._objects):
                self._lost = RunInProgress(
                    f"the claim on {self._place} was lost: another run took it over, as this one did not renew it for "
                    f"{self._seconds:g} seconds (was it suspended?). What it did is not lost"
                )


def _about(content: bytes) -> dict[str, Any]:
    try:
        about = json.loads(content)
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _now() -> float:
    """Seconds, those included in which the machine was asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
