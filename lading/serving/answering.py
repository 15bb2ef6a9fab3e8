"""Answers a request that runs a model, and knows what to say when that fails."""

from lading.errors import LadingError
from lading.serving import rest
from lading.serving.answers import Answer, Request, failure, refusal
from lading.serving.errors import Code
from lading.serving.exchange import Exchange
from lading.serving.log import log
from lading.serving.models import Models
from lading.serving.routes import Route


def answer_whole(models: Models, route: Route, exchange: Exchange, body: bytes) -> Answer:
    """The answer to a request, whatever happens."""
    try:
        return rest.run(models, route, request_of(route, exchange, body))
    except Exception as error:
        return failed(exchange, error)


def request_of(route: Route, exchange: Exchange, body: bytes) -> Request:
    """What handlers see of a request."""
    if route.verb != "infer":
        return Request(exchange.method, exchange.path, body)
    return Request(
        exchange.method,
        exchange.path,
        body,
        header_length=exchange.headers.get("inference-header-content-length"),
        content_type=exchange.headers.get("content-type"),
    )


def failed(exchange: Exchange, error: Exception) -> Answer:
    """The answer that tells an error; of one that nobody foresaw the log says more than the client learns."""
    if isinstance(error, LadingError):
        return failure(error)
    log("request failed", severity="ERROR", method=exchange.method, path=exchange.path, error=repr(error))
    return refusal(Code.INTERNAL, "internal error; the server's log says more")
