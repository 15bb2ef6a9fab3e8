"""The local target while parts of it are killed, and rollouts that go on all the same."""

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count

from local_place import LocalPlace
from places import RIGHT, WRONG, Releases
from under_load import Load

from lading.errors import LadingError
from lading.local.locks import holder
from lading.local.state import Layout
from lading.targets.base import Phase
from lading.wait import Deadline, poll

PARTS = ("revision", "server", "revision", "supervisor")
PAUSE_SECONDS = 4.0
"""Who asks once more after a second asks in vain if the target is killed again in that second."""


class Killer:
    """Kills a part of a local target with SIGKILL every few seconds, as a seed says; ``killed`` counts them."""

    def __init__(self, place: LocalPlace, *, seed: int, pause_seconds: float = PAUSE_SECONDS) -> None:
        self.killed: Counter[str] = Counter()
        self._layout, self._random, self._pause = Layout(place.state), random.Random(seed), pause_seconds

    @contextmanager
    def on(self) -> Iterator["Killer"]:
        ended = threading.Event()
        thread = threading.Thread(target=self._run, args=(ended,))
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()

    def _run(self, ended: threading.Event) -> None:
        turn = 0
        while not ended.wait(self._pause * self._random.uniform(0.75, 1.25)):
            part = PARTS[turn % len(PARTS)]
            if pid := self._pid(part):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed[part] += 1
            turn += 1

    def _pid(self, part: str) -> int | None:
        if part == "server":
            return holder(self._layout.server_lock)
        if part == "supervisor":
            return holder(self._layout.supervisor_lock)
        with suppress(OSError, ValueError):  # a record that has just gone
            records = sorted(self._layout.processes.glob("*.json"))
            found: int = json.loads(self._random.choice(records).read_text())["pid"] if records else 0
            return found
        return None


def moves_under_kills(at: Releases, killer: Killer, rounds: int) -> Load:
    """At least so many promotions, each followed by a rollback and by a rollout of a model that answers wrongly.

    What a kill spoils is undone, and begun again. It goes on until every part was killed once.
    """
    first, images = at.release(at.image(), "r"), (at.image(RIGHT, "even"), at.image(RIGHT, "odd"))
    load = Load(at, first, patient=True)
    with load.on(), killer.on():
        for number in count():
            if number >= rounds and killer.killed.keys() >= set(PARTS):
                break
            while not _rollout(at, images[number % 2], f"good-{number}-{time.monotonic()}"):
                assert first.revision in at.traffic
            assert first.revision not in at.traffic
            _settled(at)
            at.rollback(first.revision)
            assert not _rollout(at, at.image(WRONG, "bad"), f"bad-{number}-{time.monotonic()}")
            assert at.traffic == {first.revision: 100}
    return load


def _rollout(at: Releases, image: tuple[str, str], release: str) -> bool:
    """Whether the image is promoted; if not, what served before serves."""
    before = at.traffic
    try:
        return at.roll_out(image, release).passed
    except LadingError:
        _settled(at)
        last = at.state.rollout
        done = last is not None and (last.id, last.phase) == (release, Phase.PROMOTED)
        assert done or at.traffic == before
        return done


def _settled(at: Releases) -> None:
    """Undo what a rollout could not undo itself, as whoever comes next does."""

    def settle() -> bool | None:
        with suppress(LadingError):
            at.settle()
            return True
        return None

    poll(settle, deadline=Deadline.after(60), what="the release to be settled")
