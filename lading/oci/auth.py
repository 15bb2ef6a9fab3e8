"""Who we are to a registry: what ``docker login`` left, a credential helper, Google's own credentials, or nobody."""

import base64
import json
import re
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase

from lading.errors import AccessDenied, InvalidInput, ServiceUnreachable

_HELPER_SECONDS = 30
_TOKEN_SECONDS = 30
_GOOGLE_HOSTS = (".pkg.dev", "gcr.io")
_DOCKER_HUB = "https://index.docker.io/v1/"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class RegistryAuth(AuthBase):
    """Answers a registry's challenge (401) once, and sends what came of it with every later request.

    Sources: RFC 7617 (Basic); distribution specification, "Token Authentication"; docker's ``config.json``.

    Args:
        host: Of the registry, with its port.
        environ: ``DOCKER_CONFIG`` and ``HOME`` say where docker's configuration lies.
        scopes: ``repository:NAME:pull``; all are asked for in one token, since a token for one would be refused for
            the other.
    """

    def __init__(self, host: str, environ: Mapping[str, str], scopes: tuple[str, ...]) -> None:
        self._host, self._environ, self._scopes = host, environ, scopes
        self._header = ""
        self._lock = threading.Lock()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add what is known, and stand by for a challenge."""
        if self._header:
            request.headers["Authorization"] = self._header
        request.hooks["response"].append(self._answer_challenge)
        return request

    def _answer_challenge(self, answer: requests.Response, **options: Any) -> requests.Response:
        sent = answer.request.headers.get("Authorization", "")
        if answer.status_code != 401:
            return answer
        answer.content  # noqa: B018  the connection can be used again only after the body was read
        answer.close()
        with self._lock:  # one thread asks for a token, the others take it
            if sent == self._header:
                self._header = self._header_for(answer.headers.get("WWW-Authenticate", ""))
            if not self._header or sent == self._header:
                return answer
        again = answer.request.copy()
        again.headers["Authorization"] = self._header
        again.hooks["response"] = []
        sender: Any = answer.connection
        second: requests.Response = sender.send(again, **options)
        second.history.append(answer)
        second.request = again
        return second

    def _header_for(self, challenge: str) -> str:
        """The ``Authorization`` header that a challenge asks for; empty when there is none to give."""
        login = credentials(self._host, self._environ)
        if challenge.lower().startswith("basic"):
            return _basic(*login) if login else ""
        told = dict(_CHALLENGE.findall(challenge))
        if "realm" not in told:
            return ""
        scopes = sorted({*self._scopes, *told.get("scope", "").split()})
        query = [("service", told.get("service", "")), *(("scope", scope) for scope in scopes)]
        return f"Bearer {_fetch_token(told['realm'], query, login)}"


def credentials(host: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """User and secret for a registry, looked up in docker's order, then Google's; None: anonymous.

    Raises:
        InvalidInput: docker's configuration cannot be read, or names a helper that is not installed.
    """
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or Path.home()) / ".docker")
    path = folder / "config.json"
    config: dict[str, Any] = {}
    if path.is_file():
        try:
            config = json.loads(path.read_text())
        except ValueError as error:
            raise InvalidInput(f"{path}: expected JSON, as `docker login` writes it: {error}") from error
    names = (host, f"https://{host}", *((_DOCKER_HUB,) if host.endswith("docker.io") else ()))
    helper = next((config["credHelpers"][name] for name in names if name in config.get("credHelpers", {})), "")
    if helper or config.get("credsStore"):
        found = _ask_helper(helper or config["credsStore"], names, environ, path)
        if found:
            return found
    for name in names:
        if encoded := config.get("auths", {}).get(name, {}).get("auth"):
            user, _, secret = base64.b64decode(encoded).decode().partition(":")
            return user, secret
    return _google_login() if host.endswith(_GOOGLE_HOSTS) else None


def _ask_helper(
    helper: str, names: tuple[str, ...], environ: Mapping[str, str], config: Path
) -> tuple[str, str] | None:
    """Ask ``docker-credential-HELPER get``. Source: docker/docker-credential-helpers, README."""
    for name in names:
        try:
            done = subprocess.run(
                [f"docker-credential-{helper}", "get"],
                input=name,
                capture_output=True,
                text=True,
                env=dict(environ),
                timeout=_HELPER_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise InvalidInput(
                f"{config} names the credential helper {helper!r}, but docker-credential-{helper} is not on the PATH"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise InvalidInput(f"docker-credential-{helper} did not answer within {_HELPER_SECONDS} s") from error
        if not done.returncode:
            body = json.loads(done.stdout)
            return body["Username"], body["Secret"]
    return None


def _google_login() -> tuple[str, str] | None:
    """A token of the application default credentials; anonymous where there are none or no google-auth."""
    try:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.auth.transport.requests import Request
    except ImportError:
        return None
    try:
        found, _ = google.auth.default(["https://www.googleapis.com/auth/cloud-platform"])
        found.refresh(Request())
    except DefaultCredentialsError:
        return None
    except GoogleAuthError as error:
        raise AccessDenied(
            f"the Google credentials of this machine cannot be refreshed ({error}): "
            "`gcloud auth application-default login`",
            status=401,
        ) from error
    return "oauth2accesstoken", found.token


def _fetch_token(realm: str, query: list[tuple[str, str]], login: tuple[str, str] | None) -> str:
    headers = {"Authorization": _basic(*login)} if login else {}
    try:
        answer = requests.get(realm, params=query, headers=headers, timeout=_TOKEN_SECONDS)
    except requests.RequestException as error:
        raise ServiceUnreachable(f"the registry's token service {realm} does not answer") from error
    if answer.status_code >= 400:
        who = f"user {login[0]}" if login else "an anonymous user"
        raise AccessDenied(
            f"{realm}: {answer.status_code}: the registry gives {who} no token: `docker login`, or ask for access",
            status=answer.status_code if answer.status_code in (401, 403) else 401,
        )
    body = answer.json()
    return str(body.get("token") or body["access_token"])


def _basic(user: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
