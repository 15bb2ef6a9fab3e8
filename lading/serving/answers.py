"""What a request is answered, whatever protocol asked."""

import orjson

from lading.errors import LadingError, Overloaded
from lading.serving.errors import CONTENT_TOO_LARGE, Code, code_of

JSON = "application/json"
RETRY_AFTER_SECONDS = 1


class Answer:
    """An HTTP answer."""

    __slots__ = ("body", "code", "content_type", "headers", "status")

    def __init__(
        self,
        body: bytes,
        code: Code = Code.OK,
        *,
        content_type: str = JSON,
        status: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.body = body
        self.code = code
        self.content_type = content_type
        self.status = code.http if status is None else status
        self.headers = headers


LATER = Answer(b"")
"""In place of an answer: the application sends it itself, in this turn of the event loop."""


class Request:
    """What handlers see of a request.

    Attributes:
        path: With the query string, if there is one.
        header_length: ``Inference-Header-Content-Length`` of the Open Inference Protocol's binary extension.
    """

    __slots__ = ("body", "content_type", "header_length", "method", "path")

    def __init__(
        self, method: str, path: str, body: bytes, *, header_length: str | None = None, content_type: str | None = None
    ) -> None:
        self.method = method
        self.path = path
        self.body = body
        self.header_length = header_length
        self.content_type = content_type


def as_json(value: object, code: Code = Code.OK) -> Answer:
    """An answer of JSON; NaN becomes null, as JSON has none."""
    return Answer(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), code)


def refusal(code: Code, message: str) -> Answer:
    """An error in TensorFlow Serving's form, which KServe's and the Open Inference Protocol's is too."""
    return Answer(orjson.dumps({"error": message}), code)


def failure(error: LadingError) -> Answer:
    """The answer that tells an error."""
    answer = refusal(code_of(error), _printable(str(error)))
    if isinstance(error, Overloaded):
        answer.headers = (("retry-after", str(RETRY_AFTER_SECONDS)),)
    return answer


def too_large(limit: int) -> Answer:
    """The answer to a body of more than ``limit`` bytes."""
    answer = refusal(
        Code.RESOURCE_EXHAUSTED,
        f"the request body is longer than {limit} bytes: send fewer instances at a time, or raise --max-body-bytes",
    )
    answer.status = CONTENT_TOO_LARGE
    return answer


def _printable(text: str) -> str:
    """Without the halves of surrogate pairs that bytes without meaning became; JSON cannot carry those."""
    return text.encode("utf-8", "replace").decode()
