"""How much a prediction costs the thread that asks for it, and which models have no bound to it."""

import mmap
import re
import threading
import time
from pathlib import Path

_UNBOUNDED = re.compile(rb"While|NextIteration|ParallelFor|MapDefun|Dequeue|IteratorGetNext|Barrier|EagerPyFunc|PyFunc")
_WAIT_WEIGHT = 20

_thread = threading.local()


def is_unbounded(saved_model: Path) -> bool:
    """Whether a graph holds operations whose duration hangs on the values of a request (loops), or on something else.

    Such a model may have answered a thousand requests in a millisecond each, and need an hour for the next.

    Args:
        saved_model: The file ``saved_model.pb``. It is searched for names of operations: one that stands in it for
            another reason costs some speed, nothing else.
    """
    with saved_model.open("rb") as file:
        if not saved_model.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _UNBOUNDED.search(content) is not None


def mark_unbounded() -> None:
    """Note that this thread has run a model without a bound."""
    _thread.unbounded = True


class Stopwatch:
    """How long a prediction takes in a thread that others compete with: what the thread computes, not what it waits.

    A wait counts a little, so that a model which only waits does not pass for a quick one; and a model without a bound
    counts as if it took for ever.
    """

    __slots__ = ("_computed", "_started")

    def __init__(self) -> None:
        _thread.unbounded = False
        self._started = time.perf_counter()
        self._computed = time.thread_time()

    def seconds(self) -> float:
        """Since it was made; to be asked in the same thread."""
        if _thread.unbounded:
            return float("inf")
        return max(time.thread_time() - self._computed, (time.perf_counter() - self._started) / _WAIT_WEIGHT)
