"""Decides which requests are answered on the event loop itself, and which by a thread.

Handing a prediction to a thread and back costs more than a small model computes (``benchmarks/request_parts.py``). A
long one on the event loop would hold up every other request, health included; and leave all processors but one idle.
"""

from collections import defaultdict
from typing import Protocol

from lading.predict.cpus import available_cpus
from lading.serving.routes import LONG_PATH

QUICK_SECONDS = 0.0005
"""A prediction below this is not worth a thread."""
QUICK_SECONDS_ALONE = 0.002
"""The same on a single processor, where threads do not compute side by side."""
READ_SECONDS_PER_BYTE = 5e-9
"""What reading JSON takes about. Not counted: only one thread at a time can, so that others would not help."""
SLOW_SECONDS = 0.05
"""A prediction beyond this holds up others: the model has to prove itself anew, and for longer."""
TRIALS = 16
"""So many more quick predictions than others make a model quick."""
GRACE = 4
"""So many slower ones are let pass at first: others may have used the processor."""
RETRIAL = 100
"""So many after it was quick for some time, but not on the event loop: a thread may not have seen what TensorFlow's own
threads computed for it."""
PROBATION = 1000
"""So many after a slow one."""
TOGETHER_SECONDS = 0.01
"""A thread takes as many requests at once as it can answer in this time …"""
MOST_TOGETHER = 4
"""… but no more than this."""
MOST_PATHS = 1000
"""There are few, but each has any number of spellings: version 1 is 01, too."""
MOST_BYTES = 256 * 1024
"""Longer bodies always go to a thread."""


class Changing(Protocol):
    """What serves other models from time to time."""

    generation: int


class Pace:
    """How long the predictions below each path took.

    Threads share it without a lock: what a race costs is one prediction more that waits for a thread.

    Args:
        models: Their ``generation`` changes when other models are served, which have to prove themselves anew.
    """

    def __init__(self, models: Changing) -> None:
        self._credit: defaultdict[str, int] = defaultdict(int)
        self._seconds: dict[str, float] = {}
        self._quick_seconds = QUICK_SECONDS if available_cpus() > 1 else QUICK_SECONDS_ALONE
        self._models = models
        self._known = models.generation

    def is_quick(self, path: str, size: int) -> bool:
        """Whether a request for ``path`` with a body of ``size`` bytes may be answered on the event loop."""
        if self._known != self._models.generation:
            self._known = self._models.generation
            self._clear()
        return size <= MOST_BYTES and self._credit.get(path, 0) >= TRIALS

    def most_together(self, path: str) -> int:
        """How many requests for ``path`` a thread may answer at once; 1 as long as nothing is known of it."""
        seconds = self._seconds.get(path, TOGETHER_SECONDS)
        return max(1, int(TOGETHER_SECONDS / max(seconds, TOGETHER_SECONDS / MOST_TOGETHER)))

    def record(self, path: str, seconds: float, size: int = 0) -> None:
        """Remember how long an answer took to make, by a ``Stopwatch``, to a request with a body of so many bytes.

        Only for paths that name a model.
        """
        if len(path) > LONG_PATH:
            return
        if len(self._credit) >= MOST_PATHS and path not in self._credit:
            self._clear()
        credit = self._credit[path]
        self._seconds[path] = seconds
        seconds -= size * READ_SECONDS_PER_BYTE
        if seconds < self._quick_seconds:
            # A model that is quick stays so for a few slower predictions: other threads may have been busy.
            self._credit[path] = TRIALS + GRACE if credit + 1 == TRIALS else min(credit + 1, 2 * TRIALS)
        elif seconds >= SLOW_SECONDS:
            self._credit[path] = -PROBATION
        elif credit == TRIALS:
            self._credit[path] = -RETRIAL
        else:
            self._credit[path] = max(credit - 1, min(credit, 0))

    def _clear(self) -> None:
        self._credit.clear()
        self._seconds.clear()
