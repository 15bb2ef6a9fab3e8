"""The data plane: a port for every service and every tag, and behind it the revisions by their shares.

Runs an event loop in a thread of its own, so that a slow client holds up nobody. A change of shares takes effect
between two requests; those that run end where they began.
"""

import asyncio
import contextlib
import threading
import uuid
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lading.errors import LadingError
from lading.local import wire
from lading.local.counts import PROBE_AGENT, Counts
from lading.local.exchange import Exchange

HOLD_SECONDS = 10.0
"""How long a request waits for a revision that is being restarted."""
QUEUE_FACTOR = 10
"""So many requests wait for each that a revision may answer at a time; the next are refused, as Knative's queue-proxy
does it."""

T = TypeVar("T")


@dataclass
class _Backend:
    """One revision."""

    port: int = 0
    failure: str = ""
    in_flight: int = 0
    limit: int = 0
    """Requests that it answers at a time; 0 for any number."""
    seconds: float | None = None
    """How long a request may take, with the time that it waits."""
    turns: "asyncio.Semaphore | contextlib.nullcontext[None]" = field(default_factory=contextlib.nullcontext)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    counts: Counts = field(default_factory=Counts)


@dataclass
class _Route:
    """One port."""

    server: asyncio.Server
    shares: dict[str, int]
    counted: bool
    """Whether users come this way."""
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
        self.since = uuid.uuid4().hex
        """Names the time from which on requests are counted."""
        self._backends: defaultdict[str, _Backend] = defaultdict(_Backend)
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

    def limit(self, name: str, *, concurrency: int, seconds: float) -> None:
        """How much a revision takes; to be said before it is routed to.

        Args:
            name: The revision.
            concurrency: Requests that it answers at a time, 0 for any number; others wait, first come, first served.
            seconds: How long a request may take, with the time that it waits.
        """
        self._loop.call_soon_threadsafe(self._limit, name, concurrency, seconds)

    def forget(self, name: str) -> None:
        """The revision will never answer again."""
        self._loop.call_soon_threadsafe(self._backends.pop, name, None)

    def in_flight(self, name: str) -> int:
        """Requests that the revision is answering, or will be as soon as it can."""
        backend = self._backends.get(name)
        return backend.in_flight if backend else 0

    def counts(self, name: str) -> Counts:
        """What was seen of the users' requests to a revision."""
        backend = self._backends.get(name)
        return backend.counts if backend else Counts()

    def route(self, port: int, shares: Mapping[str, int], *, counted: bool = True) -> None:
        """Listen on a port of loopback, and send its requests to revisions by their shares.

        Args:
            port: Where.
            shares: By revision.
            counted: Whether these are the requests of users, that ``counts`` tells of.

        Raises:
            LadingError: something else listens on the port.
        """
        self._call(self._set_route(port, dict(shares), counted))

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
        backend = self._backends[name]
        backend.port, backend.failure = port, failure
        backend.changed.set()
        backend.changed = asyncio.Event()

    def _limit(self, name: str, concurrency: int, seconds: float) -> None:
        backend = self._backends[name]
        backend.limit, backend.seconds = concurrency, seconds
        if concurrency:
            backend.turns = asyncio.Semaphore(concurrency)

    async def _set_route(self, port: int, shares: dict[str, int], counted: bool) -> None:
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
        self._routes[port] = _Route(server, shares, counted)

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
        backend = self._backends[route.pick()]
        exchange, began = Exchange(head, reader, writer), self._loop.time()
        try:
            return await self._take_turn(backend, exchange, reader)
        finally:
            # No status: the client went away before there was an answer, which says nothing of the revision.
            if exchange.status and route.counted and not head.get("user-agent").startswith(PROBE_AGENT):
                backend.counts.add(exchange.status, (exchange.answered - began) * 1000)

    async def _take_turn(self, backend: _Backend, exchange: Exchange, reader: asyncio.StreamReader) -> bool:
        """Answer a request when it is its turn; whether the connection may carry another."""
        if backend.limit and backend.in_flight >= backend.limit * (1 + QUEUE_FACTOR):
            return await exchange.fail(503, "Service Unavailable", f"{backend.in_flight} requests are waiting already")
        backend.in_flight += 1
        limit = asyncio.timeout(backend.seconds)
        try:
            async with limit, backend.turns:
                # Who waits long may have gone.
                return not reader.at_eof() and await self._forward(backend, exchange)
        except TimeoutError:
            if limit.expired() and not exchange.status:
                words = f"the revision did not answer within {backend.seconds:g} s"
                await exchange.fail(504, "Gateway Timeout", words)
            elif limit.expired():
                exchange.status = 504
            return False
        finally:
            backend.in_flight -= 1

    async def _forward(self, backend: _Backend, exchange: Exchange) -> bool:
        """Pass a request on and its answer back; whether the connection may carry another."""
        upstream = await self._connect(backend)
        if isinstance(upstream, str):
            return await exchange.fail(503, "Service Unavailable", upstream)
        try:
            return await exchange.run(*upstream)
        finally:
            upstream[1].close()

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
