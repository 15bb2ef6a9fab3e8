"""The process that keeps the server running: it starts it again whenever it ends, until the target is stopped."""

import logging
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context

from lading.local.locks import FileLock, holder
from lading.local.state import Layout
from lading.local.stopping import StopSignal
from lading.wait import Deadline

_LOG = logging.getLogger(__name__)

STEADY_SECONDS = 2.0
"""A server that lived this long starts again at once."""
_TICK_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 30.0


def supervise(layout: Layout, serve: Callable[[], int]) -> int:
    """Keep a server running while the file ``wanted`` exists; return the exit code.

    Args:
        layout: The state directory.
        serve: What a server does, in a process of its own; returns its exit code.
    """
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
        code = _run(serve, lock, stop)
        failures = 0 if time.monotonic() - started > STEADY_SECONDS else failures + 1
        if layout.wanted.exists() and not stop.arrived:
            _LOG.warning("the server ended with code %s; starting it again", code)
            stop.wait(0.0 if failures <= 1 else min(0.2 * 2**failures, _LONGEST_PAUSE_SECONDS))
    return 0


def _run(serve: Callable[[], int], lock: FileLock, stop: StopSignal) -> int:
    """Run one server to its end; when the supervisor is told to stop, the server is too."""

    def work() -> None:
        StopSignal.forget()
        lock.release()  # else the server would hold it for a supervisor that has died
        sys.exit(serve())

    # Forked, since a new interpreter takes half a second to import what this one has, in which who asks is refused.
    server = get_context("fork").Process(target=work)
    server.start()
    while server.exitcode is None:
        server.join(_TICK_SECONDS)
        if stop.arrived:  # over and over: one that has just begun takes the first for its parent's
            server.terminate()
    return server.exitcode
