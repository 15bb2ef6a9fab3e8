"""Ports on loopback."""

import random
import socket

from lading.errors import LadingError

# Below the range that the kernel takes ports of outgoing connections from (Linux 32768-60999, macOS 49152-65535):
# a port from there could be taken while the target restarts, and a probe of one could connect to itself.
_FIRST, _LAST = 20000, 29999


def pick() -> int:
    """A port that nothing listens on.

    Raises:
        LadingError: no free port was found.
    """
    for port in random.sample(range(_FIRST, _LAST + 1), 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LadingError(f"found no free port between {_FIRST} and {_LAST} on 127.0.0.1: end some of what listens there")
