"""Carries what threads make to those who wait for it in an event loop."""

import asyncio
from collections import deque
from typing import Any

Waiter = asyncio.Future[Any]


class Post:
    """The way into one event loop: results from threads, and TimeoutError for those who wait for too long.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._results: deque[tuple[Waiter, Any, BaseException | None]] = deque()
        self._is_called = False
        self._due: dict[Waiter, float] = {}
        self._next_look = float("inf")

    def put(self, waiter: Waiter, result: Any, error: BaseException | None) -> None:
        """Give a waiter its result or error; called by any thread."""
        self._results.append((waiter, result, error))
        if not self._is_called:  # else the loop is woken already, and looks after this was added
            self._is_called = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._results.clear()

    def _deliver(self) -> None:
        self._is_called = False
        while self._results:
            waiter, result, error = self._results.popleft()
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(result)
            else:
                waiter.set_exception(error)

    def watch(self, waiter: Waiter, seconds: float) -> None:
        """Have a waiter raise TimeoutError after so long, unless ``forget`` is called before."""
        due = self._due[waiter] = self.loop.time() + seconds
        if due < self._next_look:
            self._look_at(due)

    def forget(self, waiter: Waiter) -> None:
        """The waiter's time does not matter any more."""
        self._due.pop(waiter, None)

    def _look_at(self, due: float) -> None:
        # One timer for all: most calls end long before they are due, and a timer each would cost more than they.
        self._next_look = due
        self.loop.call_at(due, self._look, due)

    def _look(self, asked: float) -> None:
        if asked != self._next_look:
            return  # somebody who came later is due earlier, and has moved this look
        for waiter in [waiter for waiter, due in self._due.items() if due <= asked]:
            del self._due[waiter]
            if not waiter.done():
                waiter.set_exception(TimeoutError())
        self._next_look = float("inf")
        if self._due:
            self._look_at(min(self._due.values()))
