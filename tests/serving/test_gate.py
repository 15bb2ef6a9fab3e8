"""What waits for a thread is bounded, and what nobody waits for is not run."""

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Sequence
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


def each(make: "Callable[[int], int]") -> "Callable[[Sequence[int]], list[int]]":
    return lambda arguments: [make(argument) for argument in arguments]


def test_from_an_event_loop_a_timeout_frees_the_place() -> None:
    async def scene(gate: Gate, door: Door) -> None:
        with pytest.raises(TimeoutError):
            await gate.run(each(lambda n: n), 1, 10, timeout_seconds=0.01)
        assert (gate.queued, gate.held_bytes) == (0, 0)
        last = asyncio.ensure_future(gate.run(each(lambda n: n), 2, timeout_seconds=20))
        await asyncio.sleep(0)
        door.leave.set()
        assert await last == 2

    with Gate(1, 1, 100) as gate:
        door, _ = busy(gate)
        asyncio.run(scene(gate, door))


def test_an_event_loop_gets_results_errors_and_refusals() -> None:
    async def scene(gate: Gate) -> None:
        assert await gate.run(each(lambda n: 2 * n), 3, timeout_seconds=20) == 6
        with pytest.raises(ZeroDivisionError):
            await gate.run(each(lambda n: 1 // n), 0, timeout_seconds=20)
        door, _ = busy(gate, 60)
        with pytest.raises(Overloaded, match="would have 101 bytes"):
            await gate.run(each(lambda n: n), 1, 41, timeout_seconds=20)
        door.leave.set()

    with Gate(1, 1, 100) as gate:
        asyncio.run(scene(gate))


def test_each_waits_for_its_own_time() -> None:
    async def wait(gate: Gate, seconds: float) -> float:
        started = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await gate.run(each(lambda n: n), 1, timeout_seconds=seconds)
        return asyncio.get_running_loop().time() - started

    async def scene(gate: Gate) -> None:
        longest, shortest, middle = await asyncio.gather(*(wait(gate, seconds) for seconds in (0.4, 0.05, 0.2)))
        assert shortest < middle < longest
        assert (shortest >= 0.05, middle >= 0.2, longest >= 0.4) == (True, True, True)

    with Gate(1, 9, 100) as gate:
        door, _ = busy(gate)
        asyncio.run(scene(gate))
        assert gate.queued == 0
        door.leave.set()


def test_who_is_cancelled_in_an_event_loop_leaves_the_queue() -> None:
    async def scene(gate: Gate) -> None:
        task = asyncio.ensure_future(gate.run(each(lambda n: n), 1, 10, timeout_seconds=20))
        await asyncio.sleep(0)
        assert gate.queued == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (gate.queued, gate.held_bytes) == (0, 0)

    with Gate(1, 9, 100) as gate:
        door, _ = busy(gate)
        asyncio.run(scene(gate))
        door.leave.set()


def test_calls_of_one_kind_that_wait_are_made_at_once() -> None:
    groups: list[list[int]] = []

    def make(arguments: Sequence[int]) -> list[int]:
        groups.append(list(arguments))
        return [argument + 100 for argument in arguments]

    async def scene(gate: Gate, door: Door) -> None:
        asked = [gate.run(make, n, 1, timeout_seconds=20, most=3) for n in range(5)]
        asked += [gate.run(each(lambda n: n), 5, 1, timeout_seconds=20), gate.run(make, 6, 1, timeout_seconds=20)]
        tasks = [asyncio.ensure_future(one) for one in asked]
        await asyncio.sleep(0)
        assert (gate.queued, gate.held_bytes) == (7, 7)
        door.leave.set()
        assert await asyncio.gather(*tasks) == [100, 101, 102, 103, 104, 5, 106]

    with Gate(1, 9, 100) as gate:
        door, _ = busy(gate)
        asyncio.run(scene(gate, door))
        assert (gate.running, gate.queued, gate.held_bytes) == (0, 0, 0)
    assert groups == [[0, 1, 2], [3, 4], [6]]


def test_no_thread_takes_what_leaves_others_with_nothing() -> None:
    meeting = threading.Barrier(4)

    def make(arguments: Sequence[int]) -> list[int]:
        meeting.wait(20)  # fails unless all four are there, each in a thread of its own
        return list(arguments)

    async def scene(gate: Gate, doors: list[Door]) -> None:
        tasks = [asyncio.ensure_future(gate.run(make, n, timeout_seconds=20, most=4)) for n in range(4)]
        await asyncio.sleep(0)
        for door in doors:
            door.leave.set()
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3]

    with Gate(4, 9, 100) as gate:
        doors = [busy(gate)[0] for _ in range(4)]
        asyncio.run(scene(gate, doors))


def test_an_error_of_calls_that_are_made_at_once_is_that_of_each() -> None:
    def make(arguments: Sequence[int]) -> list[int]:
        raise InvalidInstance(f"{len(arguments)} at once")

    async def scene(gate: Gate, door: Door) -> None:
        tasks = [asyncio.ensure_future(gate.run(make, n, timeout_seconds=20, most=2)) for n in range(2)]
        await asyncio.sleep(0)
        door.leave.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(error) for error in found] == ["2 at once"] * 2

    with Gate(1, 9, 100) as gate:
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
