"""What every place that holds images offers: a registry's repository, an OCI layout, an archive.

An image is read and written as what it is made of, manifests and blobs, so that any place can be the origin and any
other the destination.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from lading.oci.image import Descriptor
from lading.wait import Deadline


@dataclass(frozen=True)
class Manifest:
    """A manifest or index, as its bytes are."""

    content: bytes
    media_type: str
    digest: str

    @property
    def descriptor(self) -> Descriptor:
        """The manifest as an index names it."""
        return Descriptor(self.media_type, self.digest, len(self.content))


@dataclass(frozen=True)
class Blob:
    """Bytes that are known by digest and can be read as often as needed: a broken upload starts anew."""

    descriptor: Descriptor
    open: Callable[[], BinaryIO]
    """A new reader at the first byte. Whoever asks for it closes it; only ``read`` and ``close`` are called."""
    fresh: bool = False
    """Made for an image that is not there: it is sent without asking whether it is."""


class Store(Protocol):
    """One repository of images."""

    @property
    def repository(self) -> str:
        """Its name as users write it, without tag or digest: ``HOST/NAME``, ``oci:DIR``, ``lading.local/NAME``."""

    def manifest(self, tag_or_digest: str, *, deadline: Deadline) -> Manifest:
        """A manifest or index.

        Args:
            tag_or_digest: Empty for the image that is meant when none is named: ``latest``; in a layout or archive that
                holds one image only, that one.
            deadline: For all of it.

        Raises:
            NotFound: there is no such manifest.
            RemoteError, StorageError: the bytes do not have the digest that was asked for.
        """

    def has_blob(self, digest: str, *, deadline: Deadline) -> bool:
        """Whether the repository has a blob."""

    def blob(self, digest: str, *, deadline: Deadline) -> Iterator[bytes]:
        """The bytes of a blob in pieces of up to 1 MiB; believe them only when the last one came without an error.

        Raises:
            NotFound: there is no such blob.
            RemoteError, StorageError: the bytes do not have the digest.
        """

    def take_blob(self, descriptor: Descriptor, origin: "Store", *, deadline: Deadline) -> bool:
        """Have a blob that lies in another repository of the same place, without moving its bytes.

        Returns:
            Whether it is there now; if not, ``write_blob`` moves the bytes.
        """

    def write_blob(self, blob: Blob, *, deadline: Deadline) -> None:
        """Add a blob, unless it is there. Safe to repeat, and to call from several threads.

        Raises:
            AccessDenied: we may not write to the repository.
            RemoteError, StorageError: the store did not take it.
        """

    def write_manifest(self, manifest: Manifest, *, tag: str = "", part: bool = False, deadline: Deadline) -> None:
        """Add a manifest or index whose blobs are all there, and move the tag to it, if one is given.

        Args:
            manifest: Its blobs, or the manifests that it names, were written before.
            tag: Empty: it is known by its digest only.
            part: It belongs to an index that is written next, and is no image that the repository lists by itself.
            deadline: For all of it.
        """
