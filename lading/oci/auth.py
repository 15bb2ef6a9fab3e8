"""How a registry lets us in: its challenge, and the password or token that answers it."""

import base64
import math
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from lading.errors import AccessDenied, NotFound, RemoteError
from lading.http import Client
from lading.oci.credentials import IDENTITY, look_up
from lading.wait import Deadline

_TOKEN_SECONDS = 30
_TOKEN_GOOD_SECONDS = 60  # when the token service does not say; source: distribution, "Token Authentication"
_LOOPBACK = re.compile(r"(localhost|127\.[\d.]+|\[::1\])(:\d+)?")
_SCHEMES = re.compile(r"(?:^|,)\s*(bearer|basic)\s+", re.IGNORECASE)
_PARAMETERS = re.compile(r'(\w+)="([^"]*)"')


def is_loopback(host: str) -> bool:
    """Whether a host, with or without port, is this machine: the only one that is spoken to without TLS."""
    return bool(_LOOPBACK.fullmatch(host))


class RegistryAuth(AuthBase):
    """Answers a registry's challenge (401) once, and sends what came of it with every later request.

    Sources: RFC 7617 (Basic); distribution specification, "Token Authentication"; docker's ``config.json``.

    Args:
        host: Of the registry, with its port.
        environ: ``DOCKER_CONFIG`` and ``HOME`` say where docker's configuration lies.
        scope: ``repository:NAME:pull``: what every token must be good for.
    """

    def __init__(self, host: str, environ: Mapping[str, str], scope: str) -> None:
        self._host, self._environ, self._scope = host.lower(), environ, scope
        self._wanted: set[str] = set()
        self._header = ""
        self._old_at = math.inf
        self._lock = threading.Lock()
        self.who = "an anonymous user"
        """Whom the registry takes us for, in words; known after its first challenge."""
        self.refusal: AccessDenied | None = None
        """That the token service knows nothing of us. It is final: many wrong passwords can lock an account."""

    def want(self, scope: str) -> None:
        """Ask for more rights in the same token: a request that needs two is refused with one for each.

        They are wishes: if the token service does not grant them, it is asked again without.
        """
        with self._lock:
            if scope not in self._wanted and scope != self._scope:
                self._wanted.add(scope)
                self._header = "" if self._header.startswith("Bearer") else self._header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add what is known, and stand by for a challenge."""
        if urlsplit(str(request.url)).netloc.lower() != self._host:
            return request  # a registry may keep its blobs elsewhere, which has no business with our credentials
        with self._lock:
            if time.monotonic() > self._old_at:
                self._header, self._old_at = "", math.inf
            if self._header:
                request.headers["Authorization"] = self._header
        request.hooks["response"].append(self._answer_challenge)
        return request

    def _answer_challenge(self, answer: requests.Response, **options: Any) -> requests.Response:
        sent = answer.request.headers.get("Authorization", "")
        if answer.status_code != 401 or urlsplit(str(answer.url)).netloc.lower() != self._host:
            return answer
        answer.content  # noqa: B018  the connection can be used again only after the body was read
        answer.close()
        with self._lock:  # one thread asks for a token, the others take it
            if self.refusal:
                raise self.refusal
            if sent == self._header:
                seconds = options.get("timeout") or _TOKEN_SECONDS
                self._log_in(answer.headers.get("WWW-Authenticate", ""), Deadline.after(min(seconds, _TOKEN_SECONDS)))
            header = self._header
        # A body that was a stream has been read to its end: whoever gave it must begin again.
        if not header or sent == header or not isinstance(answer.request.body, bytes | str | None):
            return answer
        again = answer.request.copy()
        again.headers["Authorization"] = header
        again.hooks["response"] = []
        sender: Any = answer.connection
        second: requests.Response = sender.send(again, **options)
        second.history.append(answer)
        second.request = again
        return second

    def _log_in(self, challenge: str, deadline: Deadline) -> None:
        """Set the ``Authorization`` header that a challenge asks for; none when there is none to give."""
        login, problem = look_up(self._host, self._environ)
        self.who = f"{_who(login)} ({problem})" if problem and not login else _who(login)
        _, *schemes = _SCHEMES.split(challenge)  # some registries offer both
        offered = dict(zip((scheme.lower() for scheme in schemes[::2]), schemes[1::2], strict=True))
        told = dict(_PARAMETERS.findall(offered.get("bearer", "")))
        if "realm" not in told:
            self._header = _basic(*login) if login and "basic" in offered else ""
            return
        needed = {self._scope, *told.get("scope", "").split()}
        tokens = _TokenService(told["realm"], told.get("service", ""), login, deadline)
        try:
            try:
                token, seconds = tokens.fetch(needed | self._wanted)
            except AccessDenied:
                if self._wanted <= needed:
                    raise
                token, seconds = tokens.fetch(needed)
        except AccessDenied as error:
            self.refusal = error
            raise
        # Before it is old: a large body would be sent for nothing.
        self._header, self._old_at = f"Bearer {token}", time.monotonic() + 0.75 * seconds


@dataclass(frozen=True)
class _TokenService:
    """Source: distribution specification, "Token Authentication" and its OAuth2 variant."""

    realm: str
    """Its address."""
    service: str
    login: tuple[str, str] | None
    deadline: Deadline

    def fetch(self, scopes: set[str]) -> tuple[str, float]:
        """A token, and how many seconds it is good for."""
        where = urlsplit(self.realm)
        if where.scheme != "https" and not is_loopback(where.netloc):
            raise AccessDenied(f"the registry wants the login sent to {self.realm}, which is not encrypted", status=401)
        try:
            body = self._ask(where.netloc, _merged(scopes)).json()
            return str(body.get("token") or body["access_token"]), float(body.get("expires_in") or _TOKEN_GOOD_SECONDS)
        except AccessDenied as error:
            words = f"the registry gives {_who(self.login)} no token: `docker login`, or ask for access"
            raise AccessDenied(f"{self.realm}: {error.status}: {words}", status=error.status) from error
        except (NotFound, ValueError, KeyError, TypeError, AttributeError) as error:
            words = f"the registry's token service {self.realm} did not answer with a token"
            raise RemoteError(words, status=502) from error

    def _ask(self, host: str, scopes: list[str]) -> requests.Response:
        session = requests.Session()
        session.trust_env = not is_loopback(host)
        session.auth = lambda request: request  # else requests looks for a password in ~/.netrc
        client = Client(session=session)
        if self.login and self.login[0] == IDENTITY:
            form = {"grant_type": "refresh_token", "refresh_token": self.login[1], "client_id": "lading"}
            form |= {"service": self.service, "scope": " ".join(scopes)}
            return client.request("POST", self.realm, deadline=self.deadline, data=form, repeatable=True)
        query = [("service", self.service), *(("scope", scope) for scope in scopes)]
        headers = {"Authorization": _basic(*self.login)} if self.login else {}
        return client.request("GET", self.realm, deadline=self.deadline, params=query, headers=headers)


def _merged(scopes: set[str]) -> list[str]:
    """One scope for each repository, with all that is wanted of it."""
    actions: dict[str, set[str]] = {}
    for scope in scopes:
        repository, _, wanted = scope.rpartition(":")
        actions.setdefault(repository, set()).update(wanted.split(","))
    return [f"{repository}:{','.join(sorted(wanted))}" for repository, wanted in sorted(actions.items())]


def _who(login: tuple[str, str] | None) -> str:
    if login is None:
        return "an anonymous user"
    return "the login of this machine" if login[0] == IDENTITY else f"user {login[0]}"


def _basic(user: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
