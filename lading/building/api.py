"""Cloud Build's API, through Google's own client, and its errors in lading's words.

Over REST, not gRPC: gRPC reports credentials that have expired as a service that is away, and knows no server without
TLS. API: ``google.devtools.cloudbuild.v1``, service CloudBuild.
"""

from collections.abc import Iterator, Mapping
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
from lading.wait import Deadline

ENDPOINT_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBUILD"
TOKEN_VARIABLE = "CLOUDSDK_AUTH_ACCESS_TOKEN"
"""The variables by which gcloud itself is sent elsewhere, or given a token."""
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LOG_IN = (
    "log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key of a "
    "service account"
)


class CloudBuild:
    """Builds in one project and region.

    Args:
        project: Google Cloud project.
        region: ``global``, or a region such as ``europe-west4``.
        client: Of google-cloud-build.
    """

    def __init__(self, project: str, region: str, client: Any) -> None:
        self._parent = f"projects/{project}/locations/{region}"
        self._where = f"Cloud Build, {project}/{region}"
        self._client = client

    @classmethod
    def connect(cls, project: str, region: str, *, environ: Mapping[str, str]) -> "CloudBuild":
        """Find credentials; nothing is sent yet.

        Args:
            project: Google Cloud project.
            region: ``global``, or a region.
            environ: gcloud's variables count: another endpoint, an access token. An endpoint with ``http://`` is a
                local server and needs no credentials.

        Raises:
            InvalidInput: google-cloud-build is not installed.
            AccessDenied: there are no credentials.
        """
        try:
            import google.auth
            from google.auth.credentials import AnonymousCredentials
            from google.cloud.devtools.cloudbuild_v1 import CloudBuildClient
            from google.oauth2.credentials import Credentials
        except ImportError as error:
            raise InvalidInput("Cloud Build needs the extra: pip install 'lading[cloudbuild]'") from error
        usual = "cloudbuild.googleapis.com" if region == "global" else f"{region}-cloudbuild.googleapis.com"
        endpoint = environ.get(ENDPOINT_VARIABLE, "").rstrip("/") or usual
        with translated(f"Cloud Build, {project}/{region}"):
            if token := environ.get(TOKEN_VARIABLE):
                found: Any = Credentials(token)
            elif endpoint.startswith("http://"):
                found = AnonymousCredentials()
            else:
                found, _ = google.auth.default([_SCOPE])
            options = {"api_endpoint": endpoint}
            client = CloudBuildClient(credentials=found, transport="rest", client_options=options)
        return cls(project, region, client)

    def create(self, build: Any, *, deadline: Deadline) -> Any:
        """Start a build; what it is, as the service has it."""
        from google.cloud.devtools.cloudbuild_v1 import CreateBuildRequest

        with translated(self._where):
            request = CreateBuildRequest(parent=self._parent, build=build)
            return self._client.create_build(request=request, retry=None, timeout=_seconds(deadline)).metadata.build

    def read(self, build_id: str, *, deadline: Deadline) -> Any:
        """How a build stands."""
        from google.cloud.devtools.cloudbuild_v1 import GetBuildRequest

        with translated(self._where, f"build {build_id}"):
            request = GetBuildRequest(name=f"{self._parent}/builds/{build_id}")
            return self._client.get_build(request=request, retry=_retry(deadline), timeout=_seconds(deadline))

    def cancel(self, build_id: str, *, deadline: Deadline) -> None:
        """End a build."""
        from google.cloud.devtools.cloudbuild_v1 import CancelBuildRequest

        with translated(self._where, f"build {build_id}"):
            request = CancelBuildRequest(name=f"{self._parent}/builds/{build_id}")
            self._client.cancel_build(request=request, retry=_retry(deadline), timeout=_seconds(deadline))


@contextmanager
def translated(where: str, what: str = "") -> Iterator[None]:
    """Within the block the errors of Google's client become lading's.

    Args:
        where: The service, for messages.
        what: What is asked for: ``build 1234``.
    """
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as auth

    try:
        yield
    except exceptions.RetryError as error:
        raise ServiceUnreachable(f"{where} does not answer: {error.cause or error}") from error
    except exceptions.GoogleAPICallError as error:
        raise _by_code(error, where, what) from error
    except auth.DefaultCredentialsError as error:
        raise AccessDenied(f"{where}: there are no Google credentials here: {_LOG_IN}", status=401) from error
    except (auth.TransportError, requests.RequestException) as error:
        raise ServiceUnreachable(
            f"{where} does not answer: does this machine reach Google's APIs? ({error})"
        ) from error
    except auth.GoogleAuthError as error:
        raise AccessDenied(f"{where}: the credentials have expired or were revoked: {_LOG_IN}", status=401) from error


def _by_code(error: Any, where: str, what: str) -> LadingError:
    method, _, rest = str(error.message).partition(" http")
    # The client puts method and address before the service's own words.
    said = (rest.partition(": ")[2] if method.isupper() and ": " in rest else str(error.message)).rstrip(". ")
    code, words = int(error.code or 500), f"{where}: {said}."
    if code == 401:
        return AccessDenied(f"{words} The token is missing or has expired: {_LOG_IN}", status=401)
    if code == 403:
        return AccessDenied(
            f"{words} Who asks needs roles/cloudbuild.builds.editor on the project, and roles/iam.serviceAccountUser "
            "on the service account of the build; `gcloud services enable cloudbuild.googleapis.com` turns the API on",
            status=403,
        )
    if code == 404:
        return NotFound(f"{where} has no {what or 'such project or region'}: {said}")
    if code == 429:
        return QuotaExceeded(f"{words} A quota is used up: wait, or ask for more under IAM & Admin, Quotas", status=429)
    if code == 400:
        return InvalidInput(f"{words} Cloud Build refuses what was sent")
    if code == 504:
        return DeadlineExceeded(f"{where} did not answer in time")
    return ServiceUnreachable(words) if code == 503 else RemoteError(words, status=code)


def _seconds(deadline: Deadline) -> float:
    return max(0.1, min(60.0, deadline.remaining()))  # 0 would be refused


def _retry(deadline: Deadline) -> Any:
    """Ask again while the service is away, or says that we ask too often."""
    from google.api_core import exceptions
    from google.api_core.retry import Retry, if_exception_type

    kinds = (exceptions.ServiceUnavailable, exceptions.TooManyRequests, exceptions.InternalServerError)
    return Retry(if_exception_type(*kinds), initial=0.2, maximum=5.0, timeout=_seconds(deadline))
