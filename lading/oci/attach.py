"""What is attached to an image: artifacts whose manifests name the image as their subject.

Sources: OCI image specification 1.1, ``manifest.md`` ("Guidelines for Artifact Usage"); OCI distribution specification
1.1, "Listing Referrers" and "Referrers Tag Schema". Whether a registry lists referrers is asked by listing them: some
send ``OCI-Subject`` and do not.
"""

import io
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from lading.errors import Conflict, InvalidReference, LadingError, NotFound, RemoteError, StorageError
from lading.oci.image import INDEX_TYPE, MANIFEST_TYPE, Descriptor, canonical_json, digest_of
from lading.oci.store import Blob, Manifest, Store
from lading.wait import Deadline

MAX_ARTIFACT_BYTES = 64 << 20
"""The most that is read of one artifact; the SBOM of a large image has two megabytes."""
_EMPTY_TYPE, _EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
_SETTLE_SECONDS, _SETTLE_FACTOR = 0.05, 8
"""A pause in which another writer comes from reading a list to writing it: as often as long as it took us, at least."""


@runtime_checkable
class ListsReferrers(Protocol):
    """A store that may know by itself what is attached."""

    def referrers(self, digest: str, *, deadline: Deadline) -> list[dict[str, Any]] | None:
        """Descriptors of the manifests whose subject is ``digest``; None where nothing lists them."""


@dataclass(frozen=True)
class Artifact:
    """Something to attach to an image."""

    media_type: str
    """Of the content; it is the artifact's type too."""
    content: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Attached:
    """An artifact that is attached to an image, as a list of referrers has it."""

    digest: str
    """Of its manifest."""
    artifact_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)


def attach(store: Store, subject: str, artifacts: Sequence[Artifact], *, deadline: Deadline) -> list[str]:
    """Attach artifacts to an image, and have them listed. Safe to repeat: the same artifact is attached once.

    Args:
        store: Where the image lies.
        subject: Digest of the image.
        artifacts: Each becomes a manifest of its own.
        deadline: For all together.

    Returns:
        The digests of the artifacts' manifests, in their order.

    Raises:
        NotFound: there is no such image.
        AccessDenied: we may not write to the repository.
        Conflict: another writer keeps replacing the list of referrers.
    """
    image = store.manifest(subject, deadline=deadline)
    listed = _listed_by_store(store, subject, deadline) is not None
    entries = [_write(store, image.descriptor, artifact, part=not listed, deadline=deadline) for artifact in artifacts]
    if not listed:
        change_tag(store, referrers_tag(subject), lambda known: index_with(known, entries), deadline=deadline)
    return [str(entry["digest"]) for entry in entries]


def attached_to(store: Store, subject: str, *, artifact_type: str = "", deadline: Deadline) -> list[Attached]:
    """What is attached to an image, as the store itself and the list below the referrers tag say.

    Both are read: an image may have been copied from a registry that lists referrers to one that does not, or back.

    Args:
        store: Where the image lies.
        subject: Digest of the image.
        artifact_type: Only of this type.
        deadline: When to give up.
    """
    entries = _listed_by_store(store, subject, deadline) or []
    tagged = _manifest_at(store, referrers_tag(subject), deadline)
    entries = entries + (_entries(tagged) if tagged else [])
    found = {
        entry["digest"]: Attached(
            entry["digest"], str(entry.get("artifactType", "")), dict(entry.get("annotations") or {})
        )
        for entry in entries
        if isinstance(entry.get("digest"), str)
    }
    return [one for one in found.values() if not artifact_type or one.artifact_type == artifact_type]


def read_artifact(store: Store, attached: Attached, *, deadline: Deadline) -> bytes:
    """The content of an artifact of one blob.

    Raises:
        NotFound: the list names an artifact that is not there.
        RemoteError: it is not an artifact of one blob, or too large.
    """
    manifest = store.manifest(attached.digest, deadline=deadline)
    try:
        (layer,) = json.loads(manifest.content)["layers"]
        described = Descriptor.from_dict(layer)
    except (ValueError, KeyError, TypeError) as error:
        raise RemoteError(f"{store.repository}@{attached.digest} is not an artifact of one blob", status=502) from error
    return read_blob(store, described.digest, deadline=deadline)


def read_blob(store: Store, digest: str, *, deadline: Deadline) -> bytes:
    """A blob of at most ``MAX_ARTIFACT_BYTES``, whole.

    Raises:
        NotFound: there is no such blob.
        RemoteError: it is larger, or its bytes do not have the digest.
    """
    content = bytearray()
    for piece in store.blob(digest, deadline=deadline):
        content += piece
        if len(content) > MAX_ARTIFACT_BYTES:
            raise RemoteError(f"{store.repository}: blob {digest} has more than 64 MiB: not an artifact", status=502)
    return bytes(content)


def is_damage(error: LadingError) -> bool:
    """Whether an error says that what lies there is not what it should be, not that the store cannot be asked."""
    if isinstance(error, RemoteError):
        return error.status == 502  # as stores say it of bytes that do not have their digest
    return isinstance(error, NotFound | StorageError | InvalidReference)


def write_bytes(store: Store, media_type: str, content: bytes, *, deadline: Deadline) -> Descriptor:
    """Write a small blob; its descriptor."""
    described = Descriptor(media_type, digest_of(content), len(content))
    store.write_blob(Blob(described, lambda: io.BytesIO(content)), deadline=deadline)
    return described


def referrers_tag(digest: str) -> str:
    """The tag of the list of what is attached, where a registry keeps none: ``sha256-<hex>``."""
    return digest.replace(":", "-")


def change_tag(
    store: Store, tag: str, change: Callable[[Manifest | None], Manifest | None], *, deadline: Deadline
) -> None:
    """Replace what a tag names by something that is made of it, together with others who do so.

    A registry has no transactions, so what was written is read again after a pause in which everybody who had read the
    older state has written it; if it is lost by then, it is added anew.

    Args:
        store: One that can be written.
        tag: The tag.
        change: From what the tag names, None for a new tag, to what it shall name; None when nothing is missing in it.
        deadline: When to give up.

    Raises:
        Conflict: another writer keeps replacing it.
        AccessDenied: we may not write to the repository.
    """
    while True:
        started = time.monotonic()
        wanted = change(_manifest_at(store, tag, deadline))
        if wanted is None:
            return
        if deadline.passed:
            raise Conflict(f"{store.repository}:{tag}: another writer keeps replacing it: try again later", status=409)
        store.write_manifest(wanted, tag=tag, deadline=deadline)
        pause = max(_SETTLE_SECONDS, _SETTLE_FACTOR * (time.monotonic() - started))
        deadline.sleep(pause * random.uniform(0.8, 1.6))


def _write(store: Store, subject: Descriptor, artifact: Artifact, *, part: bool, deadline: Deadline) -> dict[str, Any]:
    """Write an artifact and give its entry for a list of referrers."""
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact.media_type,
        "config": write_bytes(store, _EMPTY_TYPE, _EMPTY, deadline=deadline).to_dict(),
        "layers": [write_bytes(store, artifact.media_type, artifact.content, deadline=deadline).to_dict()],
        "subject": subject.to_dict(),
        "annotations": dict(artifact.annotations),
    }
    content = canonical_json(body)
    manifest = Manifest(content, MANIFEST_TYPE, digest_of(content))
    store.write_manifest(manifest, part=part, deadline=deadline)
    return {
        **manifest.descriptor.to_dict(),
        "artifactType": artifact.media_type,
        "annotations": dict(artifact.annotations),
    }


def index_with(known: Manifest | None, entries: list[dict[str, Any]]) -> Manifest | None:
    """The list with these entries; None when it has them all."""
    there = _entries(known) if known else []
    digests = {entry.get("digest") for entry in there}
    missing = [entry for entry in entries if entry["digest"] not in digests]
    if not missing:
        return None
    content = canonical_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": there + missing})
    return Manifest(content, INDEX_TYPE, digest_of(content))


def _entries(index: Manifest) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(index.content)["manifests"]
        return [entry for entry in found if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError) as error:
        raise RemoteError(f"expected a list of referrers, received a {index.media_type}", status=502) from error


def _manifest_at(store: Store, tag: str, deadline: Deadline) -> Manifest | None:
    try:
        return store.manifest(tag, deadline=deadline)
    except NotFound:
        return None


def _listed_by_store(store: Store, subject: str, deadline: Deadline) -> list[dict[str, Any]] | None:
    return store.referrers(subject, deadline=deadline) if isinstance(store, ListsReferrers) else None
