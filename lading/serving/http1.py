"""One connection of HTTP/1.1: bytes from a socket become requests. The parser is httptools' (llhttp).

Why not a web framework's server: docs/design.md, section 8. Here a request whose body has arrived is answered in the
call that read it from the socket.

Source: RFC 9110 and 9112. Not HTTP/2: the only platform that would speak it to a container (Cloud Run, when told to)
is for gRPC.
"""

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import httptools

from lading.serving.answers import Answer, refusal
from lading.serving.errors import HEAD_TOO_LARGE, REQUEST_TIMEOUT, Code
from lading.serving.exchange import Exchange, Headers
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


class Connection(asyncio.Protocol):
    """A connection; requests that come without waiting for answers are answered one after the other."""

    __slots__ = (
        *("_active", "_fields", "_head_bytes", "_last", "_listener", "_parser", "_queue", "_receiving", "_room"),
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
        self._room: asyncio.Future[None] | None = None
        """Set when the client takes more of a body that is sent in pieces."""
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
        self._wake()
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

    def pause_writing(self) -> None:
        """The client does not take the answer."""
        self.stalled_since = time.monotonic()

    def resume_writing(self) -> None:
        """The client takes it again."""
        self.stalled_since = 0.0
        self._wake()
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
        self._transport.write(
            self._listener.to_bytes(answer, method=exchange.method, version=exchange.version, goes_on=goes_on)
        )
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

    def begin_body(self, exchange: Exchange, answer: Answer) -> bool:
        """Send the head of an answer whose body comes in pieces; False if nobody is there any more."""
        if exchange is not self._active or self._transport.is_closing():
            return False
        self._last = True
        self._transport.write(self._listener.heads.begin(answer, version=exchange.version))
        return True

    async def send_piece(self, exchange: Exchange, piece: bytes) -> bool:
        """Send a piece when the client has taken most of those before; False if nobody is there any more."""
        while self.stalled_since and not self._transport.is_closing():
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        if self._transport.is_closing():
            return False
        self._transport.write(piece if exchange.version == "1.0" else b"%x\r\n%b\r\n" % (len(piece), piece))
        return True

    def end_body(self, exchange: Exchange, *, is_whole: bool) -> None:
        """Close behind the last piece; break the connection if the body is not whole."""
        self._active = None
        if not is_whole:
            self._transport.abort()
            return
        if exchange.version != "1.0":
            self._transport.write(b"0\r\n\r\n")
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
            return
        waited = now - self.since
        if self._active is not None:
            return  # who answers it looks after its time
        if self._receiving is None and self._head_bytes <= 0:
            if waited > idle:
                self._transport.close()
        elif waited > patience:
            answer = refusal(Code.DEADLINE_EXCEEDED, "the request did not arrive in time")
            answer.status = REQUEST_TIMEOUT
            self._refuse(answer)

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

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
