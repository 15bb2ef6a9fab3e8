"""The HTTP server: accepts connections, hands their requests to the application, and ends without losing one."""

import asyncio
import socket
import time
from collections.abc import Mapping
from typing import Protocol

from lading.serving.answers import LATER, Answer
from lading.serving.exchange import Exchange
from lading.serving.http1 import Connection
from lading.serving.log import log
from lading.serving.port import cannot_listen
from lading.serving.wire import Heads

BACKLOG = 1024
IDLE_SECONDS = 620.0
"""A connection without a request is closed after so long. Google's load balancers keep theirs for 600 s, and take a
connection that the server closes first for a failure."""
PATIENCE_SECONDS = 60.0
"""A request's head may take so long to arrive, and the client so long to take a part of an answer."""
_LOOK_SECONDS = 5.0
_ACCEPT_AT_ONCE = 64


class Application(Protocol):
    """What answers requests."""

    def answer_at_once(self, exchange: Exchange) -> Answer | None:
        """The answer to a request that is complete; None if it is to be answered by ``answer``, ``LATER`` if the
        application itself sends the answer in this turn of the event loop.
        """

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request, by ``exchange.send``."""


class Listener:
    """A listening socket and its connections; used in the event loop only.

    Args:
        app: What answers.
        said: Headers of every answer.
        most_connections: Further ones wait to be accepted.
        patience_seconds: As ``PATIENCE_SECONDS``.

    Attributes:
        leaving: Whether answers ask for the connection to be closed, as the server is about to end.
    """

    def __init__(
        self,
        app: Application,
        *,
        said: Mapping[str, str],
        most_connections: int,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.leaving = False
        self.heads = Heads(said)
        self.to_bytes = self.heads.to_bytes
        self._app = app
        self._most = most_connections
        self._patience = patience_seconds
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening = 0
        self._socket: socket.socket | None = None
        self._is_accepting = False
        self._empty = asyncio.Event()
        self._empty.set()

    def start(self, bound: socket.socket) -> None:
        """Listen on a socket that is bound.

        Raises:
            EngineError: another process listens on its address: two may be bound to it as long as neither listens.
        """
        bound.setblocking(False)
        try:
            bound.listen(BACKLOG)
        except OSError as error:
            host, port = bound.getsockname()[:2]
            raise cannot_listen(host, port, error) from error
        self._socket = bound
        self._accept_more()
        asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def close(self) -> None:
        """Close the port and idle connections; requests that were begun are answered."""
        self.leaving = True
        self._accept_no_more()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for connection in list(self._connections):
            connection.close_if_idle()

    @property
    def is_empty(self) -> bool:
        """Whether no connection is open."""
        return not self._connections and not self._opening

    async def wait_empty(self) -> None:
        """Return when no connection is open."""
        await self._empty.wait()

    def opened(self, connection: Connection) -> None:
        """A connection has opened."""
        self._connections.add(connection)
        self._empty.clear()
        if self._socket is None:
            connection.close_if_idle()

    def closed(self, connection: Connection) -> None:
        """A connection has closed."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
        if self._socket is not None and len(self._connections) + self._opening < self._most:
            self._accept_more()

    def answer(self, exchange: Exchange) -> None:
        """Have a request answered."""
        if exchange.is_complete:
            answer = self._app.answer_at_once(exchange)
            if answer is not None:
                if answer is not LATER:
                    exchange.send(answer)
                return
        task = asyncio.get_running_loop().create_task(self._app.answer(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accept_more(self) -> None:
        if not self._is_accepting and self._socket is not None:
            self._is_accepting = True
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def _accept_no_more(self) -> None:
        if self._is_accepting and self._socket is not None:
            self._is_accepting = False
            asyncio.get_running_loop().remove_reader(self._socket)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPT_AT_ONCE):
            if self._socket is None:
                return
            if len(self._connections) + self._opening >= self._most:
                self._accept_no_more()
                return
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # mostly: no file descriptors are left
                log("cannot accept connections", severity="ERROR", error=error.strerror or str(error))
                self._accept_no_more()
                loop.call_later(1.0, self._accept_more)
                return
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._opening += 1
            task = loop.create_task(self._open(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: Connection(self), accepted)
        except OSError:
            accepted.close()  # the client is gone already
        finally:
            self._opening -= 1

    def _look(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            connection.look_at(now, patience=self._patience, idle=IDLE_SECONDS)
        asyncio.get_running_loop().call_later(min(_LOOK_SECONDS, self._patience / 4), self._look)
