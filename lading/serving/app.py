"""The web application, in granian's own interface (RSGI): reads requests, keeps the event loop free, writes answers."""

import asyncio
import time
from typing import Any

from lading.errors import LadingError
from lading.predict.effort import Stopwatch
from lading.serving import rest
from lading.serving.answers import Answer, Request, failure, refusal
from lading.serving.bodies import Bodies
from lading.serving.config import ServeConfig
from lading.serving.errors import Code
from lading.serving.gate import Gate
from lading.serving.log import log
from lading.serving.models import Models
from lading.serving.pace import Pace
from lading.serving.records import Records
from lading.serving.routes import Route, make_finder


class App:
    """Answers requests.

    Interface: https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md

    Attributes:
        running: How many requests are being answered.
        leaving: Whether answers ask for the connection to be closed, as the server is about to end.
    """

    def __init__(self, models: Models, config: ServeConfig, *, gate: Gate, records: Records) -> None:
        self.running = 0
        self.leaving = False
        self._models = models
        self._config = config
        self._gate = gate
        self._bodies = Bodies(config, gate)
        self._records = records
        # Requests that wait for each other need threads.
        self._pace = None if config.batching else Pace(models)
        self._site = rest.Site(models, config, records.metrics)
        self._find = make_finder(
            health_route=config.health_route, predict_route=config.predict_route, metrics_path=config.metrics_path
        )
        said = {"x-lading-revision": config.revision, "x-lading-model": config.model_diff_id}
        self._said = [(key, text) for key, text in said.items() if text]
        self._json_headers = [("content-type", "application/json"), *self._said]

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        started = time.perf_counter()
        self.running += 1
        body = b""
        try:
            # The query string is part of the path, as in TensorFlow Serving.
            path = f"{scope.path}?{scope.query_string}" if scope.query_string else scope.path
            route = self._find(scope.method, path)
            try:
                if route.runs_model:
                    read = await self._bodies.read(scope.headers, protocol)
                    if isinstance(read, Answer):
                        answer = read
                    else:
                        body = read
                        request = _request(route, path, scope, body)
                        if self._pace is not None and self._pace.is_quick(path, len(body)):
                            answer = self._run_here(self._pace, route, request)
                        else:
                            answer = await self._run_in_thread(route, request)
                else:
                    answer = self._about(route, path, scope)
            except LadingError as error:
                answer = failure(error)
            except Exception as error:
                # The last line of defence: the client learns that it failed, the log says why, the server lives on.
                log("request failed", severity="ERROR", method=scope.method, path=path, error=repr(error))
                answer = refusal(Code.INTERNAL, "internal error; the server's log says more")
            self._send(answer, scope.method, protocol)
        finally:
            self.running -= 1
        if route.counted or route.runs_model:
            self._records.finished(route, scope, body, answer, time.perf_counter() - started)

    def _about(self, route: Route, path: str, scope: Any) -> Answer:
        if route.verb == "options":
            # As TensorFlow Serving answers it: 200 to a browser that asks, else 400, and nothing in it.
            asks = scope.headers.get("origin", "").startswith(("http://", "https://"))
            return Answer(b"", Code.OK if asks else Code.INVALID_ARGUMENT)
        return self._site.answer(route, Request(scope.method, path, b""))

    def _run_here(self, pace: Pace, route: Route, request: Request) -> Answer:
        started = time.perf_counter()
        answer = rest.RUNS[route.verb](self._models, route, request)
        pace.record(request.path, time.perf_counter() - started)
        return answer

    async def _run_in_thread(self, route: Route, request: Request) -> Answer:
        def timed() -> tuple[Answer, float]:
            cost = Stopwatch()
            return rest.RUNS[route.verb](self._models, route, request), cost.seconds()

        future = asyncio.wrap_future(self._gate.submit(timed, len(request.body)))
        try:
            answer, seconds = await asyncio.wait_for(future, self._config.timeout_seconds)
        except TimeoutError:
            return refusal(
                Code.DEADLINE_EXCEEDED, f"the prediction was not made within {self._config.timeout_seconds:g} s"
            )
        if self._pace is not None and answer.code is Code.OK:
            self._pace.record(request.path, seconds)
        return answer

    def _send(self, answer: Answer, method: str, protocol: Any) -> None:
        headers = self._json_headers
        if answer.content_type != "application/json":
            headers = [("content-type", answer.content_type), *self._said]
        if answer.headers:
            headers = [*headers, *answer.headers]
        if self.leaving:
            headers = [*headers, ("connection", "close")]
        if method == "HEAD":
            protocol.response_empty(answer.status, headers)
        else:
            protocol.response_bytes(answer.status, headers, answer.body)


def _request(route: Route, path: str, scope: Any, body: bytes) -> Request:
    if route.verb != "infer":
        return Request(scope.method, path, body)
    return Request(
        scope.method,
        path,
        body,
        header_length=scope.headers.get("inference-header-content-length"),
        content_type=scope.headers.get("content-type"),
    )
