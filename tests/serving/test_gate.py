"""What waits for a thread is bounded, and what nobody waits for is not run."""

import asyncio
import contextlib
import gc
import threading
import weakref
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from lading.errors import InvalidInstance, Overloaded
from lading.serving.gate import Gate


class Door:
    """A call that runs until it is told to end."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        assert self.leave.wait(20)
        return "through"


def busy(gate: Gate, size: int = 0) -> "tuple[Door, Future[str]]":
    door = Door()
    future = gate.submit(door, size)
    assert door.entered.wait(20)
    return door, future


def test_results_and_errors() -> None:
    def fail() -> None:
        raise InvalidInstance("no")

    with Gate(2, 10, 100) as gate:
        assert gate.submit(lambda: 3).result(20) == 3
        with pytest.raises(InvalidInstance, match="no"):
            gate.submit(fail).result(20)
        assert (gate.running, gate.queued, gate.held_bytes) == (0, 0, 0)


def test_past_the_bound_calls_are_refused_until_one_ends() -> None:
    with Gate(1, 2, 100) as gate:
        door, first = busy(gate)
        waiting = [gate.submit(lambda n=n: n) for n in range(2)]  # type: ignore[misc]
        assert (gate.running, gate.queued) == (1, 2)
        with pytest.raises(Overloaded, match="2 requests are waiting already"):
            gate.submit(lambda: 3)
        door.leave.set()
        assert (first.result(20), [each.result(20) for each in waiting]) == ("through", [0, 1])
        assert gate.submit(lambda: 4).result(20) == 4


def test_no_queue_still_serves_when_a_thread_is_free() -> None:
    with Gate(1, 0, 100) as gate:
        assert [gate.submit(lambda: 1).result(20) for _ in range(5)] == [1] * 5
        door, _ = busy(gate)
        with pytest.raises(Overloaded):
            gate.submit(lambda: 1)
        door.leave.set()


def test_bodies_are_bounded_together() -> None:
    with Gate(1, 10, 100) as gate:
        door, _ = busy(gate, 60)
        waiting = gate.submit(lambda: 1, 40)
        with pytest.raises(Overloaded, match="would have 101 bytes, and may have 100"):
            gate.submit(lambda: 1, 1)
        door.leave.set()
        waiting.result(20)
        assert gate.held_bytes == 0
        assert gate.submit(lambda: 1, 1000).result(20) == 1  # nothing else is held: it would never fit otherwise


def test_a_cancelled_call_never_runs_and_its_body_is_let_go_at_once() -> None:
    class Body:
        def __call__(self) -> None:
            ran.append(self)

    ran: list[Any] = []
    with Gate(1, 1, 100) as gate:
        door, _ = busy(gate)
        body = Body()
        gone, future = weakref.ref(body), gate.submit(body, 50)
        assert future.cancel()
        del body, future
        gc.collect()
        assert gone() is None
        assert (gate.queued, gate.held_bytes) == (0, 0)
        again = gate.submit(lambda: 1)  # there is room again
        door.leave.set()
        assert again.result(20) == 1
    assert ran == []


def test_a_call_that_runs_cannot_be_cancelled() -> None:
    with Gate(1, 1, 100) as gate:
        door, future = busy(gate, 10)
        assert not future.cancel()
        assert gate.held_bytes == 10
        door.leave.set()
        assert future.result(20) == "through"


def test_nothing_is_kept_after_an_answer() -> None:
    class Body:
        def __call__(self) -> int:
            return 1

    with Gate(1, 1, 100) as gate:
        body = Body()
        gone, future = weakref.ref(body), gate.submit(body)
        del body
        assert future.result(20) == 1
        assert gone() is None  # without the garbage collector


def test_closing_ends_what_was_accepted_and_refuses_the_rest() -> None:
    gate = Gate(1, 5, 100)
    door, first = busy(gate)
    waiting = gate.submit(lambda: 2)
    closing = threading.Thread(target=gate.close)
    closing.start()
    while not gate._closed:
        pass
    with pytest.raises(Overloaded, match="stopping"):
        gate.submit(lambda: 3)
    door.leave.set()
    closing.join(20)
    assert (first.result(0), waiting.result(0)) == ("through", 2)
    assert not any(thread.is_alive() for thread in gate._threads)


def test_from_an_event_loop_a_timeout_frees_the_place() -> None:
    async def scene(gate: Gate, door: Door) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(gate.submit(lambda: 1, 10)), 0.01)
        assert (gate.queued, gate.held_bytes) == (0, 0)
        last = asyncio.wrap_future(gate.submit(lambda: 2))
        door.leave.set()
        assert await last == 2

    with Gate(1, 1, 100) as gate:
        door, _ = busy(gate)
        asyncio.run(scene(gate, door))


def test_many_threads_that_submit_and_cancel_leave_nothing_behind() -> None:
    counted = []

    def work(gate: Gate) -> None:
        for number in range(300):
            try:
                future = gate.submit(lambda: 1, 7)
            except Overloaded:
                continue
            if number % 3 == 0:
                future.cancel()
            with contextlib.suppress(CancelledError):
                counted.append(future.result(20))

    with Gate(4, 8, 10_000) as gate:
        threads = [threading.Thread(target=work, args=(gate,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert (gate.running, gate.queued, gate.held_bytes) == (0, 0, 0)
    assert counted
