"""An engine that remembers, and what holds up a batching engine around it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lading.errors import InvalidInstance
from lading.predict.batching import BatchingEngine
from lading.predict.signature import Signature, TensorSpec

Array = npt.NDArray[Any]


def spec(name: str, shape: tuple[int | None, ...] | None, dtype: Any = np.float32) -> TensorSpec:
    return TensorSpec(name, np.dtype(dtype), shape, f"{name}:0", 1)


def signature(name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Signature:
    return Signature(name, "", {each.name: each for each in inputs}, {each.name: each for each in outputs})


SIGNATURES = [
    signature("double", [spec("x", (None, None))], [spec("y", (None, None)), spec("sum", (None,))]),
    signature("any", [spec("x", None)], [spec("y", None)]),
    signature("total", [spec("x", (None, 2))], [spec("y", None)]),
    signature("fixed", [spec("x", (1, 2))], [spec("y", (1, 2))]),
    signature("scalar", [spec("x", (None, 2))], [spec("mean", ())]),
    signature("two", [spec("a", (None, 2)), spec("b", (None,))], [spec("y", (None, 2))]),
    signature("text", [spec("x", (None,), object)], [spec("y", (None,), object)]),
]


class Recorder:
    """An engine in numpy that remembers what it was given, and can be held up."""

    def __init__(self) -> None:
        self.signatures: Mapping[str, Signature] = {each.name: each for each in SIGNATURES}
        self.ran: list[list[tuple[int, ...]]] = []
        self.given: list[Sequence[Array]] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.closed = False

    def run(self, signature: str, arrays: Sequence[Array]) -> list[Array]:
        self.ran.append([array.shape for array in arrays])
        self.given.append(arrays)
        self.entered.release()
        assert self.open.wait(20)
        x = arrays[0]
        if x.dtype.kind == "f" and (x == 13).any():
            raise InvalidInstance("13 is refused")
        if x.dtype.kind == "f" and (x == 14).any():
            raise ZeroDivisionError("14 is a bug")
        if signature == "double":
            return [x * 2, x.sum(axis=1)]
        if signature in ("total", "scalar"):
            return [np.asarray(x.sum())]
        return [x + arrays[1][:, None]] if signature == "two" else [x + x]

    def close(self) -> None:
        self.closed = True


class Held:
    """Holds the only slot of a batching engine with one request, so that what follows queues up."""

    def __init__(self, recorder: Recorder, batching: BatchingEngine, pool: ThreadPoolExecutor) -> None:
        self.recorder, self.batching, self.pool = recorder, batching, pool
        recorder.open.clear()
        self.first = pool.submit(batching.run, "double", [rows(99)])
        assert recorder.entered.acquire(timeout=20)

    def submit(self, name: str, *requests: Sequence[Array]) -> list[Any]:
        """Queue the requests, in order."""
        futures = []
        for arrays in requests:
            before = self.batching._waiting_rows[name]
            futures.append(self.pool.submit(self.batching.run, name, arrays))
            wait_until(lambda before=before: self.batching._waiting_rows[name] > before)  # type: ignore[misc]
        return futures

    def release(self) -> None:
        self.recorder.open.set()
        self.first.result(20)


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(4000):
        if condition():
            return
        pause.wait(0.005)
    pytest.fail("it did not happen within 20 s")


def rows(*values: float, width: int = 2) -> Array:
    return np.repeat(np.array(values, np.float32)[:, None], width, axis=1)
