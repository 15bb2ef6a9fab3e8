"""The router's side of a revision: where it answers, connections kept for reuse, and requests that wait for it."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from lading.local.http1 import MAX_HEAD_BYTES

HOLD_SECONDS = 5.0
"""How long a request waits for a revision that restarts, before it is answered 503."""
_IDLE_SECONDS = 1.0  # well below the idle time of servers, so that a reused connection is not about to be closed
_MAX_IDLE = 64


class Unavailable(Exception):
    """The revision does not answer, and nothing was sent to it."""


@dataclass(slots=True, eq=False)
class Upstream:
    """A connection to a revision's process."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0

    def usable(self, now: float) -> bool:
        """Whether the connection can carry another request."""
        return not self.reader.at_eof() and not self.writer.is_closing() and now - self.idle_since < _IDLE_SECONDS


@dataclass(slots=True, eq=False)
class Backend:
    """One revision, as the router sees it. All methods run in the router's event loop."""

    port: int = 0
    """Where its process answers; 0 while none does."""
    failure: str = ""
    """Why waiting for it is of no use."""
    in_flight: int = 0
    """Requests that it answers, or that wait for it. Other threads read it."""
    _idle: list[Upstream] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, port: int, failure: str = "") -> None:
        """Its process answers at ``port``, or does not (0)."""
        if port != self.port:
            self.close_idle()
        self.port, self.failure = port, failure
        self._changed.set()
        self._changed = asyncio.Event()

    async def connect(self) -> Upstream:
        """A connection to the process, new or kept; waits for a while when there is no process.

        A refused connection carried nothing, so it is safe to try again, whatever the method of the request.

        Raises:
            Unavailable: there is no process, and waiting did not help.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + HOLD_SECONDS
        while True:
            changed = self._changed
            if self.failure:
                raise Unavailable(f"the revision does not run: {self.failure}")
            if self.port:
                if kept := self._reuse(loop.time()):
                    return kept
                with contextlib.suppress(ConnectionError, TimeoutError):
                    async with asyncio.timeout(HOLD_SECONDS):
                        return Upstream(*await asyncio.open_connection("127.0.0.1", self.port, limit=MAX_HEAD_BYTES))
            left = give_up - loop.time()
            if left <= 0:
                raise Unavailable(f"the revision did not accept a connection for {HOLD_SECONDS:.0f} s")
            with contextlib.suppress(TimeoutError):
                # With a port, its process has just died: that is noticed soon, and announced here.
                async with asyncio.timeout(min(left, 0.05) if self.port else left):
                    await changed.wait()

    def keep(self, upstream: Upstream) -> None:
        """Keep a connection whose exchange is over."""
        if len(self._idle) < _MAX_IDLE and self.port and not upstream.writer.is_closing():
            upstream.idle_since = asyncio.get_running_loop().time()
            self._idle.append(upstream)
        else:
            upstream.writer.close()

    def close_idle(self) -> None:
        """Close the connections that are kept."""
        for upstream in self._idle:
            upstream.writer.close()
        self._idle.clear()

    def _reuse(self, now: float) -> Upstream | None:
        while self._idle:
            upstream = self._idle.pop()
            if upstream.usable(now):
                return upstream
            upstream.writer.close()
        return None
