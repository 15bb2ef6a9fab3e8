"""HTTP status codes of errors. Source: ToHTTPStatusCode in tensorflow_serving/model_servers/http_server.cc."""

from lading.errors import InvalidInput, LadingError, NotFound

BAD_REQUEST, NOT_FOUND, CONTENT_TOO_LARGE, INTERNAL = 400, 404, 413, 500


def status_of(error: LadingError) -> int:
    """The status code that answers an error."""
    if isinstance(error, NotFound):
        return NOT_FOUND
    return BAD_REQUEST if isinstance(error, InvalidInput) else INTERNAL
