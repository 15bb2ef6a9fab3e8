"""Threads for predictions, and a bounded queue before them: past it, requests are refused at once.

Why not ThreadPoolExecutor: its queue has no bound, and a call whose caller went away keeps its arguments in memory
until a thread comes to it. And what it does for each call costs too much here: between two computations of a model,
which leave nothing else in the processor's caches, a line of Python costs a multiple of what it costs in a loop.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, TypeVar

from lading.errors import Overloaded
from lading.serving.post import Post

A = TypeVar("A")
T = TypeVar("T")
_Make = Callable[[Sequence[Any]], Sequence[Any]]


class _Entry(Protocol):
    """A call that waits or runs."""

    make: _Make
    argument: Any
    size: int
    most: int

    def begin(self) -> bool:
        """Whether it is still wanted; from now on it cannot be cancelled."""

    def end(self, result: Any, error: BaseException | None) -> None:
        """Hand over what came out."""


class _Call(Future[T]):
    """A call for another thread; its own future, so that cancelling it can take it out of the queue."""

    most = 1

    def __init__(self, gate: "Gate", call: Callable[[], T], size: int) -> None:
        super().__init__()
        self.make: _Make = _alone
        self.argument: Any = call
        self.size = size
        self._gate = gate

    def cancel(self) -> bool:
        cancelled = super().cancel()
        if cancelled:
            self._gate._forget(self)
        return cancelled

    def begin(self) -> bool:
        return self.set_running_or_notify_cancel()

    def end(self, result: Any, error: BaseException | None) -> None:
        if error is None:
            self.set_result(result)
        else:
            self.set_exception(error)


def _alone(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    return [call() for call in calls]


class _Awaited:
    """A call for an event loop."""

    __slots__ = ("_post", "argument", "make", "most", "size", "waiter")

    def __init__(self, make: _Make, argument: Any, size: int, *, most: int, post: Post) -> None:
        self.make, self.argument, self.size, self.most = make, argument, size, most
        self._post = post
        self.waiter: asyncio.Future[Any] = post.loop.create_future()

    def begin(self) -> bool:
        return not self.waiter.done()

    def end(self, result: Any, error: BaseException | None) -> None:
        self._post.put(self.waiter, result, error)


class Gate:
    """Runs calls in threads. Thread-safe; use it as a context manager or call ``close``.

    Args:
        threads: How many run side by side.
        max_queue: How many more calls than threads there may be.
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
        self._waiting: deque[_Entry] = deque()
        self._lock = threading.Lock()
        self._idle: list[threading.Lock] = []
        """What wakes each thread that sleeps. The last of them slept least: its caches are warm."""
        self._closed = False
        self._post: Post | None = None
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
        self._add(made)
        return made

    async def run(
        self,
        make: Callable[[Sequence[A]], Sequence[T]],
        argument: A,
        size_bytes: int = 0,
        *,
        timeout_seconds: float,
        most: int = 1,
    ) -> T:
        """Have a thread make a result of an argument, and wait for it in an event loop: the same one for all calls.

        Args:
            make: Called with the argument, and those of calls behind it that have an equal ``make``; gives as many
                results. What it raises, all of them raise.
            argument: What the result is made of.
            size_bytes: Length of the request body that it holds.
            timeout_seconds: How long to wait.
            most: How many arguments may be given to ``make`` at once. There are less as long as other threads would
                have none.

        Raises:
            Overloaded: as ``submit``.
            TimeoutError: there is no result after so long. A call that still waited never runs.
        """
        loop = asyncio.get_running_loop()
        if self._post is None or self._post.loop is not loop:
            self._post = Post(loop)
        post = self._post
        made = _Awaited(make, argument, size_bytes, most=most, post=post)
        del argument  # what it holds is let go when it has run, and not when the caller turns to the result
        self._add(made)
        waiter = made.waiter
        post.watch(waiter, timeout_seconds)
        try:
            result: T = await waiter
        except (TimeoutError, asyncio.CancelledError):
            self._forget(made)
            raise
        finally:
            post.forget(waiter)
        return result

    def close(self) -> None:
        """Let the calls that were accepted end, then the threads; later ones are refused."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for bell in idle:
            bell.release()
        for thread in self._threads:
            thread.join()

    def _add(self, made: _Entry) -> None:
        with self._lock:
            self._check(made.size)
            self._waiting.append(made)
            self.held_bytes += made.size
            bell = self._idle.pop() if self._idle else None
        if bell is not None:
            bell.release()

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

    def _forget(self, made: _Entry) -> None:
        """Take a cancelled call out of the queue, unless a thread has taken it already."""
        with self._lock:
            if made in self._waiting:
                self._waiting.remove(made)
                self.held_bytes -= made.size

    def _work(self) -> None:
        bell = threading.Lock()
        bell.acquire()
        while made := self._next(bell):
            self._run(made)
            del made  # else this thread would hold the body and the answer until its next call

    def _next(self, bell: threading.Lock) -> list[_Entry]:
        """The calls to run now, mostly one; none when the gate is closed and nothing waits."""
        while True:
            with self._lock:
                if found := self._take():
                    self.running += len(found)
                    return found
                if self._closed:
                    return []
                self._idle.append(bell)
            bell.acquire()

    def _take(self) -> list[_Entry]:
        """The first call that was not cancelled, and those that may be made with it. Holds the lock."""
        waiting = self._waiting
        share = -(-len(waiting) // len(self._threads))
        found: list[_Entry] = []
        while waiting:
            if found and (len(found) >= min(share, found[0].most) or waiting[0].make != found[0].make):
                break
            made = waiting.popleft()
            if made.begin():
                found.append(made)
            else:
                self.held_bytes -= made.size
        return found

    def _run(self, made: Sequence[_Entry]) -> None:
        error: BaseException | None = None
        results: Sequence[Any] = [None] * len(made)
        try:
            results = made[0].make([each.argument for each in made])
        except BaseException as raised:
            error = raised
        with self._lock:
            self.running -= len(made)
            for each in made:
                each.argument = None  # it holds the body, and the caller may keep what it was given
                self.held_bytes -= each.size
        for each, result in zip(made, results, strict=True):
            each.end(result, error)

    def __enter__(self) -> "Gate":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
