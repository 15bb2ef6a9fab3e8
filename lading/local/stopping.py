"""Waiting until SIGTERM or SIGINT arrives."""

import signal
import time

_TICK_SECONDS = 0.05


class StopSignal:
    """Takes SIGTERM and SIGINT, and remembers that one came.

    Not a ``threading.Event``: a handler runs in the main thread, between any two steps of what that does, and ``set``
    takes a lock that ``wait`` may be holding just then. The process would wait for itself for ever.
    """

    def __init__(self) -> None:
        self.arrived = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._arrive)

    @staticmethod
    def forget() -> None:
        """Let the signals end the process, as in one that has just been started."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until a signal arrives; whether one has."""
        end = time.monotonic() + seconds
        while not self.arrived and (left := end - time.monotonic()) > 0:
            time.sleep(min(_TICK_SECONDS, left))
        return self.arrived

    def _arrive(self, number: int, frame: object) -> None:
        self.arrived = True
