"""An OCI image layout on disk: where an image waits for its transport, and the image store of this machine.

Source: OCI image specification 1.1, ``image-layout.md``. Blobs are named by their digest and never change, so readers
need no lock; only ``index.json`` is rewritten, under one.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lading.errors import InvalidReference, NotFound, StorageError
from lading.files import make_parent, storage_errors, write_atomic
from lading.oci.image import (
    INDEX_TYPE,
    Descriptor,
    Image,
    canonical_json,
)
from lading.oci.listing import REF_NAME, entry_of, find, media_type_of
from lading.oci.pieces import PIECE_BYTES, Checksum, pieces_of
from lading.oci.store import Blob, Manifest, Store
from lading.values import DIGEST, ImageRef
from lading.wait import Deadline

LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'


class Layout:
    """One repository in a layout; a ``Store``.

    Args:
        directory: Root of the layout; made on the first write.
        repository: Name of the repository, where several share the layout, as ``lading.local/NAME`` do. Empty: the
            layout is the repository.
    """

    def __init__(self, directory: Path, repository: str = "") -> None:
        self.directory = directory
        self._prefix = repository

    @property
    def repository(self) -> str:
        """``oci:DIR``, or the name of the repository."""
        return self._prefix or f"oci:{self.directory}"

    def path_of(self, digest: str) -> Path:
        """The file of a blob; it may not exist.

        Raises:
            InvalidReference: it is not a digest.
        """
        if not DIGEST.fullmatch(digest):
            raise InvalidReference(f"expected a digest (sha256:<64 hex digits>), received {digest!r}")
        algorithm, _, name = digest.partition(":")
        return self.directory / "blobs" / algorithm / name

    def manifest(self, tag_or_digest: str, *, deadline: Deadline) -> Manifest:
        """A manifest or index; see ``Store``.

        Raises:
            NotFound: there is no such manifest.
            StorageError: the layout is damaged.
        """
        digest = tag_or_digest
        if not DIGEST.fullmatch(digest):
            digest = find(self._index()["manifests"], tag_or_digest, self._prefix, where=self.repository).digest
        content = b"".join(self.blob(digest, deadline=deadline))
        return Manifest(content, media_type_of(content, digest), digest)

    def has_blob(self, digest: str, *, deadline: Deadline) -> bool:
        """Whether the layout has a blob."""
        return self.path_of(digest).is_file()

    def blob(self, digest: str, *, deadline: Deadline) -> Iterator[bytes]:
        """The bytes of a blob; see ``Store``.

        Raises:
            NotFound: there is no such blob.
            StorageError: the bytes do not have the digest.
        """
        try:
            file = self.path_of(digest).open("rb")
        except FileNotFoundError as error:
            raise NotFound(f"{self.repository}: {digest} is not there") from error
        checksum = Checksum()
        with file, storage_errors(self.path_of(digest)):
            yield from checksum.over(iter(lambda: file.read(PIECE_BYTES), b""))
        if checksum.digest != digest:
            raise StorageError(f"{self.repository}: the file of {digest} has other bytes: remove it, and make it again")

    def take_blob(self, descriptor: Descriptor, origin: Store, *, deadline: Deadline) -> bool:
        """Whether the blob is there already, since repositories of one layout share their blobs."""
        shared = isinstance(origin, Layout) and origin.directory == self.directory
        return shared and self.has_blob(descriptor.digest, deadline=deadline)

    def write_blob(self, blob: Blob, *, deadline: Deadline) -> None:
        """Add a blob, unless it is there.

        Raises:
            StorageError: the disk is full, or the blob cannot be read or is another; nothing was added.
        """
        path = self.path_of(blob.descriptor.digest)
        if path.is_file():
            return
        with storage_errors(path):
            make_parent(path)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            checksum = Checksum()
            try:
                with os.fdopen(handle, "wb") as file:
                    for piece in checksum.over(pieces_of(blob)):
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                if checksum.digest != blob.descriptor.digest:
                    raise StorageError(f"expected the bytes of {blob.descriptor.digest}, read {checksum.digest}")
                Path(temporary).chmod(0o644)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    def write_manifest(self, manifest: Manifest, *, tag: str = "", part: bool = False, deadline: Deadline) -> None:
        """Add a manifest or index; see ``Store``.

        Raises:
            StorageError: the disk is full, or the layout is damaged.
        """
        write_atomic(self.path_of(manifest.digest), manifest.content)
        if not part:
            self._list(manifest, tag)

    def _list(self, manifest: Manifest, tag: str) -> None:
        name = f"{self._prefix}:{tag}" if self._prefix and tag else tag or self._prefix
        entry = entry_of(manifest, {REF_NAME: name} if name else None)
        with storage_errors(self.directory), (self.directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            index = self._index()
            entries = index["manifests"]
            if tag:  # it moves: no second image has it
                entries = [one for one in entries if (one.get("annotations") or {}).get(REF_NAME) != name]
            known = any(one["digest"] == manifest.digest for one in entries) if not name else entry in entries
            if not known:
                write_atomic(self.directory / "index.json", canonical_json({**index, "manifests": [*entries, entry]}))
            if not (self.directory / "oci-layout").exists():
                write_atomic(self.directory / "oci-layout", LAYOUT_FILE)

    def _index(self) -> dict[str, Any]:
        path = self.directory / "index.json"
        if not path.exists():
            return {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}
        try:
            index: dict[str, Any] = json.loads(path.read_bytes())
            index["manifests"] = list(index["manifests"])
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{path}: expected the index of an OCI image layout: {error}") from error
        return index


class ImageStore:
    """The images of this machine: many repositories in one layout.

    Args:
        directory: Root of the layout; it need not exist.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._all = Layout(directory)

    def path_of(self, digest: str) -> Path:
        """The file of a blob; it may not exist."""
        return self._all.path_of(digest)

    def read(self, ref: ImageRef) -> Image:
        """An image by digest.

        Raises:
            NotFound: the store has no such image, or a part of it is missing.
        """
        manifest = json.loads(self._content(ref.digest, ref))
        config = json.loads(self._content(manifest["config"]["digest"], ref))
        return Image(config, tuple(Descriptor.from_dict(layer) for layer in manifest["layers"]))

    def _content(self, digest: str, ref: ImageRef) -> bytes:
        try:
            return self.path_of(digest).read_bytes()
        except FileNotFoundError as error:
            raise NotFound(
                f"{ref} is not in the image store {self.directory}: `lading package` puts it there"
            ) from error
