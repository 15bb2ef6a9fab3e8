"""Answers HTTP requests, whatever protocol they speak: a route and a request in, an answer out. No sockets."""

from collections.abc import Callable, Mapping

from lading.errors import NotFound
from lading.serving import rest_oip, rest_tfs
from lading.serving.answers import Answer, Request, as_json, failure, refusal
from lading.serving.config import ServeConfig
from lading.serving.errors import Code
from lading.serving.metrics import CONTENT_TYPE, Metrics
from lading.serving.models import Models
from lading.serving.routes import Route

RUNS: Mapping[str, Callable[[Models, Route, Request], Answer]] = {
    "predict": rest_tfs.predict,
    "classify": rest_tfs.classify,
    "regress": rest_tfs.classify,
    "vertex": rest_tfs.vertex,
    "infer": rest_oip.infer,
}
"""What computes with a model, by the route's verb."""

_ABOUT: Mapping[str, Callable[[Models, Route], Answer]] = {
    "status": rest_tfs.status,
    "metadata": rest_tfs.metadata,
    "model": rest_oip.model,
    "model_ready": rest_oip.model_ready,
}


class Site:
    """What the server says when no model has to compute: health, models, metrics, its own description."""

    def __init__(self, models: Models, config: ServeConfig, metrics: Metrics) -> None:
        self._models = models
        self._config = config
        self._metrics = metrics
        self._openapi_answer = Answer(b"")
        self._openapi_of = -1

    def answer(self, route: Route, request: Request) -> Answer:
        """Answer a request whose route does not run a model."""
        about = _ABOUT.get(route.verb)
        if about is not None:
            return about(self._models, route)
        plain = getattr(self, f"_{route.verb}", None)
        answer: Answer = self._not_found(request) if plain is None else plain(request)
        return answer

    def _alive(self, request: Request) -> Answer:
        return as_json({"status": "alive"})

    def _live(self, request: Request) -> Answer:
        return as_json({"live": True})

    def _ready(self, request: Request) -> Answer:
        # The protocol's text calls the member "live", KServe "ready": both are sent.
        ready = self._models.is_ready()
        return as_json({"ready": ready, "live": True}, Code.OK if ready else Code.UNAVAILABLE)

    def _health(self, request: Request) -> Answer:
        return self._ready(request)

    def _list(self, request: Request) -> Answer:
        return as_json({"models": self._models.names()})

    def _server(self, request: Request) -> Answer:
        return rest_oip.server()

    def _metrics_page(self, request: Request) -> Answer:
        return Answer(self._metrics.render(), content_type=CONTENT_TYPE)

    def _openapi(self, request: Request) -> Answer:
        generation = self._models.generation
        if self._openapi_of != generation:
            from lading.serving.openapi import document

            self._openapi_answer, self._openapi_of = as_json(document(self._models, self._config)), generation
        return self._openapi_answer

    def _malformed(self, request: Request) -> Answer:
        return rest_tfs.malformed(request)

    def _version_too_large(self, request: Request) -> Answer:
        return Answer(b"", Code.INVALID_ARGUMENT)  # TensorFlow Serving's body is empty too

    def _not_allowed(self, request: Request) -> Answer:
        answer = refusal(Code.INVALID_ARGUMENT, f"{request.path} does not take {request.method}")
        answer.status = 405
        return answer

    def _not_found(self, request: Request) -> Answer:
        return failure(NotFound(f"Not found: {request.method} {request.path}"))
