"""Batches of requests that one thread has at the same time: nobody waits, so there are no locks and no queues."""

import time
from collections.abc import Callable, Hashable, Iterator, Sequence

from lading.errors import Overloaded
from lading.predict.batches import Array, common_rows, joined
from lading.predict.batching_config import BatchingConfig
from lading.predict.engine import Engine

Outcome = list[Array] | Exception | None
"""What becomes of a request: its outputs, or what it raises; None if it was not run."""
Told = Callable[[int, Sequence[float]], None]
"""Is told of a batch that ran: its rows, and how many seconds each of its requests waited."""


class Gathered:
    """Runs such requests by the rules of ``BatchingEngine``, which uses it.

    Args:
        engine: What computes.
        config: Which has no ``enable_large_batch_splitting``.
        rows: The rows of a request; None if it is to run alone.
        key: What requests have to agree in to share a batch.
        on_batch: Called after each batch.
        never: Called with a signature whose outputs turn out not to have the rows of its inputs.
    """

    def __init__(
        self,
        engine: Engine,
        config: BatchingConfig,
        *,
        rows: Callable[[str, Sequence[Array]], int | None],
        key: Callable[[str, Sequence[Array]], Hashable],
        on_batch: Told,
        never: Callable[[str], None],
    ) -> None:
        self._engine, self._config = engine, config
        self._rows, self._key, self._on_batch, self._never = rows, key, on_batch, never

    def run(
        self,
        signature: str,
        requests: Sequence[Sequence[Array]],
        *,
        since: Sequence[float],
        until: float,
        room: int,
    ) -> list[Outcome]:
        """What becomes of each request.

        Args:
            signature: Of all of them.
            requests: The arrays of each.
            since: ``time.perf_counter()`` when each came.
            until: From this time on nothing more is begun.
            room: So many rows are computed together; who comes after that is refused.
        """
        found: list[Outcome] = [None] * len(requests)
        for batch in self._batches(signature, requests, found, room):
            begun = time.perf_counter()
            if begun >= until:
                break
            if self._run_batch(signature, requests, batch, found):
                self._on_batch(sum(rows for _, rows in batch), [begun - since[index] for index, _ in batch])
        for index, arrays in enumerate(requests):
            if found[index] is None and time.perf_counter() < until:
                found[index] = self._run_alone(signature, arrays)
        return found

    def _batches(
        self, signature: str, requests: Sequence[Sequence[Array]], found: list[Outcome], room: int
    ) -> Iterator[list[tuple[int, int]]]:
        """The place and the rows of each request of a batch; who is refused is ``found``."""
        most = room
        groups: dict[Hashable, list[tuple[int, int]]] = {}
        for index, arrays in enumerate(requests):
            rows = self._rows(signature, arrays)
            if rows is None:
                continue
            if rows > room:
                found[index] = overloaded(most - room, signature, self._config.capacity)
                continue
            room -= rows
            groups.setdefault(self._key(signature, arrays), []).append((index, rows))
        for members in groups.values():
            batch: list[tuple[int, int]] = []
            size = 0
            for index, rows in members:
                if size + rows > self._config.largest_batch:
                    yield batch
                    batch, size = [], 0
                batch.append((index, rows))
                size += rows
            yield batch

    def _run_batch(
        self,
        signature: str,
        requests: Sequence[Sequence[Array]],
        batch: list[tuple[int, int]],
        found: list[Outcome],
    ) -> bool:
        """Give each request its outputs, or leave it without, to be run alone; whether it was run as a batch."""
        rows = sum(rows for _, rows in batch)
        size = self._config.padded(rows)
        if len(batch) == 1 and size == rows:
            index = batch[0][0]
            found[index] = self._run_alone(signature, requests[index])
            return not isinstance(found[index], Exception)
        try:
            outputs = self._engine.run(signature, joined([requests[index] for index, _ in batch], padding=size - rows))
        except Exception:  # whatever it is, each request meets it, or does not, by itself
            return True
        if common_rows(outputs) != size:
            self._never(signature)
            return True
        start = 0
        for index, rows in batch:
            found[index] = [output[start : start + rows] for output in outputs]
            start += rows
        return True

    def _run_alone(self, signature: str, arrays: Sequence[Array]) -> Outcome:
        try:
            return self._engine.run(signature, arrays)
        except Exception as error:  # of this request only
            return error


def overloaded(waiting: int, signature: str, capacity: int) -> Overloaded:
    """The error of a request that may not wait for a batch."""
    return Overloaded(
        f'{waiting} rows are waiting for the signature "{signature}", and '
        f"max_enqueued_batches x the largest batch is {capacity}: try again later"
    )
