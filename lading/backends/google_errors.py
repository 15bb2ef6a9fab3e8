"""What Google's clients raise, in lading's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lading.errors import (
    AccessDenied,
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

    try:
        yield
    except exceptions.GoogleAPICallError as error:
        raise _by_kind(error, where, what, exceptions) from error
    except exceptions.RetryError as error:
        raise ServiceUnreachable(f"{where} does not answer: {error.message}") from error
    except auth.DefaultCredentialsError as error:
        raise AccessDenied(f"{where}: there are no Google credentials here: {_LOG_IN}", status=401) from error
    except auth.RefreshError as error:
        raise AccessDenied(
            f"{where}: the Google credentials have expired or were revoked: {_LOG_IN}", status=401
        ) from error
    except (auth.TransportError, requests.ConnectionError, requests.Timeout) as error:
        raise ServiceUnreachable(
            f"{where} does not answer: is the region written rightly, and does this machine reach Google's APIs?"
        ) from error
    except ValueError as error:  # how the client reports what it refuses itself
        raise InvalidInput(f"{where}: the client refuses this: {error}") from error


def _by_kind(error: Any, where: str, what: str, kinds: Any) -> LadingError:
    words = f"{where}: {error.message}"
    if isinstance(error, kinds.Unauthorized):  # Unauthenticated is a kind of it
        return AccessDenied(f"{words} The token is missing or has expired: {_LOG_IN}", status=401)
    if isinstance(error, kinds.Forbidden):
        return AccessDenied(
            f"{words} Who asks needs roles/aiplatform.user on the project and roles/iam.serviceAccountUser on the "
            "service account of the job, and the API must be on (`gcloud services enable aiplatform.googleapis.com`)",
            status=403,
        )
    if isinstance(error, kinds.NotFound):
        return NotFound(f"{where} has no {what or 'such project or region'}: {error.message}")
    if isinstance(error, kinds.TooManyRequests):  # ResourceExhausted is a kind of it
        return QuotaExceeded(f"{words} A quota is used up: wait, or ask for more under IAM & Admin, Quotas", status=429)
    if isinstance(error, kinds.BadRequest):
        return InvalidInput(f"{words} Vertex refuses what was sent; `lading lint --for vertex` may say more")
    if isinstance(error, kinds.ServiceUnavailable | kinds.DeadlineExceeded):
        return ServiceUnreachable(f"{where} does not answer ({error.message}): is the region written rightly?")
    return RemoteError(words, status=int(error.code or 500))
