"""HTTP/1.1 messages for a proxy: heads, framing and bodies, read strictly so that nothing can be smuggled through.

Source: RFC 9110 (semantics) and RFC 9112 (HTTP/1.1).
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

MAX_HEAD_BYTES = 65536
_READ_BYTES = 65536

CHUNKED, UNTIL_CLOSE = -1, -2
"""Framings of a body whose length is not known before."""

# RFC 9110, 7.6.1: these are about one connection; `Connection` may name more.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class BadMessage(Exception):
    """A message that breaks the protocol, or that this proxy does not take; ``status`` is the answer to it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Head:
    """The start line and headers of a message."""

    start: tuple[str, str, str]
    """Method, target, version of a request; version, status, reason of a response."""
    headers: list[tuple[str, str]]
    """Names in lower case, in the order received."""

    def get(self, name: str) -> str:
        """All values of a header, joined by commas; empty when there is none."""
        found = [value for key, value in self.headers if key == name]
        return found[0] if len(found) == 1 else ", ".join(found)

    def end_to_end(self) -> list[tuple[str, str]]:
        """The headers that a proxy hands on."""
        named = self.get("connection")
        dropped = _HOP_BY_HOP | {name.strip().lower() for name in named.split(",")} if named else _HOP_BY_HOP
        return [(name, value) for name, value in self.headers if name not in dropped]

    def keeps_alive(self, version: str) -> bool:
        """Whether the connection stays open after this message."""
        return version == "HTTP/1.1" and "close" not in self.get("connection").lower()


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head; None when the peer closed the connection instead.

    Raises:
        BadMessage: it is not HTTP, or longer than ``MAX_HEAD_BYTES``.
        asyncio.IncompleteReadError: the peer closed the connection in the middle of it.
    """
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial.strip():
            return None
        raise
    except asyncio.LimitOverrunError as error:
        raise BadMessage(f"the header is longer than {MAX_HEAD_BYTES} bytes", 431) from error
    return parse_head(raw)


def parse_head(raw: bytes) -> Head:
    """A head from its bytes, with the empty line at its end.

    Raises:
        BadMessage: it is not HTTP.
    """
    text = raw[:-4].decode("latin-1").lstrip("\r\n")
    lines = text.split("\r\n")
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise BadMessage("a line of the header does not end in CR LF")
    start = lines[0].split(" ", 2)
    if len(start) == 2 and start[0].startswith("HTTP/"):
        start.append("")  # RFC 9112, 4: the reason may be missing
    if len(start) != 3 or not all(start[:2]):
        raise BadMessage("the first line is not that of an HTTP message")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        # RFC 9112, 5.1 and 5.2: no space before the colon, no folded lines.
        if not colon or not name or name != name.strip() or " " in name:
            raise BadMessage(f"not a header: {line[:80]!r}")
        headers.append((name.lower(), value.strip(" \t")))
    return Head((start[0], start[1], start[2]), headers)


def request_framing(head: Head) -> int:
    """Length of a request's body in bytes, or ``CHUNKED``.

    Raises:
        BadMessage: the headers contradict each other (RFC 9112, 6.3), or the coding is unknown.
    """
    coding, length = head.get("transfer-encoding").lower(), head.get("content-length")
    if coding and length:
        raise BadMessage("expected Content-Length or Transfer-Encoding, received both")
    if coding and coding != "chunked":
        raise BadMessage(f"unknown Transfer-Encoding {coding!r}", 501)
    return CHUNKED if coding else _length(length)


def response_framing(head: Head, method: str) -> int:
    """Length of a response's body in bytes, ``CHUNKED`` or ``UNTIL_CLOSE``.

    Raises:
        BadMessage: the length is not a number.
    """
    if method == "HEAD" or head.start[1] in ("204", "304"):
        return 0
    if head.get("transfer-encoding"):
        return CHUNKED if head.get("transfer-encoding").lower() == "chunked" else UNTIL_CLOSE
    length = head.get("content-length")
    return _length(length) if length else UNTIL_CLOSE


async def read_body(reader: asyncio.StreamReader, framing: int) -> AsyncIterator[bytes]:
    """The content of a body, piece by piece, as it arrives.

    Raises:
        BadMessage: a chunk is malformed.
        asyncio.IncompleteReadError: the peer closed the connection too early.
    """
    if framing == UNTIL_CLOSE:
        while data := await reader.read(_READ_BYTES):
            yield data
    elif framing == CHUNKED:
        while size := await _chunk_size(reader):
            async for data in read_body(reader, size):
                yield data
            if await reader.readexactly(2) != b"\r\n":
                raise BadMessage("a chunk does not end where it says")
        while await _line(reader):  # trailers
            pass
    else:
        while framing > 0:
            data = await reader.read(min(framing, _READ_BYTES))
            if not data:
                raise asyncio.IncompleteReadError(b"", framing)
            framing -= len(data)
            yield data


async def send_body(writer: asyncio.StreamWriter, pieces: AsyncIterator[bytes], *, chunked: bool) -> None:
    """Write a body as its pieces arrive, no faster than the peer reads."""
    async for data in pieces:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def head_bytes(start: str, headers: list[tuple[str, str]]) -> bytes:
    """A head as it goes over the wire."""
    lines = [start, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _length(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise BadMessage(f"expected one Content-Length, a number; received {text[:80]!r}")
    return int(text)


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    text = (await _line(reader)).partition(b";")[0].strip()  # RFC 9112, 7.1.1: unknown extensions are ignored
    if not text or text.strip(b"0123456789abcdefABCDEF"):
        raise BadMessage("expected the length of a chunk")
    return int(text, 16)


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n"))[:-2]
    except asyncio.LimitOverrunError as error:
        raise BadMessage("a line is too long") from error
