"""HTTP/1.1 as the router needs it: message heads, and bodies that are passed on without being held.

Source: RFC 9112 (framing), RFC 9110 section 7.6.1 (hop-by-hop fields).
"""

import asyncio
import json
import re
from dataclasses import dataclass
from functools import cached_property

from lading.errors import LadingError

MAX_HEAD_BYTES = 65536
_PIECE = 65536
_HEX = re.compile(rb"[0-9a-fA-F]+")
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade", "expect"}
)


class BadMessage(LadingError):
    """What came is not HTTP/1.1, or breaks off."""


class BrokenOff(BadMessage):
    """The connection ended before a whole head, or a small body, had come."""


@dataclass(frozen=True)
class Head:
    """The start line and the fields of a message."""

    start: tuple[str, str, str]
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """A field by its lower-case name; empty when it is not there. Repeated ones are joined."""
        return self._by_name.get(name, "")

    @cached_property
    def _by_name(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in self.fields:
            key = name.lower()
            found[key] = f"{found[key]}, {value}" if key in found else value
        return found

    @cached_property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return "chunked" in self.get("transfer-encoding").lower()

    @cached_property
    def length(self) -> int | None:
        """Bytes of the body, if the head says so."""
        text = self.get("content-length")
        if not text:
            return None
        if not (text.isascii() and text.isdigit()):
            raise BadMessage(f"expected a Content-Length in digits, received {text!r}")
        return int(text)

    def check_request(self) -> None:
        """Refuse a request whose end the revision might see elsewhere than the router (RFC 9112, section 6.3).

        Raises:
            BadMessage: it says its length in two ways, or in one that is unknown.
        """
        coding, length = self.get("transfer-encoding"), self.length
        if coding and coding.lower() != "chunked":
            raise BadMessage(f"expected the Transfer-Encoding chunked, received {coding!r}")
        if coding and length is not None:
            raise BadMessage("expected Content-Length or Transfer-Encoding, received both")

    def encode(self, *extra: tuple[str, str]) -> bytes:
        """The head on the wire: without the fields that hold for one connection only, with ``extra``."""
        named = {field.strip().lower() for field in self.get("connection").split(",")}
        dropped = _HOP_BY_HOP | named | {name.lower() for name, _ in extra}
        kept = [f for f in self.fields if f[0].lower() not in dropped]
        lines = [" ".join(self.start).rstrip(), *(f"{name}: {value}" for name, value in (*kept, *extra))]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read a head; None when the connection ended before one began.

    Raises:
        BadMessage: what came is not one.
    """
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise BrokenOff("the connection ended in the middle of a head") from error
        return None
    except asyncio.LimitOverrunError as error:
        raise BadMessage(f"the head is longer than {MAX_HEAD_BYTES} bytes") from error
    lines = raw.decode("latin-1").lstrip("\r\n").rstrip("\r\n").split("\r\n")
    first, _, rest = lines[0].partition(" ")
    second, _, third = rest.partition(" ")
    fields = [line.partition(":") for line in lines[1:]]
    if not first or not second or any(not colon or not name or name != name.strip() for name, colon, _ in fields):
        raise BadMessage(f"expected an HTTP/1.1 message, received {lines[0][:80]!r}")
    return Head((first, second, third), tuple((name, value.strip()) for name, _, value in fields))


async def read_exactly(reader: asyncio.StreamReader, count: int) -> bytes:
    """Read ``count`` bytes.

    Raises:
        BrokenOff: the connection ended before.
    """
    try:
        return await reader.readexactly(count)
    except asyncio.IncompleteReadError as error:
        raise BrokenOff("the connection ended in the middle of a body") from error


async def copy_exactly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
    """Pass ``count`` bytes on.

    Raises:
        BadMessage: the connection ended before.
    """
    while count:
        piece = await reader.read(min(_PIECE, count))
        if not piece:
            raise BadMessage("the connection ended in the middle of a body")
        writer.write(piece)
        await writer.drain()
        count -= len(piece)


async def copy_chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass a chunked body on, as it is, with its trailers."""
    while True:
        line = await _line(reader)
        digits = line.partition(b";")[0].strip()
        if not _HEX.fullmatch(digits):  # int() would also take a sign, an underscore and 0x
            raise BadMessage(f"expected the size of a chunk, received {line[:40]!r}")
        size = int(digits, 16)
        writer.write(line)
        if size == 0:
            break
        await copy_exactly(reader, writer, size + 2)
    while True:
        line = await _line(reader)
        writer.write(line)
        if line in (b"\r\n", b"\n"):
            await writer.drain()
            return


async def copy_to_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass everything on until the connection ends."""
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()


def error_answer(status: int, reason: str, message: str, *, retry_after: bool = False) -> bytes:
    """A whole answer of the router's own, after which the connection closes."""
    body = json.dumps({"error": message}).encode()
    retry = "Retry-After: 1\r\n" if retry_after else ""
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"{retry}Connection: close\r\n\r\n"
    )
    return head.encode() + body


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise BadMessage("a chunked body breaks off") from error
