"""Puts the requests of several threads together into one call of an engine.

Parameters and semantics: TensorFlow Serving's BatchingParameters (tensorflow_serving/batching/README.md,
servables/tensorflow/session_bundle_config.proto). No thread of its own: the first request that waits runs the batch
for the others, so that a lone request pays nothing for batching but a lock.
"""

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol

from lading.predict.batches import Array, Call, Part, Queue, common_rows, joined, may_batch
from lading.predict.batching_config import BatchingConfig
from lading.predict.cpus import available_cpus
from lading.predict.engine import Engine
from lading.predict.gathered import Gathered, overloaded
from lading.predict.signature import Signature

__all__ = ["BatchMonitor", "BatchingConfig", "BatchingEngine"]


class BatchMonitor(Protocol):
    """What is told of batches. Its methods are called from several threads."""

    def queued(self, rows: int, inputs: int) -> None:
        """A request of so many rows in so many inputs waits for a batch."""

    def ran(self, size: int, padding: int, waited_seconds: Sequence[float]) -> None:
        """A batch has run, whether or not it failed.

        Args:
            size: Its rows with those of padding.
            padding: The latter.
            waited_seconds: How long each of its requests had waited.
        """


class BatchingEngine:
    """An engine whose ``run`` calls in several threads become batches of another engine. Thread-safe.

    Requests whose arrays agree in types and in every dimension but the first share a batch, and each gets its own rows
    of the outputs (which are views of the batch's). When a batch fails, each of its requests runs alone, so that one
    bad request fails alone. Requests also run alone, as if there were no batching, if they have no rows in common (an
    input without dimensions, or different first dimensions), have more than ``max_batch_size`` rows, or are for a
    signature that declares a fixed first dimension or whose outputs turn out to have another one than its inputs. With
    ``enable_large_batch_splitting`` a request may be computed in several batches, and no call of the engine has more
    than ``max_execution_batch_size`` rows unless the rows of its answer do not fit together otherwise.

    Args:
        engine: What computes; ``close`` closes it too.
        config: When a batch is full, and how long it waits.
        on_batch: Called after each batch with its rows, without padding, and the seconds that its oldest request
            waited; not for requests that run alone.
        monitor: Is told more of each batch, and of each request that waits for one.
    """

    def __init__(
        self,
        engine: Engine,
        config: BatchingConfig,
        *,
        on_batch: Callable[[int, float], None] | None = None,
        monitor: BatchMonitor | None = None,
    ) -> None:
        self.signatures: Mapping[str, Signature] = engine.signatures
        self._engine = engine
        self._config = config
        self._on_batch = on_batch
        self._monitor = monitor
        self._timeout = config.batch_timeout_micros / 1e6
        self._largest = config.largest_batch
        self._capacity = config.capacity
        self._alone = {name for name, signature in engine.signatures.items() if not may_batch(signature)}
        self._lock = threading.Lock()
        self._free = config.num_batch_threads or available_cpus()
        """Slots: so many more batches may run now."""
        self._queues: dict[Hashable, Queue] = {}
        """None is empty. Only the leader of a queue, or who was left a slot, takes from it."""
        self._waiting_rows: dict[str, int] = dict.fromkeys(engine.signatures, 0)
        self._gathered = Gathered(
            engine,
            config,
            rows=self._counted_rows,
            key=self._key,
            on_batch=self._tell,
            never=self._alone.add,
        )

    def run(self, signature: str, arrays: Sequence[Array]) -> list[Array]:
        """As ``Engine.run``, together with what other threads ask at the same time.

        Raises:
            Overloaded: too many rows wait; and what the engine raises for this request.
        """
        rows = self._rows(signature, arrays)
        if rows is None:
            return self._run_alone(signature, arrays)
        call = Call(signature, arrays, rows, key=self._key(signature, arrays), timeout=self._timeout)
        self._enqueue(call)
        if self._monitor:
            self._monitor.queued(rows, len(arrays))
        while batch := self._wait(call):
            waits = [time.perf_counter() - part.call.queued for part in batch]
            try:
                self._run_batch(call, batch)
            finally:
                self._finish(batch)  # also after an error: the others then run alone
            self._tell(sum(part.rows for part in batch), waits)
        result = call.result()
        return self._run_alone(signature, arrays) if result is None else result

    def run_together(
        self, signature: str, requests: Sequence[Sequence[Array]], *, since: Sequence[float], until: float
    ) -> list[list[Array] | Exception | None]:
        """As ``run`` for each of several requests that one thread has, without waiting for others.

        Args:
            signature: Of all of them.
            requests: The arrays of each.
            since: ``time.perf_counter()`` when each came.
            until: From this time on nothing more is begun.

        Returns:
            For each request its outputs, or what ``run`` would raise, or None: it was not run, because the time is
            over, or because as many batches run in other threads as may.
        """
        with self._lock:
            if not self._free:
                return [None] * len(requests)
            self._free -= 1
            # The rows of the first batch do not wait.
            room = self._capacity + self._largest - self._waiting_rows.get(signature, 0)
        try:
            return self._gathered.run(signature, requests, since=since, until=until, room=room)
        finally:
            with self._lock:
                self._leave_slot()

    def close(self) -> None:
        """Close the engine; nothing runs any more."""
        self._engine.close()

    def _rows(self, signature: str, arrays: Sequence[Array]) -> int | None:
        """The rows of a request; None if it is to run alone."""
        if signature in self._alone or signature not in self.signatures:
            return None
        rows = common_rows(arrays)
        return rows if rows and rows <= min(self._config.max_batch_size, self._capacity) else None

    def _counted_rows(self, signature: str, arrays: Sequence[Array]) -> int | None:
        """As ``_rows``; a request that may share a batch is counted."""
        rows = self._rows(signature, arrays)
        if rows is not None and self._monitor:
            self._monitor.queued(rows, len(arrays))
        return rows

    def _key(self, signature: str, arrays: Sequence[Array]) -> Hashable:
        """What requests have to agree in."""
        if self._config.pad_variable_length_inputs:
            return signature, *[(array.dtype.char, array.ndim) for array in arrays]
        # Not the dtype itself, which is slow to hash.
        return signature, *[(array.dtype.char, array.shape[1:]) for array in arrays]

    def _enqueue(self, call: Call) -> None:
        with self._lock:
            waiting = self._waiting_rows[call.signature]
            if waiting + call.rows > self._capacity:
                raise overloaded(waiting, call.signature, self._capacity)
            queue = self._queues.setdefault(call.key, Queue())
            queue.add(call)
            self._waiting_rows[call.signature] += call.rows
            if queue.rows >= self._largest:
                queue.wake()

    def _wait(self, call: Call) -> list[Part]:
        """The next batch that the thread of a request is to run; nothing when all of its rows have been run.

        Nobody sleeps through their turn: the leader of a queue is woken when the queue is full, when it becomes the
        leader, and when a slot is left to it; else it looks again by itself when the first request is due.
        """
        with self._lock:
            call.is_busy = False
            while not call.is_done:
                if call.has_slot and not call.left:
                    self._pass_on(call)
                seconds = None
                if call.left:
                    queue = self._queues[call.key]
                    now = time.perf_counter()
                    leads = queue.leader() is call
                    if call.has_slot or (leads and self._free and self._is_ripe(queue, now)):
                        self._free -= 0 if call.has_slot else 1
                        call.has_slot, call.is_busy = False, True
                        return self._take(call.key, call.signature)
                    # Past its time it waits for a slot.
                    due = queue.calls[0].due
                    seconds = due - now if leads and due > now else None
                call.sleep(self._lock, seconds)
            if call.has_slot:
                self._pass_on(call)
        return []

    def _is_ripe(self, queue: Queue, now: float) -> bool:
        return queue.rows >= self._largest or queue.calls[0].due <= now

    def _take(self, key: Hashable, signature: str) -> list[Part]:
        """The next batch of a queue, which is not empty. Holds the lock."""
        queue = self._queues[key]
        batch = queue.take(self._largest, split=self._config.enable_large_batch_splitting)
        self._waiting_rows[signature] -= sum(part.rows for part in batch)
        if queue.calls:
            queue.wake()
        else:
            del self._queues[key]
        return batch

    def _finish(self, batch: Sequence[Part]) -> None:
        """Wake the requests of a batch, and leave its slot to the request that has been due for longest."""
        with self._lock:
            for part in batch:
                call = part.call
                call.running -= 1
                if part.start not in call.outputs:
                    call.failed = True
                    self._drop(call)
                call.wake()
            self._leave_slot()

    def _drop(self, call: Call) -> None:
        """Take what no batch has taken yet of a request that failed. Holds the lock."""
        if call.left:
            queue = self._queues[call.key]
            self._waiting_rows[call.signature] -= queue.drop(call)
            if queue.calls:
                queue.wake()
            else:
                del self._queues[call.key]

    def _pass_on(self, call: Call) -> None:
        """Give up the slot that was left to a request whose rows others have taken since. Holds the lock."""
        call.has_slot = False
        self._leave_slot()

    def _leave_slot(self) -> None:
        now = time.perf_counter()
        leaders = [queue.leader() for queue in self._queues.values() if self._is_ripe(queue, now)]
        ready = [call for call in leaders if call is not None and not call.has_slot]
        heir = min(ready, key=lambda call: call.due, default=None)
        if heir is None:
            self._free += 1
        else:
            heir.has_slot = True
            heir.wake()

    def _run_batch(self, own: Call, batch: Sequence[Part]) -> None:
        """Give each request its result, or leave it without one, to be run alone."""
        rows = sum(part.rows for part in batch)
        size = self._config.padded(rows)
        if len(batch) == 1 and size == rows and batch[0].is_all_of(own):
            own.outputs[0] = self._engine.run(own.signature, own.arrays)
            return
        arrays = joined([part.arrays for part in batch], padding=size - rows)
        try:
            outputs = self._engine.run(own.signature, arrays)
        except Exception:  # whatever it is, each request meets it, or does not, by itself
            return
        if common_rows(outputs) != size:
            self._alone.add(own.signature)
            return
        start = 0
        for part in batch:
            part.call.outputs[part.start] = [output[start : start + part.rows] for output in outputs]
            start += part.rows

    def _run_alone(self, signature: str, arrays: Sequence[Array]) -> list[Array]:
        """Run a request by itself; one of more rows than a batch may have in several calls, if it can be split."""
        rows = common_rows(arrays)
        can_split = self._config.enable_large_batch_splitting and signature in self.signatures
        if can_split and rows is not None and rows > self._largest and signature not in self._alone:
            call = Call(signature, arrays, rows, key=None, timeout=0)
            while call.left:
                part = call.take(min(call.left, self._largest))
                call.outputs[part.start] = self._engine.run(signature, part.arrays)
                if common_rows(call.outputs[part.start]) != part.rows:
                    self._alone.add(signature)
                    return self._engine.run(signature, arrays)
            result = call.result()
            if result is not None:
                return result
        return self._engine.run(signature, arrays)

    def _tell(self, rows: int, waits: Sequence[float]) -> None:
        """A batch of so many rows ran; each of its requests had waited so long."""
        if self._on_batch:
            self._on_batch(rows, waits[0])
        if self._monitor:
            size = self._config.padded(rows)
            self._monitor.ran(size, size - rows, waits)
