"""What arrives on a connection of HTTP/1.1 becomes requests. The parser is httptools' (llhttp).

Source: RFC 9110 and 9112. Not HTTP/2: the only platform that would speak it to a container (Cloud Run, when told to)
is for gRPC.
"""

import asyncio
import time
from abc import abstractmethod
from collections import deque

import httptools

from lading.serving.answers import Answer, refusal
from lading.serving.errors import HEAD_TOO_LARGE, Code
from lading.serving.exchange import Exchange, Headers
from lading.serving.log import log

SMALL_BODY = 16 * 1024
"""A shorter body is read before the request is looked at, a longer one is admitted first."""
MOST_HEAD_BYTES = 64 * 1024
"""A longer head is refused with 431."""
MOST_UNREAD = 256 * 1024
"""So many bytes of a body wait to be taken; then the socket is not read."""


class Incoming:
    """The half of a ``Connection`` that reads; what becomes of requests is the matter of the other."""

    __slots__ = ("_fields", "_head_bytes", "_last", "_parser", "_receiving", "_url", "since")

    # What the other half has.
    _active: Exchange | None
    _queue: deque[Exchange]
    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._receiving: Exchange | None = None
        """The request whose end has not arrived."""
        self._fields: dict[bytes, bytes] = {}
        self._url = b""
        self._head_bytes = 0
        self._last = False
        """Whether nothing is read any more."""
        self.since = time.monotonic()
        """When it last began to wait: for a request, or for the rest of one."""

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._last:
            return
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._wants_upgrade():
                self._go_on_without_upgrade(data[upgrade.args[0] :])
                return
            self._last = True  # CONNECT: what follows is of another protocol
            if self._active is not None:
                self._active.keep_alive = False
        except httptools.HttpParserCallbackError as error:
            log("request failed", severity="ERROR", error=repr(error.__context__))
            self._refuse(refusal(Code.INTERNAL, "internal error; the server's log says more"))
        except httptools.HttpParserError as error:
            self._refuse(refusal(Code.INVALID_ARGUMENT, f"expected a request of HTTP/1.1: {error}"))
        else:
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse_head()

    def on_message_begin(self) -> None:
        """httptools: a request begins."""
        self._receiving = Exchange(self)  # type: ignore[arg-type]  # which is a Connection
        self._fields, self._url = {}, b""
        self._head_bytes = max(0, self._head_bytes)
        self.since = time.monotonic()

    def on_url(self, url: bytes) -> None:
        """httptools: a part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a header, or a trailer."""
        self._fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        """httptools: the head is complete."""
        exchange = self._receiving
        if exchange is None or self._wants_upgrade():
            return
        self._head_bytes = -1  # not counted until the next request begins
        exchange.method = self._parser.get_method().decode()
        exchange.path = _path(self._url)
        exchange.headers = Headers(self._fields)
        exchange.version = self._parser.get_http_version()
        exchange.keep_alive = self._parser.should_keep_alive()
        exchange.wants_continue = self._fields.get(b"expect", b"").lower() == b"100-continue"
        length = self._fields.get(b"content-length", b"0")
        if b"transfer-encoding" in self._fields or exchange.wants_continue or int(length) > SMALL_BODY:
            self._dispatch(exchange)
        self._fields = {}  # what comes now are trailers, which are no headers (RFC 9110, 6.5.1)

    def on_body(self, part: bytes) -> None:
        """httptools: a part of the body."""
        if self._receiving is not None and self._receiving.feed(part) > MOST_UNREAD:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """httptools: the request is complete."""
        if self._wants_upgrade():
            return
        exchange, self._receiving = self._receiving, None
        self._head_bytes = 0
        if exchange is None:
            return
        exchange.end()
        if exchange is not self._active and exchange not in self._queue:
            self._dispatch(exchange)

    @abstractmethod
    def _dispatch(self, exchange: Exchange) -> None:
        """A request is to be answered; its body may not have arrived."""

    @abstractmethod
    def _refuse(self, answer: Answer) -> None:
        """What arrived is no request."""

    def _wants_upgrade(self) -> bool:
        """Whether the request asks for another protocol; Java's client does so with each request."""
        return bool(self._parser.should_upgrade()) and self._parser.get_method() != b"CONNECT"

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Read a request as if it had not asked for another protocol (RFC 9110, 7.8).

        The parser takes a body that follows for the other protocol's. So another one gets the request without the wish.
        """
        lines = [b"%s %s HTTP/1.1" % (self._parser.get_method(), self._url)]
        lines += [b"%s: %s" % field for field in self._fields.items() if field[0] not in (b"upgrade", b"connection")]
        if b"close" in self._fields.get(b"connection", b"").lower():
            lines.append(b"connection: close")
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _refuse_head(self) -> None:
        answer = refusal(Code.INVALID_ARGUMENT, f"expected a head of at most {MOST_HEAD_BYTES} bytes")
        answer.status = HEAD_TOO_LARGE
        self._refuse(answer)


def _path(url: bytes) -> str:
    """The path and query of a request's target, which may be a whole URL (RFC 9112, 3.2.2)."""
    if not url.startswith(b"/") and b"://" in url:
        _, _, rest = url.partition(b"://")
        _, slash, path = rest.partition(b"/")
        url = slash + path or b"/"
    return url.decode("latin-1")
