"""Says on standard error how the transfer of an image goes: one line that is drawn anew, on a terminal only."""

import sys
import threading
import time

_EVERY_SECONDS = 0.1


class Transfer:
    """Shows a ``lading.oci.copy.Progress``; its line is gone after the block."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._expected = self._done = 0
        self._drawn = 0.0

    def __enter__(self) -> "Transfer":
        return self

    def __exit__(self, *error: object) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def expect(self, size: int) -> None:
        """So many bytes more belong to it."""
        with self._lock:
            self._expected += size
            self._draw()

    def done(self, size: int) -> None:
        """So many of them are there; negative when an upload starts anew."""
        with self._lock:
            self._done += size
            self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if self._live and now - self._drawn >= _EVERY_SECONDS:
            self._drawn = now
            share = 100 * self._done // max(self._expected, 1)
            sys.stderr.write(f"\r\x1b[K{self._done / 1e6:.1f} of {self._expected / 1e6:.1f} MB, {share} %")
            sys.stderr.flush()
