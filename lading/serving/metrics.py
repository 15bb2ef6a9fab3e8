"""What a serving process counts, in Prometheus' text format: TensorFlow Serving's names beside lading's own.

Sources: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4);
tensorflow_serving/util/prometheus_exporter.cc and servables/tensorflow/util.cc for TensorFlow Serving's names, labels
and buckets. docs/operations.md has the table.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from lading.serving.errors import Code
from lading.serving.process import process_metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

REQUEST_COUNT = ":tensorflow:serving:request_count"
REQUEST_LATENCY = ":tensorflow:serving:request_latency"
LATENCY_BUCKETS = tuple(10.0 * 1.8**power for power in range(33))
"""Upper bounds in microseconds of TensorFlow Serving's latencies."""

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

Labels = tuple[tuple[str, str], ...]


class _Histogram:
    """Counts by bucket; the caller holds the lock."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def plus(self, other: "_Histogram") -> "_Histogram":
        both = _Histogram(self.bounds)
        both.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        both.total = self.total + other.total
        return both


class _Requests:
    """The requests of one model, API, entry point and code."""

    __slots__ = ("api", "code", "entrypoint", "latency", "model", "seconds")

    def __init__(self, model: str, api: str, entrypoint: str, code: Code) -> None:
        self.model, self.api, self.entrypoint, self.code = model, api, entrypoint, code
        self.seconds = _Histogram(SECONDS_BUCKETS)
        self.latency = _Histogram(LATENCY_BUCKETS)

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
    """

    def __init__(self, models: Callable[[], Container[str]], *, info: Mapping[str, str] | None = None) -> None:
        self._models = models
        self._info = tuple((info or {}).items())
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str, str, int], _Requests] = {}
        self._batches: dict[str, tuple[_Histogram, _Histogram]] = {}
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
                found = self._batches[model] = (_Histogram(ROWS_BUCKETS), _Histogram(SECONDS_BUCKETS))
            found[0].add(rows)
            found[1].add(queued_seconds)

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Add a number that is read at each scrape; a counter if its name ends in ``_total``."""
        with self._lock:
            self._gauges[name] = _Gauge(name, help, read)

    def render(self) -> bytes:
        """The whole page; serve it as ``CONTENT_TYPE``."""
        with self._lock:
            requests = [found.copy() for found in self._requests.values()]
            lines = [*self._batch_lines(), *self._load_lines()]
            gauges = list(self._gauges.values())
        lines = [*_tensorflow_lines(requests), *_request_lines(requests), *lines]
        lines += [*_head("lading_info", "gauge"), _line("lading_info", self._info, 1)]
        # Read outside of the lock: what a gauge reads may itself be counting.
        for gauge in gauges:
            kind = "counter" if gauge.name.endswith("_total") else "gauge"
            lines += [*_head(gauge.name, kind, gauge.help), _line(gauge.name, (), gauge.read())]
        for name, meaning, value in process_metrics():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [*_head(name, kind, meaning), _line(name, (), value)]
        return ("\n".join(lines) + "\n").encode()

    def _series(self, model: str, api: str, entrypoint: str, code: Code) -> _Requests:
        model = model if model in self._models() else ""
        key = (model, api, entrypoint, code.number)
        with self._lock:
            return self._requests.setdefault(key, _Requests(model, api, entrypoint, code))

    def _batch_lines(self) -> list[str]:
        lines = []
        for index, name in enumerate(("lading_batch_rows", "lading_queue_seconds")):
            lines += _head(name, "histogram")
            for model, histograms in self._batches.items():
                lines += _histogram(name, (("model", model),), histograms[index])
        return lines

    def _load_lines(self) -> list[str]:
        lines = _head("lading_model_load_seconds", "gauge")
        for (model, version), seconds in self._loads.items():
            lines.append(_line("lading_model_load_seconds", (("model", model), ("version", str(version))), seconds))
        return lines


def _tensorflow_lines(requests: Sequence[_Requests]) -> list[str]:
    """TensorFlow Serving's: no HELP, no ``_total``; latencies of successes only."""
    counts: dict[tuple[str, str], int] = {}
    for found in requests:
        key = (found.model, found.code.name)
        counts[key] = counts.get(key, 0) + sum(found.latency.counts)
    lines = [f"# TYPE {REQUEST_COUNT} counter"]
    for (model, status), count in counts.items():
        lines.append(_line(REQUEST_COUNT, (("model_name", model), ("status", status)), count))
    lines.append(f"# TYPE {REQUEST_LATENCY} histogram")
    for found in requests:
        if found.code is Code.OK:
            labels = (("model_name", found.model), ("API", found.api), ("entrypoint", found.entrypoint))
            lines += _histogram(REQUEST_LATENCY, labels, found.latency)
    return lines


def _request_lines(requests: Sequence[_Requests]) -> list[str]:
    lines = _head("lading_requests_total", "counter")
    by_kind: dict[Labels, _Histogram] = {}
    for found in requests:
        labels: Labels = (("model", found.model), ("api", found.api), ("entrypoint", found.entrypoint))
        count = sum(found.seconds.counts)
        lines.append(_line("lading_requests_total", (*labels, ("code", found.code.name)), count))
        by_kind[labels] = by_kind[labels].plus(found.seconds) if labels in by_kind else found.seconds
    lines += _head("lading_request_seconds", "histogram")
    for labels, seconds in by_kind.items():
        lines += _histogram("lading_request_seconds", labels, seconds)
    return lines


def _head(name: str, kind: str, meaning: str | None = None) -> list[str]:
    return [f"# HELP {name} {meaning or MEANINGS[name]}", f"# TYPE {name} {kind}"]


def _histogram(name: str, labels: Labels, histogram: _Histogram) -> list[str]:
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    cumulated = list(accumulate(histogram.counts))
    lines = [
        _line(f"{name}_bucket", (*labels, ("le", bound)), count) for bound, count in zip(bounds, cumulated, strict=True)
    ]
    return [*lines, _line(f"{name}_sum", labels, histogram.total), _line(f"{name}_count", labels, cumulated[-1])]


def _line(name: str, labels: Labels, value: float) -> str:
    shown = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    return f"{name}{{{shown}}} {value!r}" if shown else f"{name} {value!r}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
