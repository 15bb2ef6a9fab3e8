"""Puts the requests of several threads together into one call of an engine.

Parameters and semantics: TensorFlow Serving's BatchingParameters (tensorflow_serving/batching/README.md,
servables/tensorflow/session_bundle_config.proto). No thread of its own: the first request that waits runs the batch
for the others, so that a lone request pays nothing for batching but a lock.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.errors import InvalidInput, Overloaded
from lading.predict.cpus import available_cpus
from lading.predict.model import Engine
from lading.predict.signature import Signature

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class BatchingConfig:
    """How requests are put together. Names and defaults: TensorFlow Serving's BatchingParameters.

    Raises:
        InvalidInput: values that contradict each other, all in one message.
    """

    max_batch_size: int = 1000
    """Most rows of a batch. A request of more rows runs alone."""
    batch_timeout_micros: int = 0
    """How long the oldest request waits for others while a thread is free. 0: only while none is free."""
    max_enqueued_batches: int = 10
    """So many batches' rows of one signature may wait; past it requests are refused."""
    num_batch_threads: int = 0
    """Most batches at once. 0: as many as there are processors."""
    allowed_batch_sizes: tuple[int, ...] = ()
    """Ascending, the last is ``max_batch_size``; batches are padded to one of these."""
    pad_variable_length_inputs: bool = False
    """Whether inputs that differ in other dimensions than the first are padded to the longest."""

    def __post_init__(self) -> None:
        problems = []
        for name, least in (("max_batch_size", 1), ("max_enqueued_batches", 1), ("num_batch_threads", 0)):
            if getattr(self, name) < least:
                problems.append(f"{name} is {getattr(self, name)}, expected {least} or more")
        if self.batch_timeout_micros < 0:
            problems.append(f"batch_timeout_micros is {self.batch_timeout_micros}, expected 0 or more")
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != self.max_batch_size):
            problems.append(
                f"allowed_batch_sizes are {list(sizes)}, expected ascending sizes of which the last is max_batch_size "
                f"({self.max_batch_size})"
            )
        if problems:
            raise InvalidInput("batching parameters: " + "; ".join(problems))


class _Call:
    """One request, from its place in a queue to its answer."""

    __slots__ = ("arrays", "due", "has_slot", "is_done", "queued", "result", "rows", "turn")

    def __init__(self, arrays: Sequence[Array], rows: int, *, timeout: float) -> None:
        self.arrays, self.rows = arrays, rows
        self.turn: threading.Condition | None = None
        """Made by the first sleep, which few requests need when there is little to do."""
        self.queued = time.monotonic()
        self.due = self.queued + timeout
        self.has_slot = False
        """Whether a batch that ended has left its slot to this request."""
        self.is_done = False
        self.result: list[Array] | None = None
        """None, when done: it is to run alone."""

    def wake(self) -> None:
        if self.turn:
            self.turn.notify()

    def sleep(self, lock: threading.Lock, seconds: float | None) -> None:
        self.turn = self.turn or threading.Condition(lock)
        self.turn.wait(seconds)


class _Queue:
    """Requests that may share a batch, in order."""

    __slots__ = ("calls", "rows")

    def __init__(self) -> None:
        self.calls: deque[_Call] = deque()
        self.rows = 0

    def leads(self, call: _Call) -> bool:
        return bool(self.calls) and self.calls[0] is call


class BatchingEngine:
    """An engine whose ``run`` calls in several threads become batches of another engine. Thread-safe.

    Requests whose arrays agree in types and in every dimension but the first share a batch, and each gets its own rows
    of the outputs (which are views of the batch's). When a batch fails, each of its requests runs alone, so that one
    bad request fails alone. Requests also run alone, as if there were no batching, if they have no rows in common (an
    input without dimensions, or different first dimensions), have more than ``max_batch_size`` rows, or are for a
    signature that declares a fixed first dimension or whose outputs turn out to have another one than its inputs.

    Args:
        engine: What computes; ``close`` closes it too.
        config: When a batch is full, and how long it waits.
        on_batch: Called after each batch with its rows, without padding, and the seconds that its oldest request
            waited; not for requests that run alone.
    """

    def __init__(
        self, engine: Engine, config: BatchingConfig, *, on_batch: Callable[[int, float], None] | None = None
    ) -> None:
        self.signatures: Mapping[str, Signature] = engine.signatures
        self._engine = engine
        self._config = config
        self._on_batch = on_batch
        self._timeout = config.batch_timeout_micros / 1e6
        self._capacity = config.max_enqueued_batches * config.max_batch_size
        self._alone = {name for name, signature in engine.signatures.items() if not _may_batch(signature)}
        self._lock = threading.Lock()
        self._free = config.num_batch_threads or available_cpus()
        """Slots: so many more batches may run now."""
        self._queues: dict[Hashable, _Queue] = {}
        """None is empty. Only the first request of a queue takes from it."""
        self._waiting_rows: dict[str, int] = dict.fromkeys(engine.signatures, 0)

    def run(self, signature: str, arrays: Sequence[Array]) -> list[Array]:
        """As ``Engine.run``, together with what other threads ask at the same time.

        Raises:
            Overloaded: too many rows wait; and what the engine raises for this request.
        """
        rows = self._rows(signature, arrays)
        if rows is None:
            return self._engine.run(signature, arrays)
        call = _Call(arrays, rows, timeout=self._timeout)
        with self._lock:
            batch = self._wait(signature, self._key(signature, arrays), call)
        if batch:
            queued_seconds = time.monotonic() - batch[0].queued
            try:
                self._run_batch(signature, batch)
            finally:
                self._finish(batch)  # also after an error: the others then run alone
            if self._on_batch:
                self._on_batch(sum(each.rows for each in batch), queued_seconds)
        return self._engine.run(signature, arrays) if call.result is None else call.result

    def close(self) -> None:
        """Close the engine; nothing runs any more."""
        self._engine.close()

    def _rows(self, signature: str, arrays: Sequence[Array]) -> int | None:
        """The rows of a request; None if it is to run alone."""
        if signature in self._alone or signature not in self.signatures or not all(array.ndim for array in arrays):
            return None
        rows: int = arrays[0].shape[0]
        if not 0 < rows <= self._config.max_batch_size or any(array.shape[0] != rows for array in arrays):
            return None
        return rows

    def _key(self, signature: str, arrays: Sequence[Array]) -> Hashable:
        """What requests have to agree in."""
        if self._config.pad_variable_length_inputs:
            return signature, *((array.dtype, array.ndim) for array in arrays)
        return signature, *((array.dtype, array.shape[1:]) for array in arrays)

    def _wait(self, signature: str, key: Hashable, call: _Call) -> list[_Call]:
        """Queue a request; its batch if it is the one to run it, nothing when another has run it. Holds the lock.

        Nobody sleeps through their turn: the first of a queue is woken when the queue is full, when it becomes the
        first, and when a slot is left to it; else it looks again by itself when it is due.
        """
        if self._waiting_rows[signature] + call.rows > self._capacity:
            raise Overloaded(
                f'{self._waiting_rows[signature]} rows are waiting for the signature "{signature}", and '
                f"max_enqueued_batches x max_batch_size is {self._capacity}: try again later"
            )
        queue = self._queues.setdefault(key, _Queue())
        queue.calls.append(call)
        queue.rows += call.rows
        self._waiting_rows[signature] += call.rows
        if queue.rows >= self._config.max_batch_size:
            queue.calls[0].wake()
        while not call.is_done:
            seconds = None
            if queue.leads(call):
                now = time.monotonic()
                if call.has_slot or (self._free and self._is_ripe(queue, now)):
                    self._free -= 0 if call.has_slot else 1
                    return self._take(signature, key)
                # Past its time it waits for a slot.
                seconds = call.due - now if call.due > now else None
            call.sleep(self._lock, seconds)
        return []

    def _is_ripe(self, queue: _Queue, now: float) -> bool:
        return queue.rows >= self._config.max_batch_size or queue.calls[0].due <= now

    def _take(self, signature: str, key: Hashable) -> list[_Call]:
        """The next batch of a queue, which is not empty. Holds the lock."""
        queue = self._queues[key]
        batch: list[_Call] = []
        rows = 0
        while queue.calls and rows + queue.calls[0].rows <= self._config.max_batch_size:
            batch.append(queue.calls.popleft())
            rows += batch[-1].rows
        queue.rows -= rows
        self._waiting_rows[signature] -= rows
        if queue.calls:
            queue.calls[0].wake()
        else:
            del self._queues[key]
        return batch

    def _finish(self, batch: Sequence[_Call]) -> None:
        """Wake the requests of a batch, and leave its slot to the request that has been due for longest."""
        with self._lock:
            for call in batch:
                call.is_done = True
                call.wake()
            now = time.monotonic()
            ripe = [queue.calls[0] for queue in self._queues.values() if self._is_ripe(queue, now)]
            heir = min((call for call in ripe if not call.has_slot), key=lambda call: call.due, default=None)
            if heir is None:
                self._free += 1
            else:
                heir.has_slot = True
                heir.wake()

    def _run_batch(self, signature: str, batch: Sequence[_Call]) -> None:
        """Give each request its result, or leave it without one, to be run alone."""
        rows = sum(call.rows for call in batch)
        size = next((size for size in self._config.allowed_batch_sizes if size >= rows), rows)
        if len(batch) == 1 and size == rows:
            batch[0].result = self._engine.run(signature, batch[0].arrays)
            return
        arrays = _joined([call.arrays for call in batch], padding=size - rows)
        try:
            outputs = self._engine.run(signature, arrays)
        except Exception:  # whatever it is, each request meets it, or does not, by itself
            return
        if any(output.ndim == 0 or output.shape[0] != size for output in outputs):
            self._alone.add(signature)
            return
        start = 0
        for call in batch:
            call.result = [output[start : start + call.rows] for output in outputs]
            start += call.rows


def _may_batch(signature: Signature) -> bool:
    """Whether every declared shape allows for a first dimension that varies, the same for all."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.inputs) and all(spec.shape is None or spec.shape[:1] == (None,) for spec in specs)


def _joined(requests: Sequence[Sequence[Array]], *, padding: int) -> list[Array]:
    """The arrays of several requests below each other, and the last row again so many times."""
    joined = []
    for arrays in zip(*requests, strict=True):
        parts = _same_shapes(arrays)
        joined.append(np.concatenate([*parts, *[parts[-1][-1:]] * padding]))
    return joined


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
