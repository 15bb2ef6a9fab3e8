"""Reads the bodies of requests: bounded in length, in what all of them hold together, and in the time that they take.

A body is admitted by the length that its head declares, before it is read: else many long bodies that arrive at the
same time would fill the memory before the gate sees the first of them.
"""

import asyncio
import zlib
from typing import Any

from lading.errors import Overloaded
from lading.serving.answers import Answer, failure, refusal, too_large
from lading.serving.config import ServeConfig
from lading.serving.errors import REQUEST_TIMEOUT, Code
from lading.serving.exchange import ClientGone
from lading.serving.gate import Gate

PATIENCE_SECONDS = 60.0
"""A body may take so long to arrive."""
LEAST_BYTES_PER_SECOND = 100_000
"""A long one may take longer, if it arrives at this pace."""

_READ_ON = 4
"""A body that is refused is read and thrown away up to this many times the limit of its length, so that a client which
sends before it reads gets the answer instead of a broken connection."""
_MOST_RATIO = 1032
"""No gzip stream holds more times its own length: https://zlib.net/zlib_tech.html."""
_LITTLE = 64 * 1024
"""So many bytes are decompressed on the event loop itself."""


class Bodies:
    """The bodies that are being read; used by the event loop only.

    Args:
        config: Its limits.
        gate: The bodies of its calls count too.
        patience_seconds: How long a short body may take.

    Attributes:
        held_bytes: What of them was read, or is about to be.
    """

    def __init__(self, config: ServeConfig, gate: Gate, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.held_bytes = 0
        self._limit = config.max_body_bytes
        self._most_held = config.max_held_bytes
        self._gate = gate
        self._patience = patience_seconds
        self._due: dict[asyncio.Task[Any], float] = {}
        self._sweeping = False

    async def read(self, headers: Any, protocol: Any) -> bytes | Answer:
        """The body of a request, decompressed; or the answer to one that is refused."""
        declared = headers.get("content-length", "")
        size = int(declared) if declared.isdigit() else None
        task = asyncio.current_task()
        assert task is not None
        self._watch(task, min(size or 0, _READ_ON * self._limit))
        try:
            body: bytes | Answer
            no = None if size is None else self._refusal(size)
            if size is not None and no is None:
                body = await self._read_whole(protocol, size)
            elif no is not None and headers.get("expect"):
                body = no  # the client waits to be asked for the body
            else:
                body = await self._read_parts(protocol, task, no)
        except asyncio.CancelledError:
            if task in self._due:
                raise
            task.uncancel()
            return _too_slow()
        except ClientGone:  # mostly nobody reads this
            return refusal(Code.INVALID_ARGUMENT, "the request's body ended early, or is not HTTP")
        finally:
            self._due.pop(task, None)
        if isinstance(body, bytes) and "gzip" in headers.get("content-encoding", ""):
            return await self._unpacked(body)
        return body

    async def _read_whole(self, protocol: Any, size: int) -> bytes:
        self.held_bytes += size
        try:
            body: bytes = await protocol()
        finally:
            self.held_bytes -= size
        return body

    async def _read_parts(
        self, protocol: Any, task: "asyncio.Task[Any]", answer: Answer | None = None
    ) -> bytes | Answer:
        """A body without a declared length; or the answer, if there is one already, after the body was thrown away."""
        found = bytearray()  # and no list: parts may have a byte each
        size = held = 0
        try:
            async for part in protocol:
                size += len(part)
                if answer is not None:
                    if size > _READ_ON * self._limit:
                        break
                    continue
                if size > self._limit:
                    answer = too_large(self._limit)
                elif self._is_full(len(part), own=held):
                    answer = self._overloaded(len(part))
                if answer is not None:
                    found.clear()
                    self.held_bytes, held = self.held_bytes - held, 0
                    continue
                found += part
                self.held_bytes, held = self.held_bytes + len(part), size
                self._due[task] += len(part) / LEAST_BYTES_PER_SECOND
        finally:
            self.held_bytes -= held
        return bytes(found) if answer is None else answer

    def _refusal(self, size: int) -> Answer | None:
        """The answer to a body that is not let in."""
        if size > self._limit:
            return too_large(self._limit)
        return self._overloaded(size) if self._is_full(size) else None

    def _is_full(self, size: int, *, own: int = 0) -> bool:
        """Whether so many bytes more are too many; not for who holds nothing beside its ``own``."""
        held = self.held_bytes + self._gate.held_bytes
        return held > own and held + size > self._most_held

    def _overloaded(self, size: int) -> Answer:
        held = self.held_bytes + self._gate.held_bytes
        return failure(
            Overloaded(
                f"the server is overloaded: the bodies of the requests that it holds would have {held + size} bytes, "
                f"and may have {self._most_held}; try again later"
            )
        )

    def _watch(self, task: "asyncio.Task[Any]", size: int) -> None:
        """Cancel a task that takes too long to read a body of so many bytes."""
        loop = asyncio.get_running_loop()
        self._due[task] = loop.time() + self._patience + size / LEAST_BYTES_PER_SECOND
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(self._patience / 10, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        # One timer for all: most bodies are there when they are asked for, and a timer each would cost more than they.
        now = loop.time()
        for task in [task for task, due in self._due.items() if due <= now]:
            del self._due[task]
            task.cancel()
        self._sweeping = bool(self._due)
        if self._sweeping:
            loop.call_later(self._patience / 10, self._sweep, loop)

    async def _unpacked(self, body: bytes) -> bytes | Answer:
        """What a gzip stream holds; empty if it is damaged, as in TensorFlow Serving."""
        size = int.from_bytes(body[-4:], "little")  # RFC 1952, ISIZE: the length of what is packed
        if size > _MOST_RATIO * len(body):
            return b""
        if size > self._limit:
            return too_large(self._limit)
        if size <= _LITTLE:
            return _decompress(body, size)
        if self._is_full(size):
            return self._overloaded(size)
        self.held_bytes += size
        try:
            return await asyncio.get_running_loop().run_in_executor(None, _decompress, body, size)
        finally:
            self.held_bytes -= size


def _too_slow() -> Answer:
    answer = refusal(Code.DEADLINE_EXCEEDED, "the request's body did not arrive in time")
    answer.status = REQUEST_TIMEOUT
    return answer


def _decompress(body: bytes, size: int) -> bytes:
    """What a gzip stream holds, if it is whole and of this length; else nothing."""
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = stream.decompress(body, size + 1)
    except zlib.error:
        return b""
    return plain if stream.eof and len(plain) == size else b""
