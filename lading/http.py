"""The one HTTP client: a session, a deadline and a table of what may be retried."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
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

    def below(self, path: str) -> "Client":
        """A client with the same session and headers whose base URL is a path below this one's."""
        return Client(self.base_url + path, session=self._session, headers=self._headers)

    def request(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        retry: bool = True,
        repeatable: bool | None = None,
        timeout_seconds: float = 60.0,
        **options: Any,
    ) -> requests.Response:
        """Send a request and return the answer if its status is below 400.

        Idempotent requests are sent again after a connection error or a status of ``RETRY_STATUSES``,
        with growing pauses, and not before ``Retry-After``, until the deadline; others are sent once, unless the
        server did not act on them: 429 with ``Retry-After``.

        Args:
            method: HTTP method.
            path: Appended to the base URL.
            deadline: For all tries together.
            retry: False sends any request only once.
            repeatable: Whether this request does no harm when it is sent twice. Default: by its method.
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
        may_retry = retry and (method.upper() in IDEMPOTENT if repeatable is None else repeatable)
        pause, given = 0.1, deadline.remaining()
        headers = {**self._headers, **options.pop("headers", {})}
        while True:
            last, wait = not may_retry or deadline.remaining() <= pause, pause * random.uniform(0.8, 1.2)
            limit = max(0.001, min(timeout_seconds, deadline.remaining()))
            try:
                answer = self._session.request(
                    method, self.base_url + path, timeout=limit, headers=headers, allow_redirects=False, **options
                )
                told = _retry_after(answer)
                wait, later = max(wait, told), retry and told > 0 and answer.status_code == 429
                if answer.status_code not in RETRY_STATUSES or (last and not later) or wait > deadline.remaining():
                    return _checked(answer)
                answer.close()
            except requests.Timeout as error:
                if last:
                    waited = f"no answer within {given - deadline.remaining():.1f} s"
                    said = waited if given >= 0.05 else "the time was over before it was asked"
                    raise DeadlineExceeded(f"{method} {self._shown(path)}: {said}") from error
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                if last:
                    raise ServiceUnreachable(
                        f"{method} {self._shown(path)}: no connection ({_root(error)}); "
                        "is it running, and reachable from here?"
                    ) from error
            deadline.sleep(wait)
            pause = min(pause * 2, 5.0)

    def _shown(self, path: str) -> str:
        """A URL as messages show it: what follows the question mark may be a signature."""
        return f"{self.base_url}{path}".partition("?")[0]


def _direct_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


def _checked(answer: requests.Response) -> requests.Response:
    if answer.status_code < 400:
        return answer
    what = f"{answer.request.method} {str(answer.url).partition('?')[0]}: {answer.status_code} {_reason(answer)}"
    if answer.status_code == 404:
        raise NotFound(what)
    if answer.status_code in (409, 412):
        raise Conflict(what, status=answer.status_code)
    kinds = {401: AccessDenied, 403: AccessDenied, 429: QuotaExceeded}
    raise kinds.get(answer.status_code, RemoteError)(what, status=answer.status_code)


def _reason(answer: requests.Response) -> str:
    """The server's own words: the ``message`` or ``error`` of a JSON body, or its first one, else the text's start."""
    text = answer.content[:MAX_ERROR_BYTES].decode("utf-8", "replace")
    try:
        body = answer.json()
    except ValueError:
        return text.strip()[:500] or answer.reason
    if isinstance(body, dict):
        several = body.get("errors")
        first = several[0] if isinstance(several, list) and several else None
        error = body.get("message") or body.get("error") or first
        if isinstance(error, dict):
            error = "; ".join([str(error.get("message") or error.get("code") or ""), *_violations(error)])
        if error:
            return str(error)
    return text.strip()[:500]


def _violations(error: Mapping[str, Any]) -> list[str]:
    """What is wrong with each field, which the message leaves out. Source: google/rpc/error_details.proto."""
    details = error.get("details")
    found = [one for item in details for one in _list(item, "fieldViolations")] if isinstance(details, list) else []
    return [f"{one.get('field', '')}: {one.get('description', '')}" for one in found if isinstance(one, dict)]


def _list(body: Any, name: str) -> list[Any]:
    found = body.get(name) if isinstance(body, dict) else None
    return found if isinstance(found, list) else []


def _retry_after(answer: requests.Response) -> float:
    """Seconds that the server wants us to wait; 0 when it does not say. Source: RFC 9110, 10.2.3."""
    asked = answer.headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        at = parsedate_to_datetime(asked)
    except ValueError:
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _root(error: BaseException) -> str:
    """The innermost cause of a connection error, without the addresses of objects."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
