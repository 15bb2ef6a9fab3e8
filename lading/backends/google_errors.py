"""What Google's clients raise, in lading's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lading.errors import (
    AccessDenied,
    DeadlineExceeded,
    InvalidInput,
    LadingError,
    NotFound,
    QuotaExceeded,
    RemoteError,
    ServiceUnreachable,
)

_LOG_IN = (
    "log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key of a "
    "service account"
)
_NO_ANSWER = "is the region written rightly, and does this machine reach Google's APIs?"


@contextmanager
def translated(where: str, what: str = "") -> Iterator[None]:
    """Within the block the errors of Google's clients become those that ``lading.backends.base.Backend`` names.

    Args:
        where: ``vertex:PROJECT/REGION``, for messages.
        what: What is asked for: ``run release-…``.
    """
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as auth
    from google.protobuf import json_format

    try:
        yield
    except exceptions.GoogleAPICallError as error:
        raise _by_kind(error, where, what, exceptions) from error
    except TimeoutError as error:  # of an operation that the service works on
        raise DeadlineExceeded(f"{where}: what was asked for has not happened in the time given") from error
    except auth.DefaultCredentialsError as error:
        raise AccessDenied(f"{where}: there are no Google credentials here: {_LOG_IN}", status=401) from error
    except (auth.TransportError, requests.RequestException, exceptions.RetryError) as error:
        raise ServiceUnreachable(f"{where} does not answer ({_cause(error)}): {_NO_ANSWER}") from error
    except auth.GoogleAuthError as error:  # RefreshError above all
        raise AccessDenied(
            f"{where}: the Google credentials have expired or were revoked: {_LOG_IN}", status=401
        ) from error
    except json_format.ParseError as error:
        raise ServiceUnreachable(
            f"{where}: what answers there is not Vertex AI (a proxy, or a page to log in?): {_NO_ANSWER}"
        ) from error
    except ValueError as error:  # how the client reports what it refuses itself
        raise InvalidInput(f"{where}: the client refuses this: {error}") from error


def _by_kind(error: Any, where: str, what: str, kinds: Any) -> LadingError:
    said = _words(error)
    words = f"{where}: {said}"
    if isinstance(error, kinds.Unauthorized):  # Unauthenticated is a kind of it
        return AccessDenied(f"{words} The token is missing or has expired: {_LOG_IN}", status=401)
    if isinstance(error, kinds.Forbidden):
        return AccessDenied(
            f"{words} Who asks needs roles/aiplatform.user on the project and roles/iam.serviceAccountUser on the "
            "service account of the job, and the API must be on (`gcloud services enable aiplatform.googleapis.com`)",
            status=403,
        )
    if isinstance(error, kinds.NotFound):
        if _is_page(error):  # a front end of Google's that knows no such host or path, so not the API
            return NotFound(f"{where}: there is no such region: is it written rightly (europe-west4, us-central1)?")
        return NotFound(f"{where} has no {what or 'such project or region'}: {said}")
    if isinstance(error, kinds.TooManyRequests):  # ResourceExhausted is a kind of it
        return QuotaExceeded(f"{words} A quota is used up: wait, or ask for more under IAM & Admin, Quotas", status=429)
    if isinstance(error, kinds.BadRequest):
        return InvalidInput(f"{words} Vertex refuses what was sent; `lading lint --for vertex` may say more")
    if isinstance(error, kinds.ServiceUnavailable | kinds.GatewayTimeout):  # DeadlineExceeded is a kind of the latter
        return ServiceUnreachable(f"{where} does not answer ({said}): {_NO_ANSWER}")
    return RemoteError(words, status=int(error.code or 500))


def _is_page(error: Any) -> bool:
    return "<html" in str(error.message).lower()


def _words(error: Any) -> str:
    """The server's own words, without a page of HTML and without the address that the client puts before them."""
    if _is_page(error):
        return f"{int(error.code)}, and a page of HTML"
    text = str(error.message)
    method, _, rest = text.partition(" http")
    return rest.partition(": ")[2] if method.isupper() and ": " in rest else text


def _cause(error: BaseException) -> str:
    """The innermost cause of a lost connection, in the operating system's words."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
