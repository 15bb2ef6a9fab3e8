"""Deadlines, and the one way to wait for something.

A deadline is absolute and monotonic, made once and handed down, so that nested waits share one budget.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lading.errors import DeadlineExceeded

T = TypeVar("T")


@dataclass(frozen=True)
class Deadline:
    """A point in time after which an operation must give up."""

    at: float
    """``time.monotonic()`` in seconds."""

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """A deadline ``seconds`` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self.at

    def sleep(self, seconds: float) -> None:
        """Sleep, but not past the deadline."""
        time.sleep(min(seconds, self.remaining()))


def poll(
    probe: Callable[[], T | None],
    *,
    deadline: Deadline,
    what: str,
    first_seconds: float = 0.02,
    most_seconds: float = 1.0,
) -> T:
    """Call ``probe`` with growing pauses until it returns something other than None.

    A probe answers None for "not yet" and raises for "never": the exception ends the wait at once.

    Args:
        probe: Called at least once, even when the deadline has passed.
        deadline: When to give up.
        what: What is waited for, as it appears in the error: ``"revision x to be ready"``.
        first_seconds: The first pause.
        most_seconds: The longest pause.

    Raises:
        DeadlineExceeded: the time is over and the probe still says None.
    """
    pause = first_seconds
    while True:
        found = probe()
        if found is not None:
            return found
        if deadline.passed:
            raise DeadlineExceeded(f"gave up waiting for {what}")
        deadline.sleep(pause)
        pause = min(pause * 1.5, most_seconds)
