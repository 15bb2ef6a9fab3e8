"""Answers requests in a thread of the gate, several at once if there are several.

Between two computations of a heavy model everything else is out of the processor's caches: reading a request and
writing its answer then take a multiple of their time. So a thread reads all of its requests, computes them one by one,
and then writes all of the answers.
"""

from collections.abc import Sequence

from lading.errors import ModelClosed
from lading.predict.effort import Stopwatch
from lading.serving import rest
from lading.serving.answering import answer_whole, failed, request_of
from lading.serving.answers import Answer
from lading.serving.exchange import Exchange
from lading.serving.loading import Arrays
from lading.serving.models import Models
from lading.serving.prediction import Prediction
from lading.serving.routes import Route

Asked = tuple[Route, Exchange, bytes]
"""A request, and its body."""


def answer_each(models: Models, asked: Sequence[Asked]) -> list[tuple[Answer, float]]:
    """The answers, and what making each of them cost in seconds, by a ``Stopwatch``: the mean."""
    cost = Stopwatch()
    if len(asked) == 1:
        return [(answer_whole(models, *asked[0]), cost.seconds())]
    read = [_read(models, *each) for each in asked]
    computed = [_compute(each, found) for each, found in zip(asked, read, strict=True)]
    answers = [
        _written(models, each, found, outputs) for each, found, outputs in zip(asked, read, computed, strict=True)
    ]
    seconds = cost.seconds() / len(asked)
    return [(answer, seconds) for answer in answers]


def _read(models: Models, route: Route, exchange: Exchange, body: bytes) -> Prediction | Answer | None:
    """None for a request of a kind that is answered as a whole."""
    if route.verb not in rest.PREPARED:
        return None
    try:
        return rest.prepare(models, route, request_of(route, exchange, body))
    except Exception as error:
        return failed(exchange, error)


def _compute(asked: Asked, read: Prediction | Answer | None) -> Arrays | Answer | None:
    """None if there is nothing to compute, or the model was unloaded in the meantime."""
    if not isinstance(read, Prediction):
        return read
    try:
        return read.served.run(read.signature, read.arrays)
    except ModelClosed:
        return None
    except Exception as error:
        return failed(asked[1], error)


def _written(
    models: Models, asked: Asked, read: Prediction | Answer | None, computed: Arrays | Answer | None
) -> Answer:
    if isinstance(computed, Answer):
        return computed
    if computed is None or not isinstance(read, Prediction):
        return answer_whole(models, *asked)
    try:
        return read.encode(computed)
    except Exception as error:
        return failed(asked[1], error)
