"""Requests that wait for a batch, the parts of them that a batch takes, and how parts become arrays and answers."""

import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.predict.signature import Signature

Array = npt.NDArray[Any]


class Call:
    """One request, from its place in a queue to its answer. Whoever reads or alters it holds the engine's lock.

    Attributes:
        left: Rows that no batch has taken yet.
        running: Parts in batches that have not ended.
        failed: Whether a part has no outputs: the request is to run alone.
        is_busy: Whether its thread runs a batch, and cannot look at the queue.
        has_slot: Whether a batch that ended has left its slot to this request.
    """

    __slots__ = (
        *("arrays", "due", "failed", "has_slot", "is_busy", "key", "left"),
        *("outputs", "queued", "rows", "running", "signature", "turn"),
    )

    def __init__(self, signature: str, arrays: Sequence[Array], rows: int, *, key: Hashable, timeout: float) -> None:
        self.signature, self.key = signature, key
        self.arrays, self.rows, self.left = arrays, rows, rows
        self.running = 0
        self.outputs: dict[int, list[Array]] = {}
        self.failed = self.is_busy = self.has_slot = False
        self.turn: threading.Condition | None = None
        """Made by the first sleep, which few requests need when there is little to do."""
        self.queued = time.perf_counter()
        self.due = self.queued + timeout

    @property
    def is_done(self) -> bool:
        """Whether every row was in a batch that has ended."""
        return not self.left and not self.running

    def take(self, rows: int) -> "Part":
        """The next rows, for a batch."""
        part = Part(self, self.rows - self.left, rows)
        self.left -= rows
        self.running += 1
        return part

    def result(self) -> list[Array] | None:
        """The outputs of all parts below each other; None if one failed, or they do not fit together."""
        if self.failed:
            return None
        parts = [self.outputs[start] for start in sorted(self.outputs)]
        if len(parts) == 1:
            return parts[0]
        joined = []
        for outputs in zip(*parts, strict=True):
            # With inputs of variable length each batch has a length of its own, and its outputs may have it too.
            if len({output.shape[1:] for output in outputs}) > 1:
                return None
            joined.append(np.concatenate(outputs))
        return joined

    def wake(self) -> None:
        """Let its thread look again."""
        if self.turn:
            self.turn.notify()

    def sleep(self, lock: threading.Lock, seconds: float | None) -> None:
        """Wait until ``wake``, at most so long."""
        self.turn = self.turn or threading.Condition(lock)
        self.turn.wait(seconds)


class Part:
    """Some rows of a request, mostly all of them."""

    __slots__ = ("call", "rows", "start")

    def __init__(self, call: Call, start: int, rows: int) -> None:
        self.call, self.start, self.rows = call, start, rows

    def is_all_of(self, call: Call) -> bool:
        """Whether these are all rows of a request."""
        return self.call is call and self.rows == call.rows

    @property
    def arrays(self) -> Sequence[Array]:
        """Its rows of each input."""
        if self.rows == self.call.rows:
            return self.call.arrays
        return [array[self.start : self.start + self.rows] for array in self.call.arrays]


class Queue:
    """Requests that may share a batch, in order; the first may have been taken in part."""

    __slots__ = ("calls", "rows")

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        self.rows = 0

    def add(self, call: Call) -> None:
        """Put a request at the end."""
        self.calls.append(call)
        self.rows += call.rows

    def leader(self) -> Call | None:
        """The first request whose thread can run a batch."""
        return next((call for call in self.calls if not call.is_busy), None)

    def wake(self) -> None:
        """Let the leader look again."""
        leader = self.leader()
        if leader is not None:
            leader.wake()

    def take(self, most: int, *, split: bool) -> list[Part]:
        """The next batch, of at most so many rows.

        Args:
            most: No request has more, unless they are split.
            split: Whether the last request is taken in part if it does not fit.
        """
        batch: list[Part] = []
        room = most
        while self.calls and room:
            call = self.calls[0]
            if call.left > room and not split:
                break
            batch.append(call.take(min(call.left, room)))
            room -= batch[-1].rows
            if not call.left:
                self.calls.popleft()
        self.rows -= most - room
        return batch

    def drop(self, call: Call) -> int:
        """Take a request out; how many rows of it were left."""
        self.calls.remove(call)
        rows, call.left = call.left, 0
        self.rows -= rows
        return rows


def common_rows(arrays: Sequence[Array]) -> int | None:
    """The first dimension that arrays have in common; None if they have none."""
    sizes = {array.shape[:1] for array in arrays}
    if len(sizes) != 1:
        return None
    (first,) = sizes
    return first[0] if first else None


def may_batch(signature: Signature) -> bool:
    """Whether every declared shape allows for a first dimension that varies, the same for all."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.inputs) and all(spec.shape is None or spec.shape[:1] == (None,) for spec in specs)


def joined(requests: Sequence[Sequence[Array]], *, padding: int) -> list[Array]:
    """The arrays of several requests below each other, and the last row again so many times."""
    together = []
    for arrays in zip(*requests, strict=True):
        parts = arrays if len({array.shape[1:] for array in arrays}) == 1 else _same_shapes(arrays)
        together.append(np.concatenate([*parts, *[parts[-1][-1:]] * padding]))
    return together


def _same_shapes(arrays: Sequence[Array]) -> list[Array]:
    """Arrays of one rank, those that are smaller filled up with their own first element, as TensorFlow Serving does."""
    inner = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))
    filled = []
    for array in arrays:
        if array.shape[1:] != inner:
            whole = np.empty((array.shape[0], *inner), array.dtype)
            whole[...] = array.flat[0] if array.size else whole.dtype.type()
            whole[tuple(slice(size) for size in array.shape)] = array
            array = whole
        filled.append(array)
    return filled
