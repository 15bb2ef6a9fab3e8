"""Asks a run to end."""

import threading

from lading.errors import LadingError


class Stopped(LadingError):
    """A run was asked to end before it was done; the next one goes on from where it was."""


class Stop:
    """Set by a signal handler or another thread; looked at between blocks."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Ask the run to end."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether it was asked to end."""
        return self._asked.is_set()
