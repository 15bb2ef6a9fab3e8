"""Answers HTTP requests, whatever protocol they speak: a route and a request in, an answer out. No sockets."""

from collections.abc import Callable, Mapping

from lading.errors import LadingError, NotFound
from lading.serving import rest_oip, rest_tfs
from lading.serving.answers import Answer, Request, as_json, failure, refusal
from lading.serving.config import ServeConfig
from lading.serving.errors import METHOD_NOT_ALLOWED, Code
from lading.serving.exposition import CONTENT_TYPE
from lading.serving.metrics import Metrics
from lading.serving.models import Models
from lading.serving.prediction import Prediction
from lading.serving.routes import Route

_READS: Mapping[str, Callable[[Models, Route, Request], rest_tfs.Asked]] = {
    "predict": rest_tfs.predict,
    "vertex": rest_tfs.vertex,
}
_RUNS: Mapping[str, Callable[[Models, Route, Request], Answer]] = {
    "classify": rest_tfs.classify,
    "regress": rest_tfs.classify,
    "infer": rest_oip.infer,
}
PREPARED = frozenset(_READS)
"""The verbs that ``prepare`` knows."""
RUNNING = PREPARED | _RUNS.keys()
"""Those that ``run`` knows: that compute with a model."""

_ABOUT: Mapping[str, Callable[[Models, Route], Answer]] = {
    "status": rest_tfs.status,
    "metadata": rest_tfs.metadata,
    "model": rest_oip.model,
    "model_ready": rest_oip.model_ready,
}


def prepare(models: Models, route: Route, request: Request) -> Prediction:
    """Read a request, for ``Prediction.answer`` or for being computed together with others.

    Raises:
        LadingError: the request is wrong, or its model is not there.
    """
    asked, make = _READS[route.verb](models, route, request)
    return make(models.find(*asked))


def run(models: Models, route: Route, request: Request) -> Answer:
    """Answer a request whose route runs a model; errors that it can be told are answers too."""
    try:
        if route.verb in _RUNS:
            return _RUNS[route.verb](models, route, request)
        asked, make = _READS[route.verb](models, route, request)
        return models.use(lambda served: make(served).answer(), *asked)
    except LadingError as error:
        return failure(error)


class Site:
    """What the server says when no model has to compute: health, models, metrics, its own description."""

    def __init__(self, models: Models, config: ServeConfig, metrics: Metrics) -> None:
        self._models = models
        self._config = config
        self._pages: Mapping[str, Callable[[Request], Answer]] = {
            "alive": lambda _: as_json({"status": "alive"}),
            "live": lambda _: as_json({"live": True}),
            "ready": self._ready,
            "list": lambda _: as_json({"models": models.names()}),
            "server": lambda _: rest_oip.server(),
            "metrics": lambda _: Answer(metrics.render(), content_type=CONTENT_TYPE),
            "openapi": self._openapi,
            "malformed": rest_tfs.malformed,
            # TensorFlow Serving's body is empty too.
            "version_too_large": lambda _: Answer(b"", Code.INVALID_ARGUMENT),
            "not_allowed": _not_allowed,
            "not_found": _not_found,
        }
        self._openapi_answer = Answer(b"")
        self._openapi_of = -1

    def answer(self, route: Route, request: Request) -> Answer:
        """Answer a request whose route does not run a model."""
        about = _ABOUT.get(route.verb)
        if about is not None:
            return about(self._models, route)
        return self._pages[route.verb](request)

    def _ready(self, request: Request) -> Answer:
        # The protocol's text calls the member "live", KServe "ready": both are sent.
        ready = self._models.is_ready()
        return as_json({"ready": ready, "live": True}, Code.OK if ready else Code.UNAVAILABLE)

    def _openapi(self, request: Request) -> Answer:
        generation = self._models.generation
        if self._openapi_of != generation:
            from lading.serving.openapi import document

            self._openapi_answer, self._openapi_of = as_json(document(self._models, self._config)), generation
        return self._openapi_answer


def _not_allowed(request: Request) -> Answer:
    answer = refusal(Code.INVALID_ARGUMENT, f"{request.path} does not take {request.method}")
    answer.status = METHOD_NOT_ALLOWED
    return answer


def _not_found(request: Request) -> Answer:
    return failure(NotFound(f"Not found: {request.method} {request.path}"))
