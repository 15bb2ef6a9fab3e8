"""HTTP to one repository of a registry: whom we are, where redirects lead, and refusals in plain words."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from lading.errors import DeadlineExceeded, LadingError, NotFound, RemoteError, ServiceUnreachable
from lading.http import Client
from lading.oci.auth import RegistryAuth, is_loopback
from lading.oci.refusals import Asked
from lading.wait import Deadline

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5


class Channel:
    """Requests to ``HOST/v2/NAME``.

    Args:
        host: With its port. Loopback is spoken to over plain HTTP, every other over HTTPS.
        name: Of the repository.
        environ: Where credentials are looked up; see ``lading.oci.auth``.
        writable: Ask for the right to push from the start.
    """

    def __init__(self, host: str, name: str, *, environ: Mapping[str, str], writable: bool = False) -> None:
        self.host, self.name = host.lower(), name
        self.scheme = "http" if is_loopback(host) else "https"
        self.auth = RegistryAuth(host, environ, f"repository:{name}:{'pull,push' if writable else 'pull'}")
        session = requests.Session()
        session.trust_env = self.scheme == "https"  # a proxy of the environment, but not on the way to this machine
        session.auth = self.auth
        self._client = Client(session=session)

    def request(
        self, method: str, path: str, *, deadline: Deadline, writing: bool = False, **options: Any
    ) -> requests.Response:
        """Send a request.

        Args:
            method: HTTP method.
            path: Below the repository, such as ``/manifests/latest``; or a URL that the registry gave.
            deadline: For all tries together.
            writing: Whether it belongs to a push; says what a refusal means.
            options: As ``lading.http.Client.request`` takes them.
        """
        url = f"{self.scheme}://{self.host}/v2/{self.name}{path}" if path.startswith("/") else path
        try:
            return self._client.request(method, url, deadline=deadline, **options)
        except LadingError as error:
            if error is self.auth.refusal:
                raise
            told = Asked(self.host, self.name, self.auth.who, writing).explain(error)
            if told is error:
                raise
            raise told from error

    def get(self, path: str, *, deadline: Deadline, writing: bool = False, **options: Any) -> requests.Response:
        """GET, and go where the registry sends us: many keep blobs in a storage service behind a signed URL."""
        answer = self.request("GET", path, deadline=deadline, writing=writing, **options)
        for _ in range(_MAX_REDIRECTS):
            if answer.status_code not in _REDIRECTS:
                return answer
            there = self.follow(answer)
            answer.close()
            answer = _get_elsewhere(there, path, deadline, **options)
        raise RemoteError(f"{path}: the registry sends us on more than {_MAX_REDIRECTS} times", status=502)

    def follow(self, answer: requests.Response) -> str:
        """The address in an answer's ``Location``, which may be relative.

        Raises:
            RemoteError: there is none, or it is one that is not encrypted.
        """
        if not answer.headers.get("Location"):
            raise RemoteError(f"{self.host}/{self.name}: the registry does not say where to go on", status=502)
        there = urljoin(str(answer.url), answer.headers["Location"])
        where = urlsplit(there)
        if where.netloc.lower() == self.host:
            # A registry behind a proxy that ends TLS may think that it is spoken to without.
            return where._replace(scheme=self.scheme).geturl()
        if where.scheme != "https" and not is_loopback(where.netloc):
            raise RemoteError(
                f"{self.host}/{self.name}: the registry sends us on to {where.netloc}, unencrypted", status=502
            )
        return there


def _get_elsewhere(url: str, path: str, deadline: Deadline, **options: Any) -> requests.Response:
    """GET without our credentials: a signed URL holds its own, which is why no message shows it."""
    host = urlsplit(url).netloc
    session = requests.Session()
    session.trust_env = not is_loopback(host)
    session.auth = lambda request: request  # else requests looks for a password in ~/.netrc
    where = f"{path}: {host}, where the registry keeps it,"
    try:
        return Client(session=session).request("GET", url, deadline=deadline, **options)
    except NotFound:
        raise NotFound(f"{where} does not have it") from None
    except RemoteError as error:
        raise RemoteError(f"{where} answers {error.status}", status=error.status) from None
    except (ServiceUnreachable, DeadlineExceeded):
        raise ServiceUnreachable(f"{where} does not answer") from None
