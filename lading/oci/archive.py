"""One tar that is an OCI image layout and a docker-archive: what `docker load`, podman, containerd and skopeo all take.

Sources: OCI image specification 1.1, ``image-layout.md``; moby, ``image/spec/spec.md`` (``manifest.json``).
"""

import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from lading.errors import NotFound, StorageError
from lading.files import make_parent, storage_errors
from lading.oci.archive_file import ArchiveFile, member_of
from lading.oci.image import Descriptor
from lading.oci.listing import find, media_type_of
from lading.oci.pieces import Checksum
from lading.oci.store import Blob, Manifest, Store
from lading.values import DIGEST
from lading.wait import Deadline


class Archive:
    """A ``Store`` that is one file.

    Images are added to a temporary file beside it, which takes its place with every manifest that is written: whoever
    sees the file sees whole images.

    Args:
        path: The file. To what was read of it before more is added; what was never read is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._content: ArchiveFile | None = None

    @property
    def repository(self) -> str:
        """``archive:FILE``."""
        return f"archive:{self.path}"

    def manifest(self, tag_or_digest: str, *, deadline: Deadline) -> Manifest:
        """A manifest or index; see ``Store``.

        Raises:
            NotFound: there is no such manifest.
            StorageError: the file is not an archive of this kind.
        """
        digest = tag_or_digest
        if not DIGEST.fullmatch(digest):
            digest = find(self._read().index(), tag_or_digest, where=self.repository).digest
        content = b"".join(self.blob(digest, deadline=deadline))
        return Manifest(content, media_type_of(content, digest), digest)

    def has_blob(self, digest: str, *, deadline: Deadline) -> bool:
        """Whether the archive has a blob."""
        with self._lock:
            if self._content is None and not self.path.exists():
                return False
        return member_of(digest) in self._read().members

    def blob(self, digest: str, *, deadline: Deadline) -> Iterator[bytes]:
        """The bytes of a blob; see ``Store``.

        Raises:
            NotFound: there is no such blob.
            StorageError: the bytes do not have the digest.
        """
        content = self._read()
        if member_of(digest) not in content.members:
            raise NotFound(f"{self.repository}: {digest} is not in it")
        checksum = Checksum()
        yield from checksum.over(content.pieces(member_of(digest)))
        if checksum.digest != digest:
            raise StorageError(f"{self.repository} is damaged: {digest} has other bytes")

    def take_blob(self, descriptor: Descriptor, origin: Store, *, deadline: Deadline) -> bool:
        """Nothing is shared with an archive, save its own blobs."""
        return origin is self and self.has_blob(descriptor.digest, deadline=deadline)

    def write_blob(self, blob: Blob, *, deadline: Deadline) -> None:
        """Add a blob, unless it is there.

        Raises:
            StorageError: the disk is full, or the blob cannot be read or is another; nothing was added.
        """
        with self._lock, storage_errors(self.path):
            self._write().add_blob(blob)

    def write_manifest(self, manifest: Manifest, *, tag: str = "", part: bool = False, deadline: Deadline) -> None:
        """Add a manifest or index, and let the file appear, unless it is a part.

        Raises:
            StorageError: the disk is full; the file is as it was.
        """
        blob = Blob(manifest.descriptor, lambda: io.BytesIO(manifest.content))
        with self._lock, storage_errors(self.path):
            content = self._write()
            content.add_blob(blob)
            if not part:
                content.add_image(manifest, _image_name(self.path), tag)
                content.publish(self.path)

    def _read(self) -> ArchiveFile:
        with self._lock:
            if self._content is None:
                self._content = ArchiveFile.read(self.path)
            return self._content

    def _write(self) -> ArchiveFile:
        """What is being written; starts as a copy of what this object read, or published before."""
        content = self._content
        if content is None or not content.writable:
            if self.path.is_dir():
                raise StorageError(f"{self.repository}: expected the name of a file, and there is a directory")
            make_parent(self.path)
            self._content = content = ArchiveFile.new(self.path, content)
        return content


def _image_name(path: Path) -> str:
    """The file's name as the name of an image: what `docker load` will call it."""
    name = re.sub(r"[^a-z0-9]+", "-", path.name.lower().removesuffix(".tar")).strip("-")
    return name or "image"
