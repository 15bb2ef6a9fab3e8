"""Decides which requests are answered on the event loop itself, and which by a thread.

Handing a prediction to a thread and back costs more than a small model computes (``benchmarks/request_parts.py``). A
long one on the event loop would hold up every other request, health included.
"""

from collections import defaultdict
from typing import Protocol

from lading.serving.routes import LONG_PATH

QUICK_SECONDS = 0.002
"""A prediction below this is not worth a thread."""
SLOW_SECONDS = 0.05
"""A prediction beyond this holds up others: the model has to prove itself anew, and for longer."""
TRIALS = 16
"""So many more quick predictions than others make a model quick."""
PROBATION = 1000
"""So many after a slow one."""
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
        self._models = models
        self._known = models.generation

    def is_quick(self, path: str, size: int) -> bool:
        """Whether a request for ``path`` with a body of ``size`` bytes may be answered on the event loop."""
        if self._known != self._models.generation:
            self._known = self._models.generation
            self._credit.clear()
        return size <= MOST_BYTES and self._credit.get(path, 0) >= TRIALS

    def record(self, path: str, seconds: float) -> None:
        """Remember how long an answer took to make, by a ``Stopwatch``.

        Only for paths that name a model.
        """
        if len(path) > LONG_PATH:
            return
        if len(self._credit) >= MOST_PATHS and path not in self._credit:
            self._credit.clear()
        credit = self._credit[path]
        if seconds < QUICK_SECONDS:
            # A model that is quick stays so for a few slower predictions: other threads may have been busy.
            self._credit[path] = min(credit + 1, 2 * TRIALS)
        elif seconds < SLOW_SECONDS:
            self._credit[path] = max(credit - 1, min(credit, 0))
        else:
            self._credit[path] = -PROBATION
