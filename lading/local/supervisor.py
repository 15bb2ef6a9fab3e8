"""The process that keeps the server running: it starts it again whenever it ends, until the target is stopped."""

import logging
import subprocess
import time

from lading.local.locks import FileLock, holder
from lading.local.server import spawn
from lading.local.state import Layout
from lading.local.stopping import StopSignal
from lading.wait import Deadline

_LOG = logging.getLogger(__name__)

_TICK_SECONDS = 0.1
_STEADY_SECONDS = 10.0  # a server that lived this long starts again at once
_LONGEST_PAUSE_SECONDS = 30.0


def supervise(layout: Layout) -> int:
    """Keep a server running while the file ``wanted`` exists; return the exit code."""
    lock = FileLock(layout.supervisor_lock)
    # Not at once: whoever asks for the holder has the lock for an instant.
    if not lock.acquire(Deadline.after(1)):
        return 0  # another supervisor does this
    stop = StopSignal()
    failures = 0
    while layout.wanted.exists() and not stop.arrived:
        if holder(layout.server_lock) is not None:  # it outlived the supervisor before this one
            stop.wait(_TICK_SECONDS)
            continue
        started = time.monotonic()
        code = _run(layout, stop)
        failures = 0 if time.monotonic() - started > _STEADY_SECONDS else failures + 1
        if layout.wanted.exists() and not stop.arrived:
            _LOG.warning("the server ended with code %s; starting it again", code)
            stop.wait(0.0 if failures <= 1 else min(0.2 * 2**failures, _LONGEST_PAUSE_SECONDS))
    return 0


def _run(layout: Layout, stop: StopSignal) -> int:
    """Run one server to its end; when the supervisor is told to stop, the server is too."""
    server = spawn(layout, "serve")
    told = False
    while True:
        try:
            return server.wait(_TICK_SECONDS)
        except subprocess.TimeoutExpired:
            if stop.arrived and not told:
                server.terminate()
                told = True
