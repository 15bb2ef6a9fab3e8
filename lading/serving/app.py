"""The web application: finds what a request is for, keeps the event loop free, and answers."""

import asyncio
import time

from lading.errors import LadingError
from lading.predict.effort import Stopwatch
from lading.serving import rest
from lading.serving.answers import Answer, Request, failure, refusal
from lading.serving.bodies import Bodies
from lading.serving.config import ServeConfig
from lading.serving.errors import Code
from lading.serving.exchange import Exchange
from lading.serving.gate import Gate
from lading.serving.log import log
from lading.serving.models import Models
from lading.serving.pace import Pace
from lading.serving.records import Records
from lading.serving.routes import Route, make_finder


class App:
    """Answers requests; used in the event loop only.

    Attributes:
        running: How many requests are being answered.
    """

    def __init__(self, models: Models, config: ServeConfig, *, gate: Gate, records: Records) -> None:
        self.running = 0
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

    def answer_at_once(self, exchange: Exchange) -> Answer | None:
        """The answer to a request that is complete, if making it takes no time; else None."""
        started = time.perf_counter()
        path = exchange.path
        route = self._find(exchange.method, path)
        if not route.runs_model:
            answer = self._guard(route, exchange)
            if route.counted:
                self._records.finished(route, exchange, b"", answer, time.perf_counter() - started)
            return answer
        body = exchange.body
        pace = self._pace
        if pace is None or not pace.is_quick(path, len(body)) or b"content-encoding" in exchange.headers.raw:
            return None
        answer = self._guard(route, exchange, body)
        seconds = time.perf_counter() - started
        pace.record(path, seconds)
        self._records.finished(route, exchange, body, answer, seconds)
        return answer

    async def answer(self, exchange: Exchange) -> None:
        """Answer any request, by ``exchange.send``."""
        started = time.perf_counter()
        self.running += 1
        body = b""
        route = self._find(exchange.method, exchange.path)
        try:
            if route.runs_model:
                read = await self._bodies.read(exchange.headers, exchange)
                if isinstance(read, Answer):
                    answer = read
                else:
                    body = read
                    answer = await self._run(route, exchange, body)
            else:
                answer = self._guard(route, exchange)
        except Exception as error:
            answer = _internal(exchange, error)
        finally:
            self.running -= 1
        exchange.send(answer)
        if route.counted or route.runs_model:
            self._records.finished(route, exchange, body, answer, time.perf_counter() - started)

    def _guard(self, route: Route, exchange: Exchange, body: bytes = b"") -> Answer:
        """The answer, whatever happens."""
        try:
            if route.runs_model:
                return rest.RUNS[route.verb](self._models, route, _request(route, exchange, body))
            if route.verb == "options":
                # As TensorFlow Serving answers it: 200 to a browser that asks, else 400, and nothing in it.
                asks = exchange.headers.get("origin", "").startswith(("http://", "https://"))
                return Answer(b"", Code.OK if asks else Code.INVALID_ARGUMENT)
            return self._site.answer(route, Request(exchange.method, exchange.path, b""))
        except LadingError as error:
            return failure(error)
        except Exception as error:
            return _internal(exchange, error)

    async def _run(self, route: Route, exchange: Exchange, body: bytes) -> Answer:
        path = exchange.path
        if self._pace is not None and self._pace.is_quick(path, len(body)):
            started = time.perf_counter()
            answer = self._guard(route, exchange, body)
            self._pace.record(path, time.perf_counter() - started)
            return answer

        def timed() -> tuple[Answer, float]:
            cost = Stopwatch()
            return self._guard(route, exchange, body), cost.seconds()

        try:
            future = asyncio.wrap_future(self._gate.submit(timed, len(body)))
            answer, seconds = await asyncio.wait_for(future, self._config.timeout_seconds)
        except TimeoutError:
            return refusal(
                Code.DEADLINE_EXCEEDED, f"the prediction was not made within {self._config.timeout_seconds:g} s"
            )
        except LadingError as error:  # the gate is full
            return failure(error)
        if self._pace is not None and answer.code is Code.OK:
            self._pace.record(path, seconds)
        return answer


def _request(route: Route, exchange: Exchange, body: bytes) -> Request:
    if route.verb != "infer":
        return Request(exchange.method, exchange.path, body)
    return Request(
        exchange.method,
        exchange.path,
        body,
        header_length=exchange.headers.get("inference-header-content-length"),
        content_type=exchange.headers.get("content-type"),
    )


def _internal(exchange: Exchange, error: Exception) -> Answer:
    """The last line of defence: the client learns that it failed, the log says why, the server lives on."""
    log("request failed", severity="ERROR", method=exchange.method, path=exchange.path, error=repr(error))
    return refusal(Code.INTERNAL, "internal error; the server's log says more")
