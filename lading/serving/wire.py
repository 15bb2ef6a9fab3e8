"""Answers as bytes of HTTP/1.1."""

import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

from lading.serving.answers import JSON, Answer

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"}


def _head_of(status: int, headers: Mapping[str, str]) -> bytes:
    """The status line and headers of an answer, without those that differ from one answer to the next."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n").encode("latin-1", "replace")


class Heads:
    """The heads of answers, made once for each status; knows what time it is, once a second.

    Args:
        said: Headers of every answer.
    """

    def __init__(self, said: Mapping[str, str]) -> None:
        self._said = dict(said)
        self._json: dict[int, bytes] = {}
        self._date = b""
        self._second = 0

    def to_bytes(self, answer: Answer, *, method: str, version: str, goes_on: bool) -> bytes:
        """An answer as it goes over the wire.

        Args:
            answer: What to say.
            method: Of the request: the answer to HEAD has no body.
            version: Of the request: 1.0 has to be told that the connection goes on, 1.1 that it does not.
            goes_on: Whether the connection stays open.
        """
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        if answer.content_type == JSON and not answer.headers:
            head = self._json.get(answer.status) or self._json_head(answer.status)
        else:
            own = {"content-type": answer.content_type, **self._said, **dict(answer.headers)}
            head = _head_of(answer.status, own)
        parts = [head, self._date]
        if not goes_on:
            parts.append(b"connection: close\r\n")
        elif version == "1.0":
            parts.append(b"connection: keep-alive\r\n")
        if method == "HEAD":
            parts.append(b"\r\n")
        else:
            parts.append(b"content-length: %d\r\n\r\n" % len(answer.body))
            parts.append(answer.body)
        return b"".join(parts)

    def begin(self, answer: Answer, *, version: str) -> bytes:
        """The head of an answer whose body follows in pieces; the connection ends with it.

        Args:
            answer: What to say, without its body.
            version: Of the request: 1.1 gets chunks (RFC 9112, 7.1), 1.0 the bare pieces.
        """
        own = {"content-type": answer.content_type, **self._said, **dict(answer.headers)}
        if version != "1.0":
            own["transfer-encoding"] = "chunked"
        return _head_of(answer.status, {**own, "date": formatdate(usegmt=True), "connection": "close"}) + b"\r\n"

    def _json_head(self, status: int) -> bytes:
        head = self._json[status] = _head_of(status, {"content-type": JSON, **self._said})
        return head
