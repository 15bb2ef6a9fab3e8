"""Who we are to Google Cloud: an access token of the environment, the application default credentials, or a machine's.

Source: https://cloud.google.com/docs/authentication/application-default-credentials.
"""

import contextlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from lading.errors import AccessDenied, InvalidInput
from lading.http import Session

TOKEN_VARIABLE = "CLOUDSDK_AUTH_ACCESS_TOKEN"
"""gcloud's own: an access token."""
KEY_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|::1")


class GoogleSession(Session):
    """Sends requests with an access token, which is renewed when it is old, and once when it is refused.

    Args:
        environ: Says who we are; see ``find_credentials``.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._session: Any = None

    @property
    def request(self) -> Callable[..., requests.Response]:
        """See ``Session.request``."""
        return self._request

    def _request(self, method: str, url: str, **options: Any) -> requests.Response:
        if self._session is None:
            self._session = authorized(find_credentials(self._environ))
        self._session.trust_env = not is_loopback(url)
        with login_errors():
            answer: requests.Response = self._session.request(method, url, **options)
        return answer


def authorized(credentials: Any) -> Any:
    """A session of requests that sends the access token of google-auth's credentials."""
    from google.auth.transport.requests import AuthorizedSession, Request

    renewals = requests.Session()
    renewals.trust_env = not is_loopback(getattr(credentials, "_token_uri", "") or "")
    session = AuthorizedSession(credentials, auth_request=Request(renewals))
    session.auth = lambda request: request  # else requests looks for a password in ~/.netrc
    return session


def find_credentials(environ: Mapping[str, str]) -> Any:
    """google-auth's credentials for the APIs of Google Cloud.

    Raises:
        InvalidInput: google-auth is not installed, or the file of the credentials cannot be read.
        AccessDenied: there are none.
    """
    try:
        import google.auth
        from google.oauth2.credentials import Credentials
    except ImportError as error:
        raise InvalidInput("Google Cloud needs the package google-auth: pip install 'lading[gcp]'") from error
    if token := environ.get(TOKEN_VARIABLE):
        return Credentials(token)
    info = default_credentials_file(environ)
    with login_errors():
        return load_credentials(info) if info else google.auth.default([CLOUD_SCOPE])[0]


def load_credentials(info: Mapping[str, Any]) -> Any:
    """google-auth's credentials from the content of a credentials file."""
    import google.auth

    with warnings.catch_warnings():
        # It warns of files that strangers wrote; this one is the user's own, as google.auth.default() would take it.
        warnings.simplefilter("ignore", DeprecationWarning)
        return google.auth.load_credentials_from_dict(dict(info), scopes=[CLOUD_SCOPE])[0]


def default_credentials_file(environ: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The application default credentials, if they are a file: its content.

    Raises:
        InvalidInput: the file that the environment names is not there, or is none.
    """
    named = environ.get(KEY_VARIABLE)
    home = Path(environ.get("HOME") or Path.home())
    folder = Path(environ.get("CLOUDSDK_CONFIG") or home / ".config" / "gcloud")
    path = Path(named) if named else folder / "application_default_credentials.json"
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError as error:
        if named:
            raise InvalidInput(f"{KEY_VARIABLE}: there is no file {path}") from error
        return None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: expected credentials of Google Cloud as JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{path}: expected credentials of Google Cloud as a JSON object")
    return found


@contextlib.contextmanager
def login_errors() -> Iterator[None]:
    """Turns google-auth's errors into ``AccessDenied`` that says what to do."""
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAuthError as error:
        raise AccessDenied(
            f"no access token for Google Cloud ({error.args[0] if error.args else error}): "
            "`gcloud auth application-default login`, a service account's key in "
            f"{KEY_VARIABLE}, or a token in {TOKEN_VARIABLE}",
            status=401,
        ) from error


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine, which no proxy of the environment reaches."""
    return bool(_LOOPBACK.fullmatch(urlsplit(url).hostname or ""))
