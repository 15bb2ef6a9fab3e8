"""What a serving process counts, in Prometheus' text format: TensorFlow Serving's names beside lading's own.

Sources: tensorflow_serving/util/prometheus_exporter.cc and servables/tensorflow/util.cc for TensorFlow Serving's names
and labels of requests; what it counts of models and batches: ``lading.serving.tensorflow_metrics``. docs/operations.md
has the table.
"""

import threading
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from lading.serving.errors import Code
from lading.serving.exposition import Histogram, Labels, head, sample
from lading.serving.process import process_metrics
from lading.serving.tensorflow_metrics import LATENCY_BUCKETS, TensorflowMetrics

REQUEST_COUNT = ":tensorflow:serving:request_count"
REQUEST_LATENCY = ":tensorflow:serving:request_latency"

SECONDS_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

MEANINGS = {
    "lading_requests_total": "Requests that were answered, by canonical code.",
    "lading_request_seconds": "Time from reading a request to its answer, failures included.",
    "lading_batch_rows": "Rows of each batch that ran, without padding.",
    "lading_queue_seconds": "How long the oldest request of each batch waited for it.",
    "lading_model_load_seconds": "Time to load a version and warm it up.",
    "lading_info": "What serves: always 1.",
}
"""The HELP text of each metric that every process has."""


class _Requests:
    """The requests of one model, API, entry point and code."""

    __slots__ = ("api", "code", "entrypoint", "latency", "model", "seconds")

    def __init__(self, model: str, api: str, entrypoint: str, code: Code) -> None:
        self.model, self.api, self.entrypoint, self.code = model, api, entrypoint, code
        self.seconds = Histogram(SECONDS_BUCKETS)
        self.latency = Histogram(LATENCY_BUCKETS)

    def copy(self) -> "_Requests":
        copied = _Requests(self.model, self.api, self.entrypoint, self.code)
        copied.seconds, copied.latency = self.seconds.plus(copied.seconds), self.latency.plus(copied.latency)
        return copied


@dataclass(frozen=True)
class _Gauge:
    name: str
    help: str
    read: Callable[[], float]


class Metrics:
    """Counts requests, batches and loads. Thread-safe; ``request`` costs about a microsecond.

    Memory is bounded: a request for a model that is not configured counts under the model name "", whatever name it
    asked for. TensorFlow Serving would keep one series for each name that anybody ever asks for.

    Args:
        models: Gives the names that are configured now; asked once for each new kind of request.
        info: Labels of ``lading_info``: ``version``, ``engine``, ``revision``.

    Attributes:
        tensorflow: What TensorFlow Serving counts beside requests.
    """

    def __init__(self, models: Callable[[], Container[str]], *, info: Mapping[str, str] | None = None) -> None:
        self.tensorflow = TensorflowMetrics()
        self._models = models
        self._info = tuple((info or {}).items())
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str, str, int], _Requests] = {}
        self._batches: dict[str, tuple[Histogram, Histogram]] = {}
        self._loads: dict[tuple[str, int], float] = {}
        self._gauges: dict[str, _Gauge] = {}

    def request(self, *, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """Count one answer.

        Args:
            model: The name in the request; "" if there was none to read.
            api: ``predict``, ``classify``, … over REST, ``Predict``, … over gRPC; one of few.
            entrypoint: ``REST`` or ``GRPC``.
            code: What was answered.
            seconds: From the request's first byte read to the answer.
        """
        # code.number, because an Enum's own hash is computed in Python.
        found = self._requests.get((model, api, entrypoint, code.number))
        if found is None:
            found = self._series(model, api, entrypoint, code)
        with self._lock:
            found.seconds.add(seconds)
            found.latency.add(seconds * 1e6)

    def loaded(self, *, model: str, version: int, seconds: float) -> None:
        """Record that a version was loaded and warmed up, and how long that took."""
        with self._lock:
            self._loads[model, version] = seconds

    def batch(self, *, model: str, rows: int, queued_seconds: float) -> None:
        """Count one batch: its rows without padding, and how long its oldest request waited."""
        with self._lock:
            found = self._batches.get(model)
            if found is None:
                found = self._batches[model] = (Histogram(ROWS_BUCKETS), Histogram(SECONDS_BUCKETS))
            found[0].add(rows)
            found[1].add(queued_seconds)

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Add a number that is read at each scrape; a counter if its name ends in ``_total``."""
        with self._lock:
            self._gauges[name] = _Gauge(name, help, read)

    def render(self) -> bytes:
        """The whole page; serve it as ``exposition.CONTENT_TYPE``."""
        with self._lock:
            requests = [found.copy() for found in self._requests.values()]
            lines = [*self._batch_lines(), *self._load_lines()]
            gauges = list(self._gauges.values())
        lines = [*_tensorflow_lines(requests), *self.tensorflow.lines(), *_request_lines(requests), *lines]
        lines += [*head("lading_info", "gauge", MEANINGS["lading_info"]), sample("lading_info", self._info, 1)]
        # Read outside of the lock: what a gauge reads may itself be counting.
        for gauge in gauges:
            kind = "counter" if gauge.name.endswith("_total") else "gauge"
            lines += [*head(gauge.name, kind, gauge.help), sample(gauge.name, (), gauge.read())]
        for name, meaning, value in process_metrics():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [*head(name, kind, meaning), sample(name, (), value)]
        return ("\n".join(lines) + "\n").encode()

    def _series(self, model: str, api: str, entrypoint: str, code: Code) -> _Requests:
        model = model if model in self._models() else ""
        key = (model, api, entrypoint, code.number)
        with self._lock:
            return self._requests.setdefault(key, _Requests(model, api, entrypoint, code))

    def _batch_lines(self) -> list[str]:
        lines = []
        for index, name in enumerate(("lading_batch_rows", "lading_queue_seconds")):
            lines += head(name, "histogram", MEANINGS[name])
            for model, histograms in self._batches.items():
                lines += histograms[index].lines(name, (("model", model),))
        return lines

    def _load_lines(self) -> list[str]:
        lines = head("lading_model_load_seconds", "gauge", MEANINGS["lading_model_load_seconds"])
        for (model, version), seconds in self._loads.items():
            lines.append(sample("lading_model_load_seconds", (("model", model), ("version", str(version))), seconds))
        return lines


def _tensorflow_lines(requests: Sequence[_Requests]) -> list[str]:
    """TensorFlow Serving's: no HELP, no ``_total``; latencies of successes only."""
    counts: dict[tuple[str, str], int] = {}
    for found in requests:
        key = (found.model, found.code.name)
        counts[key] = counts.get(key, 0) + sum(found.latency.counts)
    lines = [f"# TYPE {REQUEST_COUNT} counter"]
    for (model, status), count in counts.items():
        lines.append(sample(REQUEST_COUNT, (("model_name", model), ("status", status)), count))
    lines.append(f"# TYPE {REQUEST_LATENCY} histogram")
    for found in requests:
        if found.code is Code.OK:
            labels = (("model_name", found.model), ("API", found.api), ("entrypoint", found.entrypoint))
            lines += found.latency.lines(REQUEST_LATENCY, labels)
    return lines


def _request_lines(requests: Sequence[_Requests]) -> list[str]:
    lines = head("lading_requests_total", "counter", MEANINGS["lading_requests_total"])
    by_kind: dict[Labels, Histogram] = {}
    for found in requests:
        labels: Labels = (("model", found.model), ("api", found.api), ("entrypoint", found.entrypoint))
        count = sum(found.seconds.counts)
        lines.append(sample("lading_requests_total", (*labels, ("code", found.code.name)), count))
        by_kind[labels] = by_kind[labels].plus(found.seconds) if labels in by_kind else found.seconds
    lines += head("lading_request_seconds", "histogram", MEANINGS["lading_request_seconds"])
    for labels, seconds in by_kind.items():
        lines += seconds.lines("lading_request_seconds", labels)
    return lines
