"""A registry as the distribution specification 1.1 has it: manifests by tag and digest, blobs by digest."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from lading.errors import DeadlineExceeded, InvalidReference, NotFound, RemoteError, ServiceUnreachable
from lading.http import Client
from lading.oci.auth import RegistryAuth, is_loopback
from lading.oci.image import MANIFEST_TYPE, digest_of
from lading.values import DIGEST
from lading.wait import Deadline

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPTED = ", ".join((INDEX_TYPE, MANIFEST_TYPE, DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE))

# The grammar of distribution/reference, without its limits of length.
_REFERENCE = re.compile(
    r"(?:(?P<host>[^/@]+[.:][^/@]*|localhost)/)?"
    r"(?P<name>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Reference:
    """An image as people write it: ``HOST/NAME:TAG``, ``HOST/NAME@sha256:…``, or a name on Docker Hub."""

    host: str
    """Where the registry answers, with its port."""
    name: str
    """The repository on that host."""
    tag: str
    digest: str
    """Empty, or ``sha256:…``, which wins over the tag."""
    written: str
    """The reference without tag and digest, as it was written."""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read a reference.

        Raises:
            InvalidReference: it is not one.
        """
        found = _REFERENCE.fullmatch(text)
        if not found:
            raise InvalidReference(f"expected an image (HOST/NAME:TAG or HOST/NAME@sha256:…), received {text!r}")
        host, name = found["host"] or "docker.io", found["name"]
        if host in ("docker.io", "index.docker.io"):
            host, name = "registry-1.docker.io", name if "/" in name else f"library/{name}"
        written = text.partition("@")[0]
        written = written.removesuffix(f":{found['tag']}") if found["tag"] else written
        return cls(host, name, found["tag"] or "", found["digest"] or "", written)


@dataclass(frozen=True)
class Manifest:
    """A manifest or index as a registry has it."""

    content: bytes
    media_type: str
    digest: str


class Registry:
    """One registry and one repository in it.

    Args:
        host: With its port. Loopback is spoken to over plain HTTP, every other over HTTPS.
        name: Of the repository.
        environ: Where credentials are looked up; see ``lading.oci.auth``.
    """

    def __init__(self, host: str, name: str, *, environ: Mapping[str, str]) -> None:
        loopback = is_loopback(host)
        session = requests.Session()
        session.trust_env = not loopback  # a proxy of the environment, but not on the way to this machine
        session.auth = RegistryAuth(host, environ, (f"repository:{name}:pull",))
        self._client = Client(f"{'http' if loopback else 'https'}://{host}/v2/{name}", session=session)

    def resolve(self, tag_or_digest: str, *, deadline: Deadline) -> str:
        """The digest of the manifest that a tag names; of a digest, that it exists.

        Raises:
            NotFound: there is no such manifest.
            AccessDenied: we may not read the repository.
            ServiceUnreachable: the registry does not answer.
        """
        head = self._client.request(
            "HEAD", f"/manifests/{tag_or_digest}", deadline=deadline, headers={"Accept": _ACCEPTED}
        )
        digest = head.headers.get("Docker-Content-Digest", "")
        return digest if DIGEST.fullmatch(digest) else self.manifest(tag_or_digest, deadline=deadline).digest

    def manifest(self, tag_or_digest: str, *, deadline: Deadline) -> Manifest:
        """A manifest or index, as its bytes are.

        Raises:
            NotFound: there is no such manifest.
            RemoteError: the bytes do not have the digest that was asked for.
        """
        answer = self._get(f"/manifests/{tag_or_digest}", deadline, headers={"Accept": _ACCEPTED})
        digest = digest_of(answer.content)
        if DIGEST.fullmatch(tag_or_digest) and digest != tag_or_digest:
            raise RemoteError(f"{answer.url}: the registry sent other bytes than those of the digest", status=502)
        return Manifest(answer.content, answer.headers.get("Content-Type", "").partition(";")[0], digest)

    def has_blob(self, digest: str, *, deadline: Deadline) -> bool:
        """Whether the repository has a blob.

        Raises:
            AccessDenied: we may not read the repository.
            ServiceUnreachable: the registry does not answer.
        """
        try:
            self._client.request("HEAD", f"/blobs/{digest}", deadline=deadline)  # a redirect says that it is there
        except NotFound:
            return False
        return True

    def blob(self, digest: str, *, deadline: Deadline) -> Iterator[bytes]:
        """The bytes of a blob in pieces of up to 1 MiB; believe them only when the last one came without an error.

        Raises:
            NotFound: there is no such blob.
            RemoteError: the bytes do not have the digest.
            ServiceUnreachable: the connection was lost.
        """
        # As it is stored: a layer that is a gzip file must not be unpacked on the way.
        answer = self._get(f"/blobs/{digest}", deadline, headers={"Accept-Encoding": "identity"}, stream=True)
        hashed = hashlib.sha256()
        with answer:
            try:
                for piece in answer.iter_content(_CHUNK_BYTES):
                    hashed.update(piece)
                    yield piece
            except requests.RequestException as error:
                raise ServiceUnreachable(f"blob {digest}: the connection was lost while it was read") from error
        if f"sha256:{hashed.hexdigest()}" != digest:
            raise RemoteError(f"blob {digest}: the registry sent other bytes than those of the digest", status=502)

    def _get(self, path: str, deadline: Deadline, **options: Any) -> requests.Response:
        """GET, and go where the registry sends us: many keep blobs in a storage service behind a signed URL."""
        answer = self._client.request("GET", path, deadline=deadline, **options)
        for _ in range(_MAX_REDIRECTS):
            if answer.status_code not in _REDIRECTS:
                return answer
            there = urljoin(str(answer.url), answer.headers.get("Location", ""))
            where = urlsplit(there)
            if where.scheme != "https" and not is_loopback(where.netloc):
                raise RemoteError(f"{answer.url}: the registry sends us on to {where.netloc}, unencrypted", status=502)
            answer.close()
            answer = _get_elsewhere(there, path, deadline, **options)
        raise RemoteError(f"{path}: the registry sends us on more than {_MAX_REDIRECTS} times", status=502)


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


def resolve_image(image: str, *, environ: Mapping[str, str], deadline: Deadline) -> str:
    """``NAME@sha256:…`` for an image by tag or digest, as its registry answers now.

    Raises:
        InvalidReference: not an image reference.
        NotFound: the registry has no such image.
        AccessDenied: we may not read it; some registries say so of what does not exist.
        ServiceUnreachable: the registry does not answer.
    """
    reference = Reference.parse(image)
    registry = Registry(reference.host, reference.name, environ=environ)
    try:
        digest = registry.resolve(reference.digest or reference.tag or "latest", deadline=deadline)
    except NotFound as error:
        raise NotFound(f"no image {image} in its registry") from error
    return f"{reference.written}@{digest}"
