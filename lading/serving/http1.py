"""One connection of HTTP/1.1: its requests are answered one after the other. ``lading.serving.incoming`` reads them.

Why not a web framework's server: docs/design.md, section 8. Here a request whose body has arrived is answered in the
call that read it from the socket, or at the end of that turn of the event loop.
"""

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from lading.serving.answers import Answer, refusal
from lading.serving.errors import REQUEST_TIMEOUT, Code
from lading.serving.exchange import Exchange
from lading.serving.incoming import MOST_UNREAD, Incoming

if TYPE_CHECKING:
    from lading.serving.listener import Listener

LINGER_SECONDS = 1.0
"""After an answer to a request that is still being sent, its rest is read and thrown away for so long: closing at once
would make the system send a reset, and the client might never see the answer."""


class Connection(Incoming, asyncio.Protocol):
    """A connection; requests that come without waiting for answers are answered one after the other."""

    __slots__ = ("_active", "_listener", "_queue", "_room", "_transport", "stalled_since")

    def __init__(self, listener: "Listener") -> None:
        super().__init__()
        self._listener = listener
        self._active: Exchange | None = None
        """The request that is being answered."""
        self._queue: deque[Exchange] = deque()
        self._room: asyncio.Future[None] | None = None
        """Set when the client takes more of a body that is sent in pieces."""
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
