"""The one HTTP client: a session, a deadline and a table of what may be retried."""

import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import requests

from lading.errors import (
    AccessDenied,
    Conflict,
    DeadlineExceeded,
    NotFound,
    QuotaExceeded,
    RemoteError,
    ServiceUnreachable,
)
from lading.wait import Deadline

RETRY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})  # RFC 9110, 9.2.2
MAX_ERROR_BYTES = 65536  # enough of an error page to say what it was; never all of a stray download


class Session(Protocol):
    """What ``Client`` needs of a session; ``requests.Session`` and google-auth's ``AuthorizedSession`` are ones."""

    @property
    def request(self) -> Callable[..., requests.Response]:
        """Sends one request: method, URL, and what ``requests.Session.request`` takes."""


class Client:
    """Sends requests below one base URL.

    Args:
        base_url: Prefix of every path, without a trailing slash.
        session: Carries credentials and connections. Default: a session that takes no proxy or password
            from the environment, since the addresses here are exact.
        headers: Sent with every request.
    """

    def __init__(
        self, base_url: str = "", *, session: Session | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._session = session or _direct_session()
        self._headers = dict(headers or {})

    def request(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        retry: bool = True,
        timeout_seconds: float = 60.0,
        **options: Any,
    ) -> requests.Response:
        """Send a request and return the answer if its status is below 400.

        Idempotent requests are sent again after a connection error or a status of ``RETRY_STATUSES``,
        with growing pauses, until the deadline; others are sent once.

        Args:
            method: HTTP method.
            path: Appended to the base URL.
            deadline: For all tries together.
            retry: False sends even an idempotent request only once.
            timeout_seconds: For one try, in seconds.
            options: Passed to the session: ``json``, ``data``, ``params``, ``headers``, ``stream``.

        Raises:
            NotFound: 404.
            Conflict: 409 or 412.
            AccessDenied: 401 or 403.
            QuotaExceeded: 429.
            RemoteError: any other status of 400 or more.
            ServiceUnreachable: no connection.
            DeadlineExceeded: no answer in time.
        """
        may_retry = retry and method.upper() in IDEMPOTENT
        pause = 0.1
        headers = {**self._headers, **options.pop("headers", {})}
        while True:
            last = not may_retry or deadline.remaining() <= pause
            limit = max(0.001, min(timeout_seconds, deadline.remaining()))
            try:
                answer = self._session.request(
                    method, self.base_url + path, timeout=limit, headers=headers, allow_redirects=False, **options
                )
                if answer.status_code not in RETRY_STATUSES or last:
                    return _checked(answer)
            except requests.Timeout as error:
                if last:
                    raise DeadlineExceeded(f"{method} {self.base_url}{path}: no answer within {limit:.1f} s") from error
            except requests.ConnectionError as error:
                if last:
                    raise ServiceUnreachable(
                        f"{method} {self.base_url}{path}: no connection ({_root(error)}); "
                        "is it running, and reachable from here?"
                    ) from error
            deadline.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, 5.0)


def _direct_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


def _checked(answer: requests.Response) -> requests.Response:
    if answer.status_code < 400:
        return answer
    what = f"{answer.request.method} {answer.url}: {answer.status_code} {_reason(answer)}"
    if answer.status_code == 404:
        raise NotFound(what)
    if answer.status_code in (409, 412):
        raise Conflict(what, status=answer.status_code)
    kinds = {401: AccessDenied, 403: AccessDenied, 429: QuotaExceeded}
    raise kinds.get(answer.status_code, RemoteError)(what, status=answer.status_code)


def _reason(answer: requests.Response) -> str:
    """The server's own words: the ``message`` or ``error`` of a JSON body, else the start of the text."""
    text = answer.content[:MAX_ERROR_BYTES].decode("utf-8", "replace")
    try:
        body = answer.json()
    except ValueError:
        return text.strip()[:500] or answer.reason
    if isinstance(body, dict):
        error = body.get("message") or body.get("error")
        if isinstance(error, dict):
            error = error.get("message")
        if error:
            return str(error)
    return text.strip()[:500]


def _root(error: BaseException) -> str:
    """The innermost cause of a connection error, without the addresses of objects."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
