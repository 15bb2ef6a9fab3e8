"""What is written down about requests that were answered: numbers, lines in the log, a sample in a file."""

from typing import TYPE_CHECKING, NamedTuple

from lading import __version__
from lading.errors import InvalidInstance, NotFound
from lading.serving.answers import Answer
from lading.serving.config import ServeConfig
from lading.serving.errors import Code
from lading.serving.gate import Gate
from lading.serving.log import AccessLog, Headers, request_context
from lading.serving.metrics import Metrics
from lading.serving.models import Models
from lading.serving.request_log import Exchange, RequestLog
from lading.serving.routes import Route

if TYPE_CHECKING:  # it imports asyncio, which the start has no time for before the models load
    from lading.serving.exchange import Exchange as HttpExchange


class Asked(NamedTuple):
    """Which model a request is for."""

    model: str
    """Empty for the only one."""
    version: int | None = None
    label: str | None = None


class _Record(NamedTuple):
    """An answer, whatever protocol it was given over."""

    path: str
    status: int
    seconds: float
    request: bytes
    response: bytes
    error: str = ""


class Records:
    """The records of a process; ``close`` them at its end.

    Attributes:
        metrics: The numbers.
    """

    def __init__(self, config: ServeConfig) -> None:
        info = {"version": __version__, "engine": config.engine, "revision": config.revision}
        self._models: Models | None = None
        self.metrics = Metrics(self._names, info=info)
        self._access = AccessLog(config.access_log, slow_seconds=config.slow_seconds)
        self._project = config.trace_project
        self._requests = RequestLog(config.request_log, rate=config.request_log_rate) if config.request_log else None

    def watch(self, models: Models, gate: Gate) -> None:
        """Count what waits and runs, and know the models' names from here on."""
        self._models = models
        self.metrics.gauge("lading_queue_length", "Requests that wait for a thread.", lambda: gate.queued)
        self.metrics.gauge("lading_predictions_running", "Requests that a thread works on.", lambda: gate.running)
        if self._requests is not None:
            log = self._requests
            self.metrics.gauge(
                "lading_request_log_dropped_total",
                "Requests that were to be written to the request log and were not.",
                lambda: log.dropped,
            )

    def finished(self, route: Route, exchange: "HttpExchange", body: bytes, answer: Answer, seconds: float) -> None:
        """Write down an answer over HTTP."""
        self.metrics.request(model=route.model, api=route.verb, entrypoint="REST", code=answer.code, seconds=seconds)
        line = self._access.wants(answer.status, seconds)
        sample = self._requests is not None and route.runs_model and self._requests.wants()
        if line or sample:
            error = answer.body.decode(errors="replace") if answer.status >= 500 else ""
            record = _Record(exchange.path, answer.status, seconds, body, answer.body, error)
            context = request_context(exchange.headers.get, project=self._project)
            if line:
                self._write_line(record, context, exchange.method)
            if sample:
                self._write_sample(record, context, Asked(route.model, route.version, route.label))

    def called(
        self,
        path: str,
        asked: Asked,
        *,
        headers: Headers,
        request: bytes,
        response: bytes,
        code: Code,
        error: str,
        seconds: float,
    ) -> None:
        """Write down an answer over gRPC.

        Args:
            path: ``/package.Service/Method``.
            asked: Which model was to answer.
            headers: The call's metadata.
            request: The message as it came.
            response: The message as it was sent; empty if the call failed.
            code: What the call ended with.
            error: What the client was told, if it failed.
            seconds: How long it took.
        """
        api = path.rpartition("/")[2]
        self.metrics.request(model=asked.model, api=api, entrypoint="GRPC", code=code, seconds=seconds)
        line = self._access.wants(code.http, seconds)
        sample = self._requests is not None and self._requests.wants()
        if line or sample:
            told = error if code.http >= 500 else ""
            record = _Record(path, code.http, seconds, request, response, told)
            context = request_context(headers, project=self._project)
            if line:
                self._write_line(record, context, "POST")
            if sample:
                self._write_sample(record, context, asked)

    def _write_line(self, record: _Record, context: dict[str, object], method: str) -> None:
        self._access.write(
            context,
            method=method,
            path=record.path,
            status=record.status,
            seconds=record.seconds,
            sizes=(len(record.request), len(record.response)),
            error=record.error,
        )

    def _write_sample(self, record: _Record, context: dict[str, object], asked: Asked) -> None:
        assert self._requests is not None
        name = asked.model or next(iter(self._names()), "")
        taken = self._requests.write(
            Exchange(
                model=name,
                version=self._version(name, asked),
                path=record.path,
                request=record.request,
                response=record.response,
                status=record.status,
                seconds=record.seconds,
                request_id=str(context["request_id"]),
            )
        )
        counted = name if name in self._names() else ""  # as in Metrics: strangers name what they like
        self.metrics.tensorflow.logged(counted, (Code.OK if taken else Code.RESOURCE_EXHAUSTED).name)

    def _names(self) -> list[str]:
        return self._models.names() if self._models is not None else []

    def _version(self, name: str, asked: Asked) -> int:
        """The version that answers such a request now; 0 for none."""
        try:
            return self._models.find(name, asked.version, asked.label).version if self._models is not None else 0
        except (NotFound, InvalidInstance):
            return 0

    def close(self) -> None:
        """Write what waits."""
        if self._requests is not None:
            self._requests.close()
