"""Answers together what became complete in one turn of the event loop.

A turn reads every socket that has something. What is complete then is decoded, computed and sent step by step, each
step for all requests: its code and data stay in the processor's caches from one request to the next, which between the
work of sockets they do not. With batching, what may share a batch is computed in one call of the engine. Nobody waits
for company: the turn ends when its sockets are read.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from lading.errors import ModelClosed
from lading.serving import rest
from lading.serving.answering import answer_whole, failed, request_of
from lading.serving.answers import Answer
from lading.serving.exchange import Exchange
from lading.serving.models import Models
from lading.serving.pace import MOST_BYTES, SLOW_SECONDS, Pace
from lading.serving.prediction import Prediction
from lading.serving.routes import Route

MOST_REQUESTS = 64
"""So many, or ``pace.MOST_BYTES`` of bodies, are answered before the turn reads on."""


class Asked:
    """A request that waits for the end of the turn.

    Args:
        settle: Called with this when ``answer`` is made; without an answer, a thread is to make it.

    Attributes:
        answer: The answer.
        started: ``time.perf_counter()`` when the request was complete.
        seconds: What it cost, its share of what was computed together included.
    """

    __slots__ = ("answer", "body", "exchange", "prediction", "route", "seconds", "settle", "started")

    def __init__(self, route: Route, exchange: Exchange, body: bytes, settle: "Callable[[Asked], None]") -> None:
        self.route, self.exchange, self.body, self.settle = route, exchange, body, settle
        self.started = time.perf_counter()
        self.seconds = 0.0
        self.prediction: Prediction | None = None
        self.answer: Answer | None = None


class Gathering:
    """The requests of a turn; used in the event loop only.

    Args:
        models: What computes.
        pace: Is told what each request cost.
        together: Whether requests are computed together (batching).

    Attributes:
        most_seconds: After so many seconds of computing in a turn, threads compute what is left of it.
    """

    def __init__(self, models: Models, pace: Pace, *, together: bool) -> None:
        self.most_seconds = SLOW_SECONDS
        self._models, self._pace, self._together = models, pace, together
        self._asked: list[Asked] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, asked: Asked) -> None:
        """Answer a request at the end of this turn, by its ``settle``."""
        if not self._asked:
            asyncio.get_running_loop().call_soon(self._end)
        self._asked.append(asked)
        self._bytes += len(asked.body)
        if len(self._asked) >= MOST_REQUESTS or self._bytes > MOST_BYTES:
            self._end()

    def _end(self) -> None:
        asked, self._asked, self._bytes = self._asked, [], 0
        self._decode(asked)
        if self._together:
            self._compute_together(asked)
        else:
            self._compute(asked)
        for each in asked:
            if each.answer is not None:
                self._pace.record(each.exchange.path, each.seconds, len(each.body))
            try:
                each.settle(each)
            except Exception as error:  # the others are to get their answers
                failed(each.exchange, error)

    def _decode(self, asked: Sequence[Asked]) -> None:
        before = time.perf_counter()
        for each in asked:
            if each.route.verb in rest.PREPARED:
                try:
                    each.prediction = rest.prepare(
                        self._models, each.route, request_of(each.route, each.exchange, each.body)
                    )
                except Exception as error:
                    each.answer = failed(each.exchange, error)
            now = time.perf_counter()
            each.seconds, before = now - before, now

    def _compute(self, asked: Sequence[Asked]) -> None:
        """One after the other."""
        begun = before = time.perf_counter()
        for each in asked:
            if each.answer is None and before - begun < self.most_seconds:
                if each.prediction is None:
                    each.answer = answer_whole(self._models, each.route, each.exchange, each.body)
                else:
                    self._compute_one(each, each.prediction)
                now = time.perf_counter()
                each.seconds, before = each.seconds + now - before, now

    def _compute_one(self, each: Asked, prediction: Prediction) -> None:
        try:
            each.answer = prediction.answer()
        except ModelClosed:
            pass  # unloaded in this turn: a thread asks the model that is served instead
        except Exception as error:
            each.answer = failed(each.exchange, error)

    def _compute_together(self, asked: Sequence[Asked]) -> None:
        """What is for the same signature of the same model in one call."""
        groups: dict[tuple[int, str], list[Asked]] = {}
        for each in asked:
            if each.prediction is not None:
                key = (id(each.prediction.served), each.prediction.signature.name)
                groups.setdefault(key, []).append(each)
        until = time.perf_counter() + self.most_seconds
        for group in groups.values():
            self._compute_group(group, until)

    def _compute_group(self, group: Sequence[Asked], until: float) -> None:
        before = time.perf_counter()
        predictions = [each.prediction for each in group if each.prediction is not None]
        served, signature = predictions[0].served, predictions[0].signature
        try:
            found = served.run_together(
                signature,
                [prediction.arrays for prediction in predictions],
                since=[each.started for each in group],
                until=until,
            )
        except ModelClosed:
            return
        except Exception as error:
            found = [error] * len(group)
        for each, prediction, outputs in zip(group, predictions, found, strict=True):
            if outputs is None:
                continue  # a thread is to wait for its turn
            try:
                if isinstance(outputs, Exception):
                    raise outputs
                each.answer = prediction.encode(outputs)
            except Exception as error:
                each.answer = failed(each.exchange, error)
        share = (time.perf_counter() - before) / len(group)
        for each in group:
            each.seconds += share
