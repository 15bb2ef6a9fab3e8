"""People who ask a service while it is promoted and rolled back."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from knative_place import KnativePlace
from kubernetes_place import KubernetesPlace
from local_place import LocalPlace
from places import RIGHT, Place, Releases

from lading.errors import LadingError, ServiceUnreachable
from lading.promote import promote_candidate
from lading.releases import Candidate
from lading.wait import Deadline

RATE = 200.0
"""Requests a second, if the machine can."""
THREADS = 4

PLACES: dict[str, Callable[[Path], Place]] = {
    "local": LocalPlace,
    "knative": KnativePlace,
    "kubernetes": KubernetesPlace,
    "kubernetes with a Gateway": lambda root: KubernetesPlace(root, gateway=True),
}
"""The targets whose fakes run real servers."""


class Load:
    """What people who ask a service got: how many answers, and every error.

    ``patient``: who meets a connection that is refused or reset asks once more, a second later.
    """

    def __init__(self, at: Releases, candidate: Candidate, *, patient: bool = False) -> None:
        self.errors: list[str] = []
        self.answers = self.asked_again = 0
        self._patient = patient
        self._at, self._candidate = at, candidate
        self._lock = threading.Lock()

    @contextmanager
    def on(self) -> Iterator["Load"]:
        ended = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(ended,)) for _ in range(THREADS)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            self.seconds = time.monotonic() - began

    def _ask(self, ended: threading.Event) -> None:
        candidate = self._candidate
        door = self._at.target.door(candidate.service, None, url=candidate.service_url, model=candidate.model)
        due = time.monotonic()

        def ask() -> LadingError | None:
            try:
                door.predict({"instances": [[1.0]]}, deadline=Deadline.after(30))
            except LadingError as failure:
                return failure
            return None

        while not ended.is_set():
            due = max(due + THREADS / RATE, time.monotonic() - 1)
            failure = ask()
            again = self._patient and isinstance(failure, ServiceUnreachable)
            if again:
                time.sleep(1)
                failure = ask()
            error = f"{time.monotonic():.2f}: {failure}" if failure else ""
            with self._lock:
                self.answers += not error
                self.asked_again += again
                self.errors += [error] if error else []
            time.sleep(max(0.0, due - time.monotonic()))


def moves(at: Releases, rounds: int) -> Load:
    """So many promotions in steps, each followed by a rollback."""
    first, images = at.release(at.image(), "r"), (at.image(RIGHT, "even"), at.image(RIGHT, "odd"))
    load = Load(at, first)
    with load.on():
        for number in range(rounds):
            candidate = at.deploy(images[number % 2], f"r{number}")
            report = at.smoke(candidate)
            assert report.passed, report.checks
            done = promote_candidate(candidate, report, target=at.target, steps=(25, 100), deadline=at.deadline)
            assert [line.revision for line in done.after] == [candidate.revision]
            assert [line.revision for line in at.rollback().after] == [first.revision]
    return load
