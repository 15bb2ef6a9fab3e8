"""What can be learnt and done at a destination before an image is known, while its layers are still being hashed.

All that matters here are round trips to a registry; other places have none.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lading.errors import InvalidReference
from lading.oci.copy import THREADS, blobs_of
from lading.oci.image import Descriptor
from lading.oci.store import Manifest, Store
from lading.wait import Deadline


@runtime_checkable
class Remote(Store, Protocol):
    """A store that is asked over a network, and that takes no manifest before the blobs that it names are there.

    Source: distribution specification 1.1, "Pushing Manifests", and its error MANIFEST_BLOB_UNKNOWN.
    """

    def expect(self, origin: Store) -> None:
        """Blobs of this origin will be asked for: one login is for both."""

    def standing(self, tag_or_digest: str, *, deadline: Deadline) -> Manifest | None:
        """The manifest that is there; None if there is none."""


@dataclass(frozen=True)
class Ahead:
    """What is known of a destination."""

    tagged: str = ""
    """The digest that the tag names; empty when it names none, or was not asked for."""
    blobs: frozenset[str] = frozenset()
    """Digests of blobs that are there."""


def look_ahead(
    destination: Store, tag: str, *, origin: Store | None, layers: Iterable[Descriptor] = (), deadline: Deadline
) -> Ahead:
    """See what the tag names, and have the destination take the layers of a base that lie next to it.

    What the tag names shares most of its layers with the image that will replace it, and these need not be asked for.

    Args:
        destination: Where an image will go.
        tag: That it will have; empty: none.
        origin: Where ``layers`` are.
        layers: Of the base. Those that only this machine could move are left for ``copy_blobs``.
        deadline: For all requests.

    Raises:
        AccessDenied, RemoteError, ServiceUnreachable, DeadlineExceeded: the destination does not answer as it should.
    """
    if not isinstance(destination, Remote):
        return Ahead()
    if origin:
        destination.expect(origin)
    before = destination.standing(tag, deadline=deadline) if tag else None
    there = {one.digest for one in _parts(before)} if before else set()
    missing = [layer for layer in layers if layer.digest not in there]
    if origin and missing:
        with ThreadPoolExecutor(THREADS) as pool:
            taken = pool.map(lambda layer: destination.take_blob(layer, origin, deadline=deadline), missing)
            there |= {layer.digest for layer, done in zip(missing, taken, strict=True) if done}
    return Ahead(before.digest if before else "", frozenset(there))


def lacks(destination: Store, digest: str, *, deadline: Deadline) -> bool:
    """Whether a blob is not there, as far as a place is worth asking."""
    return isinstance(destination, Remote) and not destination.has_blob(digest, deadline=deadline)


def is_whole(destination: Store, digest: str, *, deadline: Deadline) -> bool:
    """Whether an image is at a place, with all of its blobs, which is sure where the place keeps only such."""
    return isinstance(destination, Remote) and destination.standing(digest, deadline=deadline) is not None


def _parts(manifest: Manifest) -> list[Descriptor]:
    try:
        return blobs_of(manifest)
    except InvalidReference:  # the tag was for something else, of which nothing can be used
        return []
