"""TensorFlow Serving's metrics of models and batches, under its names, labels and buckets.

Sources: tensorflow_serving/servables/tensorflow/{util,saved_model_warmup_util}.cc, batching/batching_session.cc,
batching/batching_util.h, core/request_logger.cc. Its metrics of requests: ``lading.serving.metrics``.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from lading.serving.exposition import Histogram, Labels, head, sample


def exponential(scale: float, growth: float, count: int) -> tuple[float, ...]:
    """The upper bounds of ``monitoring::Buckets::Exponential``; the last bucket, without a bound, is not among them."""
    return tuple(scale * growth**power for power in range(count))


LATENCY_BUCKETS = exponential(10.0, 1.8, 33)
"""Microseconds of requests, of models and of warm-ups."""
QUEUE_BUCKETS = exponential(100.0, 1.2, 52)
"""Microseconds in a queue."""
EXAMPLE_BUCKETS = exponential(1, 2, 15)
SIZE_BUCKETS = exponential(1, 2, 14)
"""Rows of requests and batches."""

_PREFIX = ":tensorflow:serving:"
_BATCHING = f"{_PREFIX}batching_session:"


class ModelMetrics:
    """What one model computed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runtime: dict[str, Histogram] = {}
        self._examples = Histogram(EXAMPLE_BUCKETS)

    def ran(self, api: str, seconds: float, *, count: int = 1) -> None:
        """Count one computation, or what was computed together.

        Args:
            api: ``Predict``, ``Classify`` or ``Regress``, whatever protocol asked.
            seconds: In the engine, the wait for a batch included; of successes only.
            count: For so many requests.
        """
        with self._lock:
            found = self._runtime.get(api)
            if found is None:
                found = self._runtime[api] = Histogram(LATENCY_BUCKETS)
            found.add(seconds * 1e6, count)

    def examples(self, count: int) -> None:
        """Count the ``tf.Example`` messages of one request."""
        with self._lock:
            self._examples.add(count)

    def copy(self) -> "tuple[dict[str, Histogram], Histogram]":
        """The latencies by API, and the examples, as they are now."""
        with self._lock:
            runtime = {api: found.plus(Histogram(LATENCY_BUCKETS)) for api, found in self._runtime.items()}
            return runtime, self._examples.plus(Histogram(EXAMPLE_BUCKETS))


class BatchingMetrics:
    """What the batches of all models were like. Thread-safe. A ``lading.predict.batching.BatchMonitor``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._waits = Histogram(QUEUE_BUCKETS)
        self._requests, self._batches = Histogram(SIZE_BUCKETS), Histogram(SIZE_BUCKETS)
        self._padding: dict[int, Histogram] = {}

    def queued(self, rows: int, inputs: int) -> None:
        """Count a request that waits for a batch: its rows, once for each of its inputs as TensorFlow Serving does."""
        with self._lock:
            for _ in range(inputs):
                self._requests.add(rows)

    def ran(self, size: int, padding: int, waited_seconds: Sequence[float]) -> None:
        """Count a batch: its rows with padding, those of padding, and how long each of its requests waited."""
        with self._lock:
            self._runs += 1
            self._batches.add(size)
            # One series for each size, as in TensorFlow Serving; with allowed_batch_sizes these are few.
            self._padding.setdefault(size, Histogram(SIZE_BUCKETS)).add(padding)
            for seconds in waited_seconds:
                self._waits.add(seconds * 1e6)

    def lines(self) -> list[str]:
        """The samples; none but types before the first batch."""
        with self._lock:
            padding = sorted(self._padding.items())
            pools: Labels = (("thread_pool_name", ""),)  # bundle_factory_util.cc hands no name on
            return [
                *head(f"{_BATCHING}queuing_latency", "histogram"),
                *(self._waits.lines(f"{_BATCHING}queuing_latency", pools) if self._runs else ()),
                *head(f"{_BATCHING}wrapped_run_count", "counter"),
                *([sample(f"{_BATCHING}wrapped_run_count", (), self._runs)] if self._runs else ()),
                *head(f"{_BATCHING}input_batch_size", "histogram"),
                *(self._requests.lines(f"{_BATCHING}input_batch_size", ()) if self._runs else ()),
                *head(f"{_BATCHING}processed_batch_size", "histogram"),
                *(self._batches.lines(f"{_BATCHING}processed_batch_size", ()) if self._runs else ()),
                *head(f"{_BATCHING}padding_size", "histogram"),
                *(
                    line
                    for size, found in padding
                    for line in found.lines(f"{_BATCHING}padding_size", (("execution_batch_size", str(size)),))
                ),
            ]


class TensorflowMetrics:
    """The metrics of all models of a process. Thread-safe.

    Attributes:
        batching: What the batches were like.
    """

    def __init__(self) -> None:
        self.batching = BatchingMetrics()
        self._lock = threading.Lock()
        self._models: dict[str, ModelMetrics] = {}
        self._warm_ups: dict[str, Histogram] = {}
        self._records: Counter[str] = Counter()
        self._logged: Counter[tuple[str, str]] = Counter()

    def of(self, model: str) -> ModelMetrics:
        """What a model that is configured counts in, the same for all of its versions."""
        with self._lock:
            return self._models.setdefault(model, ModelMetrics())

    def warmed_up(self, path: str, *, records: int, seconds: float) -> None:
        """Count the warm-up of a version that lies at ``path``: how many requests ran. One that fails is not counted,
        as in TensorFlow Serving.
        """
        with self._lock:
            self._warm_ups.setdefault(path, Histogram(LATENCY_BUCKETS)).add(seconds * 1e6)
            self._records[path] += records

    def logged(self, model: str, status: str) -> None:
        """Count a request that was handed to the request log, and the canonical code of that."""
        with self._lock:
            self._logged[model, status] += 1

    def lines(self) -> list[str]:
        """The samples, without HELP as TensorFlow Serving has none."""
        with self._lock:
            models = dict(self._models)
        lines = [*self._model_lines({name: found.copy() for name, found in models.items()})]
        with self._lock:
            lines += self._load_lines()
        return [*lines, *self.batching.lines()]

    def _model_lines(self, models: dict[str, tuple[dict[str, Histogram], Histogram]]) -> Iterator[str]:
        yield from head(f"{_PREFIX}runtime_latency", "histogram")
        for name, (runtime, _) in models.items():
            for api, found in runtime.items():
                # There is one other value, TFRT; a model of TensorFlow Lite is "TF1" there too.
                labels = (("model_name", name), ("API", api), ("runtime", "TF1"))
                yield from found.lines(f"{_PREFIX}runtime_latency", labels)
        counted = [(name, examples) for name, (_, examples) in models.items() if any(examples.counts)]
        yield from head(f"{_PREFIX}request_example_counts", "histogram")
        for name, examples in counted:
            yield from examples.lines(f"{_PREFIX}request_example_counts", (("model", name),))
        yield from head(f"{_PREFIX}request_example_count_total", "counter")
        for name, examples in counted:
            yield sample(f"{_PREFIX}request_example_count_total", (("model", name),), int(examples.total))

    def _load_lines(self) -> Iterator[str]:
        yield from head(f"{_PREFIX}model_warmup_latency", "histogram")
        for path, found in self._warm_ups.items():
            yield from found.lines(f"{_PREFIX}model_warmup_latency", (("model_path", path), ("status", "OK")))
        yield from head(f"{_PREFIX}model_warmup_records_read", "counter")
        for path, count in self._records.items():
            labels = (("model_path", path), ("status", "OK"))
            yield sample(f"{_PREFIX}model_warmup_records_read", labels, count)
        yield from head(f"{_PREFIX}request_log_count", "counter")
        for (model, status), count in self._logged.items():
            yield sample(f"{_PREFIX}request_log_count", (("model_name", model), ("status_code", status)), count)
