"""Cloud Storage through google-cloud-storage: one client for all who use it at a time, its errors in lading's words.

The library is imported on first use. It reads ``STORAGE_EMULATOR_HOST`` itself, and looks for credentials when its
client is made.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from lading.errors import AccessDenied, Conflict, InvalidReference, LadingError, NotFound, StorageError

PATIENCE_SECONDS = 60.0
"""For how long a request that failed is sent again."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds
_TEMPORARY = (408, 429, 500, 502, 503, 504)


class _Kept:
    """The client, and how many are using it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._client: Any = None

    def enter(self) -> None:
        with self._lock:
            self._users += 1

    def client(self) -> Any:
        with self._lock:
            if self._client is None:
                try:
                    from google.cloud import storage
                except ImportError as error:
                    raise InvalidReference("gs:// needs the Google Cloud extra: pip install 'lading[gcp]'") from error
                # Without a project: objects need none, and the client would refuse to start where it finds none.
                self._client = storage.Client(project=None)
                # Else some versions ask for each bucket's metadata, in a thread, to annotate traces: a request that is
                # denied to who may use its objects only.
                self._client._bucket_metadata_cache = None
            return self._client

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            client, self._client = (None, self._client) if self._users else (self._client, None)
        if client is not None:
            client.close()


_KEPT = _Kept()


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Keep the client, and with it connections and credentials, until the end of the block.

    All threads of the process share it; it is closed when the last block that overlaps this one ends. It is made when
    something is asked of a bucket, so that a block costs nothing by itself.
    """
    _KEPT.enter()
    try:
        yield
    finally:
        _KEPT.leave()


@contextlib.contextmanager
def opened(name: str, uri: str) -> Iterator[Any]:
    """A ``google.cloud.storage.Bucket``, for a block in which the library's errors come out as lading's.

    Args:
        name: Of the bucket.
        uri: What it is opened for, for messages.

    Raises:
        NotFound: no such object, or no such bucket.
        Conflict: a precondition did not hold.
        AccessDenied: who asks is not known, or may not.
        InvalidReference: the library is not installed.
        StorageError: anything else, after it was tried for a while.
    """
    with kept():
        try:
            yield _bucket(name, uri)
        except LadingError:
            raise
        except Exception as error:
            translated = _translated(error, uri)
            if translated is None:
                raise
            raise translated from error


def _bucket(name: str, uri: str) -> Any:
    try:
        return _KEPT.client().bucket(name)
    except ValueError as error:
        raise InvalidReference(f"{uri}: {name!r} is no name of a bucket ({error})") from error


@contextlib.contextmanager
def blob(uri: str) -> Iterator[Any]:
    """A ``google.cloud.storage.Blob``; as ``opened``.

    Raises:
        InvalidReference: the URI is not ``gs://BUCKET/NAME``.
    """
    bucket, name = split(uri)
    if not name:
        raise InvalidReference(f"expected gs://BUCKET/NAME, received {uri!r}")
    with opened(bucket, uri) as found:
        yield found.blob(name)


def split(uri: str) -> tuple[str, str]:
    """Bucket and name of ``gs://BUCKET/NAME``; the name may be empty.

    Raises:
        InvalidReference: there is no bucket.
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket:
        raise InvalidReference(f"expected gs://BUCKET/NAME, received {uri!r}")
    return bucket, name


def retry(seconds: float = PATIENCE_SECONDS) -> Any:
    """A policy for what may be sent again: 408, 429, 5xx and faults of the connection, with growing pauses.

    For requests that are idempotent: what writes has a generation as its precondition.
    Source: https://docs.cloud.google.com/storage/docs/retry-strategy.

    Args:
        seconds: When to give up.
    """
    from google.api_core.retry import Retry

    return Retry(
        predicate=_is_temporary,
        initial=_FIRST_PAUSE,
        maximum=_LONGEST_PAUSE,
        multiplier=2.0,
        timeout=seconds,
        on_error=_let_go,
    )


def is_missing(error: Exception) -> bool:
    """Whether the library's error says that there is no such object, in a bucket that is there."""
    error = _api_error(error)
    return getattr(error, "code", None) == 404 and not _lacks_bucket(error)


def is_conflict(error: Exception) -> bool:
    """Whether the library's error says that a precondition did not hold."""
    return getattr(_api_error(error), "code", None) == 412


def _is_temporary(error: Any) -> bool:
    import http.client

    import requests
    import urllib3
    from google.auth.exceptions import TransportError

    if isinstance(error, TransportError) and error.args:
        return _is_temporary(error.args[0])
    faults = (
        ConnectionError,
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        http.client.HTTPException,
        urllib3.exceptions.HTTPError,
    )
    return isinstance(error, faults) or getattr(_api_error(error), "code", None) in _TEMPORARY


def _let_go(error: Any) -> None:
    """Close an answer that the library began to stream, and whose body it will not read."""
    response: Any = getattr(error, "response", None)
    if hasattr(response, "close"):
        response.close()


def _translated(error: Exception, uri: str) -> LadingError | None:
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError

    error = _api_error(error)
    if isinstance(error, exceptions.RetryError):
        return StorageError(f"{uri}: {_in_vain(error)}")
    if isinstance(error, requests.RequestException):
        return StorageError(f"{uri}: {_silence(error)}")
    if isinstance(error, exceptions.GoogleAPICallError):
        return _refusal(error, uri)
    if isinstance(error, DefaultCredentialsError):
        return StorageError(
            f"{uri}: no Google credentials here: `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS"
        )
    if isinstance(error, RefreshError):
        return AccessDenied(
            f"{uri}: the Google credentials have expired or were revoked: `gcloud auth application-default login`",
            status=401,
        )
    if isinstance(error, (exceptions.GoogleAPIError, GoogleAuthError, *_media_errors())):
        return StorageError(f"{uri}: {error}")
    return None


def _refusal(error: Any, uri: str) -> LadingError:
    """What a status means."""
    if error.code == 404 and _lacks_bucket(error):
        name = split(uri)[0]
        return NotFound(
            f"no bucket {name}: is it written rightly? `gcloud storage buckets create gs://{name}` makes it"
        )
    if error.code == 404:
        return NotFound(f"no object at {uri}")
    if error.code in (401, 403):
        return AccessDenied(
            f"{uri}: {error.message}. Who asks needs roles/storage.objectUser (or objectViewer) on the bucket",
            status=int(error.code),
        )
    if error.code in (409, 412):
        return Conflict(f"{uri} was changed by someone else meanwhile", status=int(error.code))
    return StorageError(f"{uri}: {error}")


def _lacks_bucket(error: Exception) -> bool:
    return "bucket does not exist" in str(error)


def _in_vain(error: Any) -> str:
    """How the last of several tries ended."""
    cause = _api_error(error.cause)
    if hasattr(cause, "code"):
        return f"Cloud Storage kept answering {int(cause.code)}; try again later ({cause.message})"
    return _silence(error)


def _silence(error: Exception) -> str:
    return f"Cloud Storage does not answer: does this machine reach it, through a proxy if need be? ({error})"


def _api_error(error: Any) -> Any:
    """Uploads that stream raise another type than all other requests."""
    from google.api_core import exceptions

    status = getattr(getattr(error, "response", None), "status_code", 0)
    is_answer = isinstance(error, _media_errors()) and status >= 400
    return exceptions.from_http_status(status, str(error)) if is_answer else error


def _media_errors() -> tuple[type[Exception], ...]:
    """Of a stream that cannot go on, or whose checksum is another."""
    try:
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    except ImportError:  # before 3.0
        from google.resumable_media import DataCorruption, InvalidResponse
    return DataCorruption, InvalidResponse
