"""Decides which requests are answered on the event loop itself, and which by a thread.

Handing a prediction to a thread and back cost 0.35 ms of 1.6 ms on the 2-core machine where it was measured: more
than a small model computes. A long one on the event loop would hold up every other request, health included.
"""

from collections import defaultdict

QUICK_SECONDS = 0.002
"""A prediction below this is not worth a thread."""
SLOW_SECONDS = 0.05
"""After one prediction beyond this, a model is never again answered on the event loop."""
TRIALS = 16
"""So many predictions in a row must have been quick."""
MOST_BYTES = 64 * 1024
"""Longer bodies always go to a thread."""


class Pace:
    """How long the predictions below each path took; used by the event loop only."""

    def __init__(self) -> None:
        self._quick: defaultdict[str, int] = defaultdict(int)
        self._slow: set[str] = set()

    def is_quick(self, path: str, size: int) -> bool:
        """Whether a request for ``path`` with a body of ``size`` bytes may be answered on the event loop."""
        return size <= MOST_BYTES and path not in self._slow and self._quick[path] >= TRIALS

    def record(self, path: str, seconds: float) -> None:
        """Remember how long an answer took to make; only for paths that name a model, of which there are few."""
        self._quick[path] = self._quick[path] + 1 if seconds < QUICK_SECONDS else 0
        if seconds > SLOW_SECONDS:
            self._slow.add(path)
