"""The signals that end a serving process, caught from its first moment on."""

import signal
from queue import SimpleQueue

SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOP = "stop"


def catch_signals() -> "SimpleQueue[str]":
    """Have the signals say ``STOP`` in a queue, which is made for handlers of signals, unlike other things that threads
    wait for.

    They must not raise: whatever is being imported at the moment may swallow the exception.
    """
    told: SimpleQueue[str] = SimpleQueue()
    for number in SIGNALS:
        signal.signal(number, lambda *_: told.put(STOP))
    return told
