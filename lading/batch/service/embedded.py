"""embedded-tf's door: ``GET /?model=&input=&output=``, answered when the run has ended.

Source: Server.go of https://github.com/guillaumeblaquiere/embedded-tf at d79326b7. Its texts are kept to the letter;
where a location would have crashed it, or is refused here for another reason, the text is of the same form.
"""

from urllib.parse import parse_qs

from lading.batch.job import BatchJob
from lading.batch.options import BatchOptions
from lading.batch.service.access import NotAllowed
from lading.batch.service.memory import TooLarge
from lading.batch.service.request import BatchRequest
from lading.batch.service.runs import Run, State
from lading.errors import EngineError, InvalidInput, InvalidModel, LadingError, Overloaded, RunInProgress
from lading.serving.answers import Answer
from lading.serving.errors import CONTENT_TOO_LARGE, Code

TEXT = "text/plain; charset=utf-8"
RETRY_AFTER_SECONDS = 10
COMPLETED = "predictions completed"
NO_CLIENT = "error when creating storage client"
NO_MODEL = "error when downloading model files"
NO_ENGINE = "error when starting tensorflow"
NOT_PREDICTED = "error when making predictions"


class BadQuery(InvalidInput):
    """A query that embedded-tf answers with 400, and with this text."""


def parse_query(path: str, *, max_line_bytes: int) -> BatchRequest:
    """Read the query of a request.

    Args:
        path: Of the request, with its query; each character is a byte.
        max_line_bytes: Longer lines are bad rows.

    Raises:
        BadQuery: the first parameter, in the order model, input, output, that is missing or is no location in a bucket.
    """
    query = parse_qs(path.partition("?")[2].encode("latin-1"), keep_blank_values=True)
    model, start, output = (_location(query, name) for name in ("model", "input", "output"))
    if start.rpartition("/")[0] == output.rstrip("/"):
        raise BadQuery("'output' bad formatted: location must differ from the directory of the input")
    job = BatchJob(
        (start,),
        output,
        BatchOptions(input_format="jsonl", max_line_bytes=max_line_bytes),
        max_bad_rows="0",
        keep_notes=False,
        supersede=True,
        by_prefix=True,
    )
    return BatchRequest(model, job, embedded=True)


def _location(query: dict[bytes, list[bytes]], name: str) -> str:
    given = query.get(name.encode(), [b""])[0]
    if not given:
        raise BadQuery(f"Query Param '{name}' is missing")
    try:
        text = given.decode()
    except UnicodeDecodeError as error:
        raise BadQuery(f"'{name}' bad formatted: location must be UTF-8") from error
    if not text.startswith("gs://"):
        raise BadQuery(f"'{name}' bad formatted: location must start with 'gs://'")
    bucket, slash, _ = text.removeprefix("gs://").partition("/")
    if not bucket or not slash:
        raise BadQuery(f"'{name}' bad formatted: location must have a bucket and a slash behind it")
    return text


def answer(run: Run) -> Answer:
    """The answer to a request whose run has ended."""
    if run.state is State.SUCCEEDED:
        return _text(Code.OK, COMPLETED, run)
    error = run.error
    if isinstance(error, Overloaded | RunInProgress):
        return _text(Code.UNAVAILABLE, str(error), run)
    if error is not None and not run.is_open:
        return _text(Code.INTERNAL, NO_ENGINE if isinstance(error, EngineError | InvalidModel) else NO_MODEL, run)
    return _text(Code.INTERNAL, NOT_PREDICTED, run)


def refusal(error: Exception) -> Answer:
    """The answer to a request that did not become a run."""
    if isinstance(error, BadQuery):
        return _text(Code.INVALID_ARGUMENT, str(error))
    if isinstance(error, TooLarge):
        answer = _text(Code.RESOURCE_EXHAUSTED, str(error))
        answer.status = CONTENT_TOO_LARGE
        return answer
    if isinstance(error, Overloaded):
        return _text(Code.UNAVAILABLE, str(error))
    if isinstance(error, NotAllowed):
        return _text(Code.PERMISSION_DENIED, str(error))
    return _text(Code.INTERNAL, NO_CLIENT if isinstance(error, NoClient) else NO_MODEL)


class NoClient(LadingError):
    """Cloud Storage cannot be asked at all: the library or the credentials are missing."""


def _text(code: Code, text: str, run: Run | None = None) -> Answer:
    headers = [("x-lading-batch", run.id)] if run is not None else []
    if code is Code.UNAVAILABLE:
        headers.append(("retry-after", str(RETRY_AFTER_SECONDS)))
    return Answer(text.encode(), code, content_type=TEXT, headers=tuple(headers))
