"""Reading, computing and writing at the same time, in order, with so many blocks in memory and no more."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741

_LOOK_SECONDS = 0.1


class Pipeline(Generic[I, O]):
    """One thread reads items, several compute, one takes the results in the order of the items.

    Args:
        items: What is read, by a thread of its own.
        compute: Makes a result of an item; several at once.
        take: Gets the items with their results, in order, in one thread.
        threads: Items that are computed at once.
    """

    def __init__(
        self, items: Iterator[I], compute: Callable[[I], O], take: Callable[[I, O], None], *, threads: int
    ) -> None:
        self._items, self._compute, self._take = items, compute, take
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batch-compute")
        self._waiting: queue.Queue[tuple[I, Future[O]] | None] = queue.Queue(threads + 1)
        self._ended = threading.Event()
        self._errors: list[BaseException] = []
        self._reader = threading.Thread(target=self._read, name="batch-read", daemon=True)
        self._writer = threading.Thread(target=self._write, name="batch-write", daemon=True)

    def run(self, each: Callable[[], None], *, seconds: float) -> None:
        """Work until all items are taken, or ``stop`` is called.

        Args:
            each: Called every few ``seconds`` by this thread; what it raises ends the work.
            seconds: See there.

        Raises:
            BaseException: the first error of any part; nothing runs any more when it arrives.
        """
        self._reader.start()
        self._writer.start()
        try:
            while self._writer.is_alive():
                self._writer.join(seconds)
                each()
        finally:
            self.stop()
            self._reader.join()
            self._writer.join()
            self._pool.shutdown(cancel_futures=True)
        if self._errors:
            raise self._errors[0]

    def stop(self) -> None:
        """End soon: no more items are read, none that wait are taken. May be called from any thread."""
        self._ended.set()

    def _read(self) -> None:
        try:
            for item in self._items:
                if not self._put((item, self._pool.submit(self._compute, item))):
                    return
        except BaseException as error:
            self._fail(error)
        self._put(None)

    def _put(self, entry: "tuple[I, Future[O]] | None") -> bool:
        while not self._ended.is_set():
            try:
                self._waiting.put(entry, timeout=_LOOK_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def _write(self) -> None:
        try:
            while not self._ended.is_set():
                try:
                    entry = self._waiting.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    continue
                if entry is None:
                    return
                item, future = entry
                self._take(item, future.result())
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._errors.append(error)
        self._ended.set()
