"""The web application: finds what a request is for, keeps the event loop free, and answers."""

import asyncio
import time
from functools import partial

from lading.errors import LadingError
from lading.serving import rest
from lading.serving.answering import failed
from lading.serving.answers import LATER, Answer, Request, failure, refusal
from lading.serving.bodies import Bodies
from lading.serving.config import ServeConfig
from lading.serving.errors import Code
from lading.serving.exchange import Exchange
from lading.serving.gate import Gate
from lading.serving.gathering import Asked, Gathering
from lading.serving.models import Models
from lading.serving.pace import Pace
from lading.serving.records import Records
from lading.serving.routes import Route, make_finder
from lading.serving.threaded import answer_each


class App:
    """Answers requests; used in the event loop only."""

    def __init__(self, models: Models, config: ServeConfig, *, gate: Gate, records: Records) -> None:
        self._models = models
        self._config = config
        self._gate = gate
        self._in_thread = partial(answer_each, models)
        self._bodies = Bodies(config, gate)
        self._records = records
        self._pace = Pace(models)
        self._at_once = rest.RUNNING
        """The verbs that the event loop may answer itself."""
        batching = config.batching
        if batching is not None:
            # What may wait for others needs a thread, however quick the model is.
            self._at_once = frozenset() if batching.needs_threads else rest.PREPARED
        self._gathering = Gathering(models, self._pace, together=batching is not None)
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._site = rest.Site(models, config, records.metrics)
        self._find = make_finder(
            health_route=config.health_route, predict_route=config.predict_route, metrics_path=config.metrics_path
        )

    @property
    def running(self) -> int:
        """How many requests are being answered."""
        return self._running + len(self._gathering)

    def answer_at_once(self, exchange: Exchange) -> Answer | None:
        """The answer to a request that is complete, if making it takes no time; ``LATER`` at the end of this turn of
        the event loop; else None.
        """
        route = self._find(exchange.method, exchange.path)
        if not route.runs_model:
            started = time.perf_counter()
            answer = self._about(route, exchange)
            if route.counted:
                self._records.finished(route, exchange, b"", answer, time.perf_counter() - started)
            return answer
        body = exchange.body
        if not self._is_quick(route, exchange, body) or b"content-encoding" in exchange.headers.raw:
            return None
        self._gathering.add(Asked(route, exchange, body, self._settle))
        return LATER

    async def answer(self, exchange: Exchange) -> None:
        """Answer any request, by ``exchange.send``."""
        await self._answer(exchange)

    async def _answer(self, exchange: Exchange, *, by_thread: bool = False) -> None:
        started = time.perf_counter()
        self._running += 1
        body = b""
        route = self._find(exchange.method, exchange.path)
        try:
            if route.runs_model:
                read = await self._bodies.read(exchange.headers, exchange)
                if isinstance(read, Answer):
                    answer = read
                else:
                    body = read
                    answer = await self._run(route, exchange, body, by_thread=by_thread)
            else:
                answer = self._about(route, exchange)
        except Exception as error:
            answer = failed(exchange, error)
        finally:
            self._running -= 1
        exchange.send(answer)
        if route.counted or route.runs_model:
            self._records.finished(route, exchange, body, answer, time.perf_counter() - started)

    def _is_quick(self, route: Route, exchange: Exchange, body: bytes) -> bool:
        return route.verb in self._at_once and self._pace.is_quick(exchange.path, len(body))

    def _about(self, route: Route, exchange: Exchange) -> Answer:
        """The answer to a request for which no model computes, whatever happens."""
        try:
            if route.verb == "options":
                # As TensorFlow Serving answers it: 200 to a browser that asks, else 400, and nothing in it.
                asks = exchange.headers.get("origin", "").startswith(("http://", "https://"))
                return Answer(b"", Code.OK if asks else Code.INVALID_ARGUMENT)
            return self._site.answer(route, Request(exchange.method, exchange.path, b""))
        except Exception as error:
            return failed(exchange, error)

    def _settle(self, asked: Asked) -> None:
        """Send what was made at the end of a turn."""
        answer = asked.answer
        if answer is None:
            task = asyncio.get_running_loop().create_task(self._answer(asked.exchange, by_thread=True))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        asked.exchange.send(answer)
        self._records.finished(asked.route, asked.exchange, asked.body, answer, time.perf_counter() - asked.started)

    async def _gathered(self, route: Route, exchange: Exchange, body: bytes) -> Answer | None:
        """The answer that is made at the end of this turn; None if a thread is to make it."""
        waiter: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()

        def settle(asked: Asked) -> None:
            if not waiter.done():  # cancelled
                waiter.set_result(asked.answer)

        self._gathering.add(Asked(route, exchange, body, settle))
        return await waiter

    async def _run(self, route: Route, exchange: Exchange, body: bytes, *, by_thread: bool) -> Answer:
        if not by_thread and self._is_quick(route, exchange, body):
            gathered = await self._gathered(route, exchange, body)
            if gathered is not None:
                return gathered

        try:
            answer, seconds = await self._gate.run(
                self._in_thread,
                (route, exchange, body),
                len(body),
                most=1 if self._config.batching else self._pace.most_together(exchange.path),
                timeout_seconds=self._config.timeout_seconds,
            )
        except TimeoutError:
            return refusal(
                Code.DEADLINE_EXCEEDED, f"the prediction was not made within {self._config.timeout_seconds:g} s"
            )
        except LadingError as error:  # the gate is full
            return failure(error)
        if answer.code is Code.OK:
            self._pace.record(exchange.path, seconds, len(body))
        return answer
