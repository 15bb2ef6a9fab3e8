"""Threads for predictions, and a bounded queue before them: past it, requests are refused at once.

Why not ThreadPoolExecutor: its queue has no bound, and a call whose caller went away keeps its arguments in memory
until a thread comes to it.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from lading.errors import Overloaded

T = TypeVar("T")


class _Call(Future[T]):
    """A call that waits or runs; its own future, so that cancelling it can take it out of the queue."""

    def __init__(self, gate: "Gate", call: Callable[[], T], size: int) -> None:
        super().__init__()
        self.call = call
        self.size = size
        self._gate = gate

    def cancel(self) -> bool:
        cancelled = super().cancel()
        if cancelled:
            self._gate._forget(self)
        return cancelled


class Gate:
    """Runs calls in threads. Thread-safe; use it as a context manager or call ``close``.

    Args:
        threads: How many calls run at once.
        max_queue: How many more may wait.
        max_bytes: How many bytes of request bodies the calls that wait or run may hold together. A single longer body
            is let in when nothing else is held.

    Attributes:
        most_calls: How many calls may run or wait.
        running: How many calls run.
        held_bytes: Length of the bodies of the calls that wait or run.
    """

    def __init__(self, threads: int, max_queue: int, max_bytes: int) -> None:
        self.running = 0
        self.held_bytes = 0
        self.most_calls, self._max_queue, self._max_bytes = threads + max_queue, max_queue, max_bytes
        self._waiting: deque[_Call[Any]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # Daemons: a thread inside TensorFlow cannot be interrupted, and must not keep the process from ending.
        self._threads = [threading.Thread(target=self._work, name=f"predict-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """How many calls wait."""
        return len(self._waiting)

    def submit(self, call: Callable[[], T], size_bytes: int = 0) -> "Future[T]":
        """Run ``call`` in a thread.

        Args:
            call: What to run.
            size_bytes: Length of the request body that it holds.

        Returns:
            Its result or error, once there. Cancelled before it began, it never runs and is let go at once.

        Raises:
            Overloaded: too many calls wait, their bodies hold too many bytes, or the gate is closed.
        """
        made = _Call(self, call, size_bytes)
        with self._changed:
            self._check(size_bytes)
            self._waiting.append(made)
            self.held_bytes += size_bytes
            self._changed.notify()
        return made

    def close(self) -> None:
        """Let the calls that were accepted end, then the threads; later ones are refused."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _check(self, size: int) -> None:
        if self._closed:
            raise Overloaded("the server is stopping, and takes no more requests")
        if len(self._waiting) + self.running >= self.most_calls:
            raise Overloaded(
                f"the server is overloaded: {self._max_queue} requests are waiting already; try again later"
            )
        if self.held_bytes and self.held_bytes + size > self._max_bytes:
            raise Overloaded(
                f"the server is overloaded: the bodies of the requests that it holds would have "
                f"{self.held_bytes + size} bytes, and may have {self._max_bytes}; try again later"
            )

    def _forget(self, call: _Call[Any]) -> None:
        """Take a cancelled call out of the queue, unless a thread has taken it already."""
        with self._changed:
            if call in self._waiting:
                self._waiting.remove(call)
                self.held_bytes -= call.size

    def _work(self) -> None:
        while (call := self._next()) is not None:
            self._run(call)
            del call  # else this thread would hold the body and the answer until its next call

    def _next(self) -> _Call[Any] | None:
        """The next call that was not cancelled; None when the gate is closed and nothing waits."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return None
                call = self._waiting.popleft()
                if call.set_running_or_notify_cancel():
                    self.running += 1
                    return call
                self.held_bytes -= call.size

    def _run(self, call: _Call[Any]) -> None:
        try:
            result = call.call()
        except BaseException as error:
            self._end(call)
            call.set_exception(error)
        else:
            self._end(call)
            call.set_result(result)

    def _end(self, call: _Call[Any]) -> None:
        del call.call  # it holds the body, and the caller may keep the future
        with self._changed:
            self.running -= 1
            self.held_bytes -= call.size

    def __enter__(self) -> "Gate":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
