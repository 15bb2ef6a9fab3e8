"""The data plane: a port for every service and every tag, and behind it the revisions by their shares.

Runs an event loop in a thread of its own, so that a slow client holds up nobody. A change of shares takes effect
between two requests; those that run end where they began.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lading.errors import LadingError
from lading.local import wire

HOLD_SECONDS = 10.0
"""How long a request waits for a revision that is being restarted."""

T = TypeVar("T")


@dataclass
class _Backend:
    """One revision."""

    port: int = 0
    failure: str = ""
    in_flight: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class _Route:
    """One port."""

    server: asyncio.Server
    shares: dict[str, int]
    credit: dict[str, int] = field(default_factory=dict)

    def pick(self) -> str:
        """The revision of the next request: smooth weighted round robin, so that shares hold over any short stretch."""
        for name, share in self.shares.items():
            self.credit[name] = self.credit.get(name, 0) + share
        best = max(self.shares, key=lambda name: self.credit[name])
        self.credit[best] -= sum(self.shares.values())
        return best


class Router:
    """Routes requests. Methods may be called from any thread but its own."""

    def __init__(self) -> None:
        self._backends: dict[str, _Backend] = {}
        self._routes: dict[int, _Route] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="router", daemon=True)
        self._thread.start()

    def up(self, name: str, port: int) -> None:
        """The revision answers at this port."""
        self._loop.call_soon_threadsafe(self._change, name, port, "")

    def down(self, name: str, failure: str = "") -> None:
        """The revision does not answer: requests wait, or fail with ``failure`` when it is given."""
        self._loop.call_soon_threadsafe(self._change, name, 0, failure)

    def in_flight(self, name: str) -> int:
        """Requests that the revision is answering, or will be as soon as it can."""
        backend = self._backends.get(name)
        return backend.in_flight if backend else 0

    def route(self, port: int, shares: Mapping[str, int]) -> None:
        """Listen on a port of loopback, and send its requests to revisions by their shares.

        Raises:
            LadingError: something else listens on the port.
        """
        self._call(self._set_route(port, dict(shares)))

    def unroute(self, port: int) -> None:
        """Stop listening on a port; requests that run go on."""
        self._call(self._remove_route(port))

    def ports(self) -> frozenset[int]:
        """The ports that are listened on."""
        return frozenset(self._routes)

    def stop(self) -> None:
        """Stop listening everywhere and cut what still runs."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _change(self, name: str, port: int, failure: str) -> None:
        backend = self._backends.setdefault(name, _Backend())
        backend.port, backend.failure = port, failure
        backend.changed.set()
        backend.changed = asyncio.Event()

    async def _set_route(self, port: int, shares: dict[str, int]) -> None:
        if port in self._routes:
            if self._routes[port].shares != shares:
                self._routes[port].shares, self._routes[port].credit = shares, {}
            return
        try:
            server = await asyncio.start_server(
                lambda reader, writer: self._connection(port, reader, writer),
                "127.0.0.1",
                port,
                limit=wire.MAX_HEAD_BYTES,
                backlog=1024,
            )
        except OSError as error:
            raise LadingError(f"cannot listen on 127.0.0.1:{port}: {error.strerror or error}; end what does") from error
        self._routes[port] = _Route(server, shares)

    async def _remove_route(self, port: int) -> None:
        route = self._routes.pop(port, None)
        if route:
            route.server.close()

    async def _close(self) -> None:
        for port in list(self._routes):
            await self._remove_route(port)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connection(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one client connection."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            # The client went away, an answer broke off, or the target stops: closing the connection says it.
            with contextlib.suppress(ConnectionError, wire.BadMessage, asyncio.CancelledError):
                while (route := self._routes.get(port)) and await self._request(route, reader, writer):
                    pass
        finally:
            self._connections.discard(task)
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                writer.close()
                await writer.wait_closed()

    async def _request(self, route: _Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass one request on and its answer back; whether the connection may carry another."""
        try:
            head = await wire.read_head(reader)
            if head is None:
                return False
            head.check_request()
        except wire.BadMessage as error:
            writer.write(wire.error_answer(400, "Bad Request", str(error)))
            return False
        name = route.pick()
        backend = self._backends.setdefault(name, _Backend())
        backend.in_flight += 1
        try:
            upstream = await self._connect(backend)
            if isinstance(upstream, str):
                writer.write(wire.error_answer(503, "Service Unavailable", upstream, retry_after=True))
                await writer.drain()
                return False
            try:
                return await _Exchange(head, reader, writer, *upstream).run()
            finally:
                upstream[1].close()
        finally:
            backend.in_flight -= 1

    async def _connect(self, backend: _Backend) -> "tuple[asyncio.StreamReader, asyncio.StreamWriter] | str":
        """A connection to the revision, or why there is none. Nothing was sent yet, so trying again is safe."""
        end = self._loop.time() + HOLD_SECONDS
        while True:
            if backend.failure:
                return f"the revision does not run: {backend.failure}"
            changed = backend.changed
            if backend.port:
                try:
                    return await asyncio.open_connection("127.0.0.1", backend.port, limit=wire.MAX_HEAD_BYTES)
                except OSError:
                    pause = 0.05  # it died, and whoever watches it has not seen it yet
            else:
                pause = end - self._loop.time()
            if self._loop.time() >= end:
                return f"the revision did not come back within {HOLD_SECONDS:g} s"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), max(pause, 0.0))


class _Exchange:
    """One request and its answer, between a client and a revision."""

    def __init__(
        self,
        head: wire.Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        self._head = head
        self._reader, self._writer = reader, writer
        self._up_reader, self._up_writer = up_reader, up_writer

    async def run(self) -> bool:
        """Whether the client's connection may carry another request."""
        # An answer may come before the request has been read (413), so both ways run at the same time.
        sending, answering = asyncio.ensure_future(self._send()), asyncio.ensure_future(self._answer_head())
        try:
            await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and self._client_left(sending):
                # The revision waits for a rest that will not come: unless its connection is closed, both wait for ever.
                raise wire.BadMessage("the client broke off its request")
            try:
                answer = await answering
            except (wire.BadMessage, ConnectionError) as error:
                self._writer.write(wire.error_answer(502, "Bad Gateway", f"the revision failed: {error}"))
                await self._writer.drain()
                return False
            framed = await self._answer(answer)
            return framed and sending.done() and sending.exception() is None and self._keeps_alive()
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)

    async def _answer_head(self) -> wire.Head:
        """The head of the revision's answer; interim ones (1xx) are left out."""
        answer = await wire.read_head(self._up_reader)
        while answer and answer.start[1].startswith("1"):
            answer = await wire.read_head(self._up_reader)
        if answer is None:
            raise wire.BadMessage("the revision closed the connection without an answer")
        return answer

    def _client_left(self, sending: "asyncio.Future[None]") -> bool:
        """Whether the request could not be passed on because of the client; the revision may refuse the rest of it."""
        return isinstance(sending.exception(), wire.BadMessage) or self._reader.exception() is not None

    async def _send(self) -> None:
        peer = self._writer.get_extra_info("peername") or ("",)
        forwarded = ", ".join(filter(None, [self._head.get("x-forwarded-for"), peer[0]]))
        self._up_writer.write(
            self._head.encode(("Connection", "close"), ("X-Forwarded-For", forwarded), ("X-Forwarded-Proto", "http"))
        )
        if self._head.get("expect").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._head.chunked:
            await wire.copy_chunked(self._reader, self._up_writer)
        elif self._head.length:
            await wire.copy_exactly(self._reader, self._up_writer, self._head.length)
        await self._up_writer.drain()

    async def _answer(self, answer: wire.Head) -> bool:
        """Pass the answer back; whether its end can be told from its head."""
        bodiless = self._head.start[0] == "HEAD" or answer.start[1] in ("204", "304")
        framed = bodiless or answer.chunked or answer.length is not None
        keeps = framed and self._keeps_alive()
        self._writer.write(answer.encode(("Connection", "keep-alive" if keeps else "close")))
        if bodiless:
            pass
        elif answer.chunked:
            await wire.copy_chunked(self._up_reader, self._writer)
        elif answer.length is not None:
            await wire.copy_exactly(self._up_reader, self._writer, answer.length)
        else:
            await wire.copy_to_end(self._up_reader, self._writer)
        await self._writer.drain()
        return framed

    def _keeps_alive(self) -> bool:
        wish = self._head.get("connection").lower()
        return "close" not in wish and (self._head.start[2] == "HTTP/1.1" or "keep-alive" in wish)
