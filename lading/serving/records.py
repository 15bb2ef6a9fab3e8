"""What is written down about requests that were answered: numbers, lines in the log, a sample in a file."""

from lading import __version__
from lading.errors import InvalidInstance, NotFound
from lading.serving.answers import Answer
from lading.serving.config import ServeConfig
from lading.serving.exchange import Exchange as HttpExchange
from lading.serving.gate import Gate
from lading.serving.log import AccessLog, request_context
from lading.serving.metrics import Metrics
from lading.serving.models import Models
from lading.serving.request_log import Exchange, RequestLog
from lading.serving.routes import Route


class Records:
    """The records of a process; ``close`` them at its end.

    Attributes:
        metrics: The numbers; gRPC counts into the same.
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

    def finished(self, route: Route, exchange: HttpExchange, body: bytes, answer: Answer, seconds: float) -> None:
        """Write down an answer over HTTP."""
        self.metrics.request(model=route.model, api=route.verb, entrypoint="REST", code=answer.code, seconds=seconds)
        line = self._access.wants(answer.status, seconds)
        sample = self._requests is not None and route.runs_model and self._requests.wants()
        if not line and not sample:
            return
        context = request_context(exchange.headers.get, project=self._project)
        if line:
            self._access.write(
                context,
                method=exchange.method,
                path=exchange.path,
                status=answer.status,
                seconds=seconds,
                sizes=(len(body), len(answer.body)),
                error=answer.body.decode(errors="replace") if answer.status >= 500 else "",
            )
        if self._requests is not None and sample:
            name = route.model or next(iter(self._names()), "")
            self._requests.write(
                Exchange(
                    model=name,
                    version=self._version(name, route),
                    path=exchange.path,
                    request=body,
                    response=answer.body,
                    status=answer.status,
                    seconds=seconds,
                    request_id=str(context["request_id"]),
                )
            )

    def _names(self) -> list[str]:
        return self._models.names() if self._models is not None else []

    def _version(self, name: str, route: Route) -> int:
        """The version that answers such a request now; 0 for none."""
        try:
            return self._models.find(name, route.version, route.label).version if self._models is not None else 0
        except (NotFound, InvalidInstance):
            return 0

    def close(self) -> None:
        """Write what waits."""
        if self._requests is not None:
            self._requests.close()
