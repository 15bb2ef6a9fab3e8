"""Who we are to a registry: what ``docker login`` left, a credential helper, Google's own credentials, or nobody."""

import base64
import binascii
import json
import re
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from lading.errors import AccessDenied, InvalidInput, NotFound, RemoteError
from lading.http import Client
from lading.wait import Deadline

_HELPER_SECONDS = 30
_TOKEN_SECONDS = 30
_GOOGLE_HOSTS = re.compile(r"(.+\.)?(pkg\.dev|gcr\.io)(:\d+)?")
_LOOPBACK = re.compile(r"(localhost|127\.[\d.]+|\[::1\])(:\d+)?")
_IDENTITY = "<token>"
"""The user name that stands for "the secret is a refresh token". Source: docker/docker-credential-helpers, README."""
_DOCKER_HUB = "https://index.docker.io/v1/"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


def is_loopback(host: str) -> bool:
    """Whether a host, with or without port, is this machine: the only one that is spoken to without TLS."""
    return bool(_LOOPBACK.fullmatch(host))


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
        # A registry may send us on to the storage behind it, which has no business with our credentials.
        if answer.status_code != 401 or urlsplit(str(answer.url)).netloc != self._host.lower():
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
        return f"Bearer {_fetch_token(told['realm'], told.get('service', ''), scopes, login)}"


def credentials(host: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """User and secret for a registry, looked up in docker's order, then Google's; None: anonymous.

    The user ``<token>`` means that the secret is a refresh token (``docker login`` to some clouds leaves one).

    Raises:
        InvalidInput: docker's configuration cannot be read, or names a helper that is not installed.
        AccessDenied: Google's credentials are there and have expired.
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
        if found := _kept(config.get("auths", {}).get(name, {}), path, name):
            return found
    return _google_login() if _GOOGLE_HOSTS.fullmatch(host) else None


def _kept(entry: Mapping[str, str], path: Path, name: str) -> tuple[str, str] | None:
    """What ``docker login`` wrote into its configuration for one registry."""
    if entry.get("identitytoken"):
        return _IDENTITY, entry["identitytoken"]
    if not entry.get("auth"):
        return None
    try:
        user, _, secret = base64.b64decode(entry["auth"]).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: the login for {name} cannot be read: `docker login {name}` again") from error
    return user, secret


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
            try:
                body = json.loads(done.stdout)
                return body["Username"], body["Secret"]
            except (ValueError, KeyError, TypeError):
                # Without the cause: it holds what the helper said, which may be a secret.
                words = f"docker-credential-{helper} did not answer with Username and Secret as JSON"
                raise InvalidInput(words) from None
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


def _fetch_token(realm: str, service: str, scopes: list[str], login: tuple[str, str] | None) -> str:
    """Ask a token service. Source: distribution specification, "Token Authentication" and its OAuth2 variant."""
    where = urlsplit(realm)
    if where.scheme != "https" and not is_loopback(where.netloc):
        raise AccessDenied(f"the registry wants the login sent to {realm}, which is not encrypted", status=401)
    session = requests.Session()
    session.trust_env = not is_loopback(where.netloc)
    session.auth = lambda request: request  # else requests looks for a password in ~/.netrc
    client, deadline = Client(session=session), Deadline.after(_TOKEN_SECONDS)
    try:
        if login and login[0] == _IDENTITY:
            form = {"grant_type": "refresh_token", "refresh_token": login[1], "client_id": "lading"}
            form |= {"service": service, "scope": " ".join(scopes)}
            answer = client.request("POST", realm, deadline=deadline, data=form)
        else:
            query = [("service", service), *(("scope", scope) for scope in scopes)]
            headers = {"Authorization": _basic(*login)} if login else {}
            answer = client.request("GET", realm, deadline=deadline, params=query, headers=headers)
        body = answer.json()
        return str(body.get("token") or body["access_token"])
    except AccessDenied as error:
        who = "an anonymous user" if not login else "this login" if login[0] == _IDENTITY else f"user {login[0]}"
        raise AccessDenied(
            f"{realm}: {error.status}: the registry gives {who} no token: `docker login`, or ask for access",
            status=error.status,
        ) from error
    except (NotFound, ValueError, KeyError, AttributeError) as error:
        raise RemoteError(f"the registry's token service {realm} did not answer with a token", status=502) from error


def _basic(user: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
