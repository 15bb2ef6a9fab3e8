"""A registry as the distribution specification 1.1 has it: manifests by tag and digest."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import requests

from lading.errors import InvalidReference, NotFound, RemoteError
from lading.http import Client
from lading.oci.auth import RegistryAuth
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
_LOOPBACK = re.compile(r"(localhost|127\.[\d.]+|\[::1\])(:\d+)?")


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


class Registry:
    """One registry and one repository in it.

    Args:
        host: With its port. Loopback is spoken to over plain HTTP, every other over HTTPS.
        name: Of the repository.
        environ: Where credentials are looked up; see ``lading.oci.auth``.
    """

    def __init__(self, host: str, name: str, *, environ: Mapping[str, str]) -> None:
        loopback = bool(_LOOPBACK.fullmatch(host))
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
        return digest if DIGEST.fullmatch(digest) else digest_of(self.manifest(tag_or_digest, deadline=deadline))

    def manifest(self, tag_or_digest: str, *, deadline: Deadline) -> bytes:
        """The bytes of a manifest or index.

        Raises:
            NotFound: there is no such manifest.
            RemoteError: the bytes do not have the digest that was asked for.
        """
        answer = self._client.request(
            "GET", f"/manifests/{tag_or_digest}", deadline=deadline, headers={"Accept": _ACCEPTED}
        )
        if DIGEST.fullmatch(tag_or_digest) and digest_of(answer.content) != tag_or_digest:
            raise RemoteError(f"{answer.url}: the registry sent other bytes than those of the digest", status=502)
        return answer.content


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
