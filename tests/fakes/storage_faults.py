"""What can go wrong between a client and a server, on purpose."""

import socket
import struct
import threading
from dataclasses import dataclass, field


@dataclass
class Fault:
    """Happens to the next requests whose method and path (with its query) fit."""

    method: str = ""
    """Empty: any."""
    path: str = ""
    """Somewhere in it; empty: any."""
    times: int = 1
    status: int = 0
    """Answered instead; nothing is done."""
    cut: int = -1
    """After so many bytes of the answer's body the connection is reset."""
    lost: bool = False
    """It is done, but the connection is reset before the answer."""
    seconds: float = 0.0
    """It takes so much longer."""
    hit: threading.Event = field(default_factory=threading.Event)
    """Set when it has happened."""

    def fits(self, method: str, path: str) -> bool:
        return self.times > 0 and self.method in ("", method) and self.path in path


def reset(connection: socket.socket) -> None:
    """End a connection so that the other side sees an error rather than an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
