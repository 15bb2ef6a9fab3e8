"""HTTP/1.1 by hand, for tests that look at what happens to a connection."""

import http.client
import json
import socket
from typing import Any

MIXED = "/v1/models/mixed:predict"


def request(body: Any = None, path: str = MIXED, *, method: str = "POST", **headers: str) -> bytes:
    """A whole request; ``body`` as JSON unless it is bytes."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(path, method=method, **{"content-length": str(len(content)), **headers}) + content


def head(path: str = MIXED, *, method: str = "POST", **headers: str) -> bytes:
    """The head of a request; an underscore in the name of a header stands for a hyphen."""
    lines = [f"{method} {path} HTTP/1.1", "host: a"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


class Connection:
    """A connection; use it as a context manager."""

    def __init__(self, port: int, *, seconds: float = 60.0, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(seconds)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(("127.0.0.1", port))
        except BaseException:
            self.socket.close()
            raise

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> http.client.HTTPResponse:
        """The next answer, with its body at ``read_body``.

        Raises:
            ConnectionError: the connection was closed instead.
        """
        found = http.client.HTTPResponse(self.socket)
        found.begin()
        found.content = found.read()  # type: ignore[attr-defined]
        return found

    def ask(self, data: bytes) -> http.client.HTTPResponse:
        self.send(data)
        return self.answer()

    def is_closed(self) -> bool:
        """Whether the server closes it, within the time allowed, without having sent anything more."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
