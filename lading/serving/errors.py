"""The canonical codes of answers, over HTTP and gRPC.

Sources: google/rpc/code.proto; ToHTTPStatusCode in tensorflow_serving/model_servers/http_server.cc.
"""

from enum import Enum

from lading.errors import (
    DeadlineExceeded,
    EngineError,
    InvalidInput,
    LadingError,
    NotFound,
    NotReady,
    Overloaded,
    Unsupported,
)

METHOD_NOT_ALLOWED = 405
"""HTTP only, and never below ``/v1/``."""
REQUEST_TIMEOUT = 408
"""HTTP only: a body that did not arrive in time."""
HEAD_TOO_LARGE = 431
"""HTTP only."""
CONTENT_TOO_LARGE = 413
"""HTTP only: gRPC has RESOURCE_EXHAUSTED for it, which over HTTP would be 429."""


class Code(Enum):
    """A canonical code: its number in gRPC, and the HTTP status that says it."""

    OK = (0, 200)
    CANCELLED = (1, 499)
    UNKNOWN = (2, 500)
    INVALID_ARGUMENT = (3, 400)
    DEADLINE_EXCEEDED = (4, 504)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    PERMISSION_DENIED = (7, 403)
    RESOURCE_EXHAUSTED = (8, 429)
    FAILED_PRECONDITION = (9, 400)
    ABORTED = (10, 409)
    OUT_OF_RANGE = (11, 400)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)
    DATA_LOSS = (15, 500)
    UNAUTHENTICATED = (16, 401)

    def __init__(self, number: int, http: int) -> None:
        self.number = number
        self.http = http


_CODES: tuple[tuple[type[LadingError], Code], ...] = (
    (Unsupported, Code.UNIMPLEMENTED),
    (InvalidInput, Code.INVALID_ARGUMENT),
    (NotFound, Code.NOT_FOUND),
    (NotReady, Code.UNAVAILABLE),
    (Overloaded, Code.UNAVAILABLE),
    (DeadlineExceeded, Code.DEADLINE_EXCEEDED),
)


def code_of(error: LadingError) -> Code:
    """The code that answers an error."""
    if isinstance(error, EngineError):
        return Code[error.code]
    return next((code for kind, code in _CODES if isinstance(error, kind)), Code.INTERNAL)
