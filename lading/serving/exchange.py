"""One request over HTTP and its answer, as the application sees them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from lading.serving.answers import Answer

if TYPE_CHECKING:
    from lading.serving.http1 import Connection


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

    async def stream(self, answer: Answer, pieces: AsyncIterator[bytes]) -> None:
        """Answer with a body that is made while it is sent; the connection closes behind it.

        Args:
            answer: Its head; it has no body of its own.
            pieces: Of the body, none empty. Each is asked for when the client has taken most of those before, and no
                more when it is gone. An error of theirs breaks the connection, so that the client knows.
        """
        if not self._connection.begin_body(self, answer):
            return
        is_whole = False
        try:
            async for piece in pieces:
                if not await self._connection.send_piece(self, piece):
                    return
            is_whole = True
        finally:
            self._connection.end_body(self, is_whole=is_whole)
