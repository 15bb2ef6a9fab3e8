"""One connection of HTTP/1.1: bytes from a socket become requests, answers become bytes. The parser is httptools'
(llhttp).

Why not a web framework's server: what a small model computes takes 10 µs. Servers that hand each request from a thread
of their own to Python's cost more than that in waiting for the interpreter's lock alone (granian: 60 µs of processor
time for an empty answer, where this takes 20), and those in Python make a dozen objects for each. Here a request whose
body has arrived is answered in the call that read it from the socket.

Source: RFC 9110 and 9112. Not HTTP/2: the only platform that would speak it to a container (Cloud Run, when told to)
is for gRPC.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools

from lading.serving.answers import JSON, Answer, refusal
from lading.serving.errors import HEAD_TOO_LARGE, REQUEST_TIMEOUT, Code
from lading.serving.log import log

if TYPE_CHECKING:
    from lading.serving.listener import Listener

SMALL_BODY = 16 * 1024
"""A shorter body is read before the request is looked at, a longer one is admitted first."""
MOST_HEAD_BYTES = 64 * 1024
"""A longer head is refused with 431."""
MOST_UNREAD = 256 * 1024
"""So many bytes of a body wait to be taken; then the socket is not read."""
LINGER_SECONDS = 1.0
"""After an answer to a request that is still being sent, its rest is read and thrown away for so long: closing at once
would make the system send a reset, and the client might never see the answer."""

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"}


class ClientGone(Exception):
    """The connection ended before the request did."""


class Headers:
    """The headers of a request, by name in lower case."""

    __slots__ = ("raw",)

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        self.raw = raw

    def get(self, name: str, default: Any = None) -> Any:
        """The value as text; the last one if the header is repeated."""
        value = self.raw.get(name.encode())
        return default if value is None else value.decode("latin-1")


class Exchange:
    """A request and its answer.

    Attributes:
        method: For instance ``POST``.
        path: With the query string, if there is one.
        headers: Complete.
        body: What has arrived of it, if it is small; else it is read by ``await exchange()`` or ``async for``.
    """

    __slots__ = (
        *("headers", "keep_alive", "method", "path", "version"),
        *("_connection", "_is_complete", "_is_gone", "_parts", "_unread", "_waiter", "wants_continue"),
    )

    def __init__(self, connection: "Connection") -> None:
        self.method = self.path = ""
        self.headers = Headers({})
        self.version = "1.1"
        self.keep_alive = True
        self.wants_continue = False
        self._connection = connection
        self._parts: deque[bytes] = deque()
        self._unread = 0
        self._is_complete = self._is_gone = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def body(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    @property
    def is_complete(self) -> bool:
        """Whether all of the body has arrived."""
        return self._is_complete

    async def __call__(self) -> bytes:
        """The whole body.

        Raises:
            ClientGone: the connection ended before.
        """
        return b"".join([part async for part in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The parts of the body, as they arrive."""
        self._connection.begin_reading(self)
        while True:
            while self._parts:
                part = self._parts.popleft()
                self._unread -= len(part)
                self._connection.resume(self._unread)
                yield part
            if self._is_complete:
                return
            if self._is_gone:
                raise ClientGone
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def feed(self, part: bytes) -> int:
        """Add what has arrived; how many bytes wait to be taken."""
        self._parts.append(part)
        self._unread += len(part)
        self._wake()
        return self._unread

    def end(self, *, gone: bool = False) -> None:
        """The body is complete, or its sender is gone."""
        self._is_complete, self._is_gone = not gone, gone
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def send(self, answer: Answer) -> None:
        """Answer; nothing happens if nobody is there any more."""
        self._connection.send(self, answer)


class Connection(asyncio.Protocol):
    """A connection; requests that come without waiting for answers are answered one after the other."""

    __slots__ = (
        *("_active", "_feeding", "_fields", "_head_bytes", "_last", "_listener", "_parser", "_queue", "_receiving"),
        *("_transport", "_url", "since", "stalled_since"),
    )

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._receiving: Exchange | None = None
        """The request whose end has not arrived."""
        self._active: Exchange | None = None
        """The request that is being answered."""
        self._queue: deque[Exchange] = deque()
        self._fields: dict[bytes, bytes] = {}
        self._url = b""
        self._head_bytes = 0
        self._last = False
        """Whether nothing is read any more."""
        self.since = time.monotonic()
        """When it last began to wait: for a request, or for the rest of one."""
        self.stalled_since = 0.0
        """Since when the client does not take the answer; 0 if it does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._listener.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        for exchange in (self._receiving, self._active, *self._queue):
            if exchange is not None and not exchange.is_complete:
                exchange.end(gone=True)
        self._queue.clear()
        self._listener.closed(self)

    def eof_received(self) -> bool:
        """The client sends no more, but may still read."""
        if self._receiving is not None:
            self._receiving.end(gone=True)
        self._last = True
        return self._active is not None

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
        self._receiving = Exchange(self)
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

    def pause_writing(self) -> None:
        """The client does not take the answer."""
        self.stalled_since = time.monotonic()

    def resume_writing(self) -> None:
        """The client takes it again."""
        self.stalled_since = 0.0
        self._next()

    def begin_reading(self, exchange: Exchange) -> None:
        """Somebody wants a body: a client that asks whether to send it is told so."""
        if exchange.wants_continue and not exchange.is_complete and exchange is self._active:
            exchange.wants_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def resume(self, unread: int) -> None:
        """Read on, if so few bytes wait to be taken."""
        if unread <= MOST_UNREAD // 2 and not self._queue:
            self._transport.resume_reading()

    def send(self, exchange: Exchange, answer: Answer) -> None:
        """Answer the active request, and turn to the next."""
        if exchange is not self._active:
            return  # answered already, or the connection is gone
        self._active = None
        self.since = time.monotonic()
        if self._transport.is_closing():
            return
        unread = not exchange.is_complete
        is_last = not self._queue and (self._last or self._listener.leaving)  # what was read is answered
        goes_on = exchange.keep_alive and not unread and not is_last
        self._transport.write(self._listener.to_bytes(answer, exchange, goes_on=goes_on))
        if goes_on:
            if self._queue:
                asyncio.get_running_loop().call_soon(self._next)
        elif unread and not self._transport.is_closing():
            self._receiving, self._last = None, True
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.close)
            self._transport.resume_reading()
        else:
            self._last = True
            self._transport.close()

    def close_if_idle(self) -> None:
        """Close, unless a request is being read or answered."""
        if self._active is None and not self._queue and self._receiving is None:
            self._last = True
            self._transport.close()

    def look_at(self, now: float, *, patience: float, idle: float) -> None:
        """Close a connection that waits for too long; called from time to time."""
        if self.stalled_since and now - self.stalled_since > patience:
            self._transport.abort()
        elif self._active is None and now - self.since > (
            patience if self._head_bytes > 0 or self._receiving else idle
        ):
            if self._receiving is None and self._head_bytes <= 0:
                self._transport.close()
            else:
                answer = refusal(Code.DEADLINE_EXCEEDED, "the request did not arrive in time")
                answer.status = REQUEST_TIMEOUT
                self._refuse(answer)

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

    def _dispatch(self, exchange: Exchange) -> None:
        if self._active is None and not self._queue and not self.stalled_since:
            self._start(exchange)
        else:
            self._queue.append(exchange)
            self._transport.pause_reading()

    def _start(self, exchange: Exchange) -> None:
        self._active = exchange
        self._listener.answer(exchange)

    def _next(self) -> None:
        if self._active is None and self._queue and not self.stalled_since:
            self._start(self._queue.popleft())
            if not self._queue:
                self._transport.resume_reading()

    def _refuse_head(self) -> None:
        answer = refusal(Code.INVALID_ARGUMENT, f"expected a head of at most {MOST_HEAD_BYTES} bytes")
        answer.status = HEAD_TOO_LARGE
        self._refuse(answer)

    def _refuse(self, answer: Answer) -> None:
        """Answer what is no request, and close; requests before it are answered first."""
        self._last = True
        bad, self._receiving = self._receiving or Exchange(self), None
        if bad is self._active:  # its body turned out to be none
            bad.end(gone=True)
            bad.keep_alive = False
            return
        bad.keep_alive = False
        bad.end()
        if self._active is None and not self._queue:
            self._active = bad
            self.send(bad, answer)
        else:
            (self._queue[-1] if self._queue else self._active).keep_alive = False  # type: ignore[union-attr]


def _path(url: bytes) -> str:
    """The path and query of a request's target, which may be a whole URL (RFC 9112, 3.2.2)."""
    if not url.startswith(b"/") and b"://" in url:
        _, _, rest = url.partition(b"://")
        _, slash, path = rest.partition(b"/")
        url = slash + path or b"/"
    return url.decode("latin-1")


def head_of(status: int, headers: Mapping[str, str]) -> bytes:
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

    def to_bytes(self, answer: Answer, exchange: Exchange, *, goes_on: bool) -> bytes:
        """An answer as it goes over the wire."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        if answer.content_type == JSON and not answer.headers:
            head = self._json.get(answer.status) or self._json_head(answer.status)
        else:
            own = {"content-type": answer.content_type, **self._said, **dict(answer.headers)}
            head = head_of(answer.status, own)
        parts = [head, self._date]
        if not goes_on:
            parts.append(b"connection: close\r\n")
        elif exchange.version == "1.0":
            parts.append(b"connection: keep-alive\r\n")
        if exchange.method == "HEAD":
            parts.append(b"\r\n")
        else:
            parts.append(b"content-length: %d\r\n\r\n" % len(answer.body))
            parts.append(answer.body)
        return b"".join(parts)

    def _json_head(self, status: int) -> bytes:
        head = self._json[status] = head_of(status, {"content-type": JSON, **self._said})
        return head
