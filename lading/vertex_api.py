"""The service clients of Vertex AI: where they send requests, who they are, and their errors in lading's words.

Through the clients of google-cloud-aiplatform 1.x or 2.x (``google.cloud.aiplatform_v1``): they cost half of the SDK's
import, send one request a call, and make nothing that nobody asked for. Over REST, not gRPC: gRPC reports credentials
that have expired as a service that is away ("503 Getting metadata from plugin failed"), and knows no server without
TLS.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from lading.errors import (
    AccessDenied,
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    LadingError,
    NotFound,
    QuotaExceeded,
    RemoteError,
    ServiceUnreachable,
)
from lading.http import Client
from lading.wait import Deadline

ENDPOINT_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"
TOKEN_VARIABLE = "CLOUDSDK_AUTH_ACCESS_TOKEN"
"""The variables by which gcloud itself is sent elsewhere, or given a token."""

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LOG_IN = (
    "log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key of a "
    "service account"
)
_NO_ANSWER = "is the region written rightly, and does this machine reach Google's APIs?"


class VertexApi:
    """Vertex AI in one project and region.

    Attributes:
        project: Google Cloud project.
        region: For instance ``europe-west4``.
        where: ``vertex:PROJECT/REGION``, for messages.
        parent: ``projects/PROJECT/locations/REGION``.
    """

    def __init__(self, project: str, region: str, *, credentials: Any, endpoint: str) -> None:
        self.project, self.region = project, region
        self.where = f"vertex:{project}/{region}"
        self.parent = f"projects/{project}/locations/{region}"
        self._credentials, self._endpoint = credentials, endpoint
        self._clients: dict[Any, Any] = {}

    @classmethod
    def find(cls, project: str, region: str, *, environ: Mapping[str, str]) -> "VertexApi":
        """Find credentials; nothing is sent yet.

        Args:
            project: Google Cloud project.
            region: For instance ``europe-west4``.
            environ: gcloud's variables count: another endpoint, an access token. An endpoint with ``http://`` is a
                local server and needs no credentials.

        Raises:
            AccessDenied: there are no credentials.
            LadingError: the client library is not installed.
        """
        try:
            found_library = importlib.util.find_spec("google.cloud.aiplatform_v1")
        except ModuleNotFoundError:  # a parent package is missing
            found_library = None
        if found_library is None:
            raise LadingError("Vertex AI needs google-cloud-aiplatform: pip install 'lading[vertex]'")
        import google.auth
        from google.auth.credentials import AnonymousCredentials
        from google.oauth2.credentials import Credentials

        endpoint = environ.get(ENDPOINT_VARIABLE, "").rstrip("/") or f"{region}-aiplatform.googleapis.com"
        with translated(f"vertex:{project}/{region}"):
            if token := environ.get(TOKEN_VARIABLE):
                found: Any = Credentials(token)
            elif endpoint.startswith("http://"):
                found = AnonymousCredentials()
            else:
                found, _ = google.auth.default([_SCOPE])
        return cls(project, region, credentials=found, endpoint=endpoint)

    @property
    def url(self) -> str:
        """Of the API, with scheme, without the version."""
        return self._endpoint if "://" in self._endpoint else f"https://{self._endpoint}"

    def service(self, kind: Any) -> Any:
        """A client of one service: unlike the SDK's objects it sends one request a call, within a given time."""
        if kind not in self._clients:
            options = {"api_endpoint": self._endpoint}
            self._clients[kind] = kind(credentials=self._credentials, transport="rest", client_options=options)
        return self._clients[kind]

    def http(self, url: str) -> Client:
        """A plain client of another address with the same credentials; call it within ``translated``."""
        from google.auth.transport.requests import AuthorizedSession

        return Client(url, session=AuthorizedSession(self._credentials))

    def translated(self, what: str = "", *, advice: str = "") -> AbstractContextManager[None]:
        """As the function of this name."""
        return translated(self.where, what, advice=advice)


def seconds(deadline: Deadline) -> float:
    """What is left of a deadline, as clients take it: they refuse 0."""
    return max(0.1, deadline.remaining())


@contextmanager
def translated(where: str, what: str = "", *, advice: str = "") -> Iterator[None]:
    """Within the block the errors of Google's clients become lading's.

    Args:
        where: ``vertex:PROJECT/REGION``, for messages.
        what: What is asked for: ``run release-…``.
        advice: What to do about a request that is refused.

    Raises:
        AccessDenied: there are no credentials, or they do not suffice.
        Conflict: what is to be made is there, or changed meanwhile.
        DeadlineExceeded, InvalidInput, NotFound, QuotaExceeded, RemoteError, ServiceUnreachable: as their names say.
    """
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as auth
    from google.protobuf import json_format

    try:
        yield
    except exceptions.GoogleAPICallError as error:
        raise _by_kind(error, where, what, advice) from error
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


def _by_kind(error: Any, where: str, what: str, advice: str) -> LadingError:
    from google.api_core import exceptions as kinds

    said = _words(error)
    words = f"{where}: {said}"
    if isinstance(error, kinds.Unauthorized):  # Unauthenticated is a kind of it
        return AccessDenied(f"{words} The token is missing or has expired: {_LOG_IN}", status=401)
    if isinstance(error, kinds.Forbidden):
        return denied(words)
    if isinstance(error, kinds.NotFound):
        if _is_page(error):  # a front end of Google's that knows no such host or path, so not the API
            return NotFound(f"{where}: there is no such region: is it written rightly (europe-west4, us-central1)?")
        return NotFound(f"{where} has no {what or 'such project or region'}: {said}")
    if isinstance(error, kinds.TooManyRequests):  # ResourceExhausted is a kind of it
        return out_of_quota(words)
    if isinstance(error, kinds.Conflict):  # Aborted and AlreadyExists are kinds of it
        return Conflict(words, status=409)
    if isinstance(error, kinds.BadRequest):
        return InvalidInput(f"{words} Vertex refuses what was sent{f'; {advice}' if advice else ''}")
    if isinstance(error, kinds.ServiceUnavailable | kinds.GatewayTimeout):  # DeadlineExceeded is a kind of the latter
        return ServiceUnreachable(f"{where} does not answer ({said}): {_NO_ANSWER}")
    return RemoteError(words, status=int(error.code or 500))


def denied(words: str) -> AccessDenied:
    """The error of somebody who may not."""
    return AccessDenied(
        f"{words} Who asks needs roles/aiplatform.user on the project and roles/iam.serviceAccountUser on the "
        "service account that is named, and the API must be on (`gcloud services enable aiplatform.googleapis.com`)",
        status=403,
    )


def out_of_quota(words: str) -> QuotaExceeded:
    """The error of a quota that is used up."""
    return QuotaExceeded(f"{words} A quota is used up: wait, or ask for more under IAM & Admin, Quotas", status=429)


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
