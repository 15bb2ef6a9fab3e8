"""A registry as the distribution specification 1.1 has it: manifests by tag and digest, blobs by digest."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from lading.errors import NotFound, RemoteError
from lading.oci import upload
from lading.oci.channel import Channel
from lading.oci.download import download
from lading.oci.image import (
    DOCKER_LIST_TYPE,
    DOCKER_MANIFEST_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    digest_of,
)
from lading.oci.reference import Reference
from lading.oci.referrers import list_referrers
from lading.oci.store import Blob, Manifest, Store
from lading.values import DIGEST
from lading.wait import Deadline

_ACCEPTED = ", ".join((INDEX_TYPE, MANIFEST_TYPE, DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE))


class Registry:
    """One repository of a registry; a ``Store``.

    Args:
        host: With its port. Loopback is spoken to over plain HTTP, every other over HTTPS.
        name: Of the repository.
        environ: Where credentials are looked up; see ``lading.oci.auth``.
        writable: Ask for the right to push from the start.
        written: The repository as the user wrote it; empty: ``HOST/NAME``.
    """

    def __init__(
        self, host: str, name: str, *, environ: Mapping[str, str], writable: bool = False, written: str = ""
    ) -> None:
        self._channel = Channel(host, name, environ=environ, writable=writable)
        self._written, self._writable = written or f"{host}/{name}", writable
        self._opened: dict[str, str] = {}  # uploads that a registry opened when it was asked to take a blob

    @property
    def repository(self) -> str:
        """``HOST/NAME``, as it was written."""
        return self._written

    def resolve(self, tag_or_digest: str, *, deadline: Deadline) -> str:
        """The digest of the manifest that a tag names; of a digest, that it exists.

        Raises:
            NotFound: there is no such manifest.
            AccessDenied: we may not read the repository.
            ServiceUnreachable: the registry does not answer.
        """
        head = self._channel.request(
            "HEAD", f"/manifests/{tag_or_digest}", deadline=deadline, headers={"Accept": _ACCEPTED}
        )
        digest = head.headers.get("Docker-Content-Digest", "")
        return digest if DIGEST.fullmatch(digest) else self.manifest(tag_or_digest, deadline=deadline).digest

    def manifest(self, tag_or_digest: str, *, deadline: Deadline) -> Manifest:
        """A manifest or index, as its bytes are; ``latest`` if none is named.

        Raises:
            NotFound: there is no such manifest.
            AccessDenied: we may not read the repository.
            RemoteError: the bytes do not have the digest that was asked for.
        """
        wanted = tag_or_digest or "latest"
        try:
            return self._manifest(wanted, deadline)
        except NotFound as error:
            mark = "@" if DIGEST.fullmatch(wanted) else ":"
            raise NotFound(f"no image {self.repository}{mark}{wanted} in its registry") from error

    def standing(self, tag_or_digest: str, *, deadline: Deadline) -> Manifest | None:
        """The manifest that a push will meet, with all of its blobs; None where there is none. See ``Remote``.

        Raises:
            AccessDenied: we may not push to the repository.
            RemoteError: the bytes do not have the digest that was asked for.
        """
        try:
            return self._manifest(tag_or_digest, deadline, writing=True)
        except NotFound:
            return None

    def expect(self, origin: Store) -> None:
        """Ask for the right to take blobs of the origin together with the right to push."""
        if isinstance(origin, Registry) and origin._channel.host == self._channel.host:
            self._channel.auth.want(f"repository:{origin._channel.name}:pull")

    def _manifest(self, wanted: str, deadline: Deadline, *, writing: bool = False) -> Manifest:
        path, headers = f"/manifests/{wanted}", {"Accept": _ACCEPTED}
        answer = self._channel.get(path, deadline=deadline, writing=writing, headers=headers)
        digest = digest_of(answer.content)
        if DIGEST.fullmatch(wanted) and digest != wanted:
            raise RemoteError(f"{answer.url}: the registry sent other bytes than those of the digest", status=502)
        return Manifest(answer.content, answer.headers.get("Content-Type", "").partition(";")[0], digest)

    def has_blob(self, digest: str, *, deadline: Deadline) -> bool:
        """Whether the repository has a blob.

        Raises:
            AccessDenied: we may not read the repository.
            ServiceUnreachable: the registry does not answer.
        """
        return upload.has_blob(self._channel, digest, writing=self._writable, deadline=deadline)

    def blob(self, digest: str, *, deadline: Deadline) -> Iterator[bytes]:
        """The bytes of a blob in pieces of up to 1 MiB; believe them only when the last one came without an error.

        Raises:
            NotFound: there is no such blob.
            RemoteError: the bytes do not have the digest.
            ServiceUnreachable: the connection broke too often.
            DeadlineExceeded: the time is over.
        """
        return download(self._channel, digest, deadline=deadline)

    def take_blob(self, descriptor: Descriptor, origin: Store, *, deadline: Deadline) -> bool:
        """Have a blob of another repository of this registry, if the registry is willing.

        Returns:
            Whether it is there now.
        """
        if not isinstance(origin, Registry) or origin._channel.host != self._channel.host:
            return False
        name = origin._channel.name
        if name == self._channel.name:
            return True  # one repository: what its manifest names is there
        self.expect(origin)  # before the first request, for one token in all
        if upload.has_blob(self._channel, descriptor.digest, writing=True, deadline=deadline):
            return True
        done, opened = upload.mount(self._channel, descriptor.digest, name, deadline=deadline)
        if opened:
            self._opened[descriptor.digest] = opened
        return done

    def write_blob(self, blob: Blob, *, deadline: Deadline) -> None:
        """Upload a blob, unless it is there.

        Raises:
            AccessDenied, NotFound, QuotaExceeded: the registry refuses; the message says what to do.
            RemoteError: it fails, also when it was asked again.
            ServiceUnreachable, DeadlineExceeded: the connection broke too often, or for too long.
            StorageError: the blob cannot be read.
        """
        opened = self._opened.pop(blob.descriptor.digest, "")
        upload.upload(self._channel, blob, opened=opened, deadline=deadline)

    def write_manifest(self, manifest: Manifest, *, tag: str = "", part: bool = False, deadline: Deadline) -> None:
        """Put a manifest or index, by its tag or by its digest.

        Raises:
            AccessDenied, NotFound, QuotaExceeded: the registry refuses; the message says what to do.
            RemoteError: it does not take it: a blob is missing, or it does not know this kind of manifest.
        """
        answer = self._channel.request(
            "PUT",
            f"/manifests/{quote(tag or manifest.digest, safe=':')}",
            deadline=deadline,
            writing=True,
            data=manifest.content,
            headers={"Content-Type": manifest.media_type},
        )
        stored = answer.headers.get("Docker-Content-Digest", manifest.digest)
        if answer.status_code >= 300 or stored != manifest.digest:
            raise RemoteError(
                f"{self._written}: the registry took {manifest.digest} and says it is {stored}", status=502
            )

    def referrers(self, digest: str, *, deadline: Deadline) -> list[dict[str, Any]] | None:
        """Descriptors of the manifests whose subject is ``digest``; None where the registry keeps no such list."""
        return list_referrers(self._channel, digest, deadline=deadline)


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
