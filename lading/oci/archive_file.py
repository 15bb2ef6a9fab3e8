"""The tar behind an archive: where each member lies, and where the next one goes."""

import contextlib
import json
import os
import tarfile
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from lading.errors import NotFound, StorageError
from lading.files import storage_errors
from lading.oci.image import DOCKER_LIST_TYPE, INDEX_TYPE, canonical_json
from lading.oci.layout import LAYOUT_FILE
from lading.oci.listing import REF_NAME, entry_of, is_statement
from lading.oci.pieces import PIECE_BYTES, Checksum, pieces_of
from lading.oci.store import Blob, Manifest

_NAME = "io.containerd.image.name"
"""The whole name, for `ctr images import`. Source: containerd, ``images/annotations.go``."""
_MOST_JSON_BYTES = 16 << 20
_END = bytes(2 * tarfile.BLOCKSIZE)


class ArchiveFile:
    """A tar that is open, to be read or under a temporary name to be written."""

    def __init__(self, file: BinaryIO, *, path: Path, writable: bool) -> None:
        self._file, self._path = file, path
        self.writable = writable
        self.published = False
        self.members: dict[str, tuple[int, int]] = {}
        """Offset and size of each file in the tar, in bytes."""
        self._end = 0
        self._entries: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []

    @classmethod
    def new(cls, path: Path, before: "ArchiveFile | None") -> "ArchiveFile":
        """An empty tar under a temporary name beside ``path``; or one that goes on from another."""
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        made = cls(os.fdopen(handle, "w+b"), path=Path(temporary), writable=True)
        # Whether the write ends well, badly or never, nothing stays behind under the temporary name.
        weakref.finalize(made, _discard, made._file, made._path)
        if before:
            made._entries, made._images = list(before.index()), list(before.docker_images())
            for name, (_, size) in before.members.items():
                if name.startswith("blobs/"):
                    made._append(name, size, before.pieces(name))
        return made

    @classmethod
    def read(cls, path: Path) -> "ArchiveFile":
        """A tar that is there."""
        try:
            file = path.open("rb")
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotFound(f"archive:{path}: there is no such file") from error
        found = cls(file, path=path, writable=False)
        weakref.finalize(found, file.close)
        try:
            with storage_errors(path), tarfile.open(fileobj=file, mode="r:") as tar:
                for entry in tar:
                    if entry.isreg():
                        found.members[entry.name.removeprefix("./")] = (entry.offset_data, entry.size)
        except tarfile.TarError as error:
            raise StorageError(
                f"archive:{path}: expected an uncompressed tar, as `lading package --to archive:FILE` writes: {error}"
            ) from error
        return found

    def index(self) -> list[dict[str, Any]]:
        """The entries of its ``index.json``."""
        if self.writable or self.published:
            return self._entries
        if "index.json" not in self.members:
            raise StorageError(
                f"archive:{self._path}: expected an OCI image layout in the tar (an index.json). From an archive of an "
                "older Docker `skopeo copy docker-archive:FILE oci-archive:OTHER` makes one"
            )
        return list(self._json("index.json").get("manifests") or ())

    def docker_images(self) -> list[dict[str, Any]]:
        """The entries of its ``manifest.json``."""
        if self.writable or self.published:
            return self._images
        return self._json("manifest.json") if "manifest.json" in self.members else []

    def pieces(self, name: str) -> Iterator[bytes]:
        """The bytes of a member."""
        return self._range(*self.members[name])

    def add_blob(self, blob: Blob) -> None:
        """Append a blob, unless it is there; if that fails, the tar is as it was."""
        name = member_of(blob.descriptor.digest)
        if name in self.members:
            return
        start, checksum = self._end, Checksum()
        self._file.seek(start)
        try:
            self._append(name, blob.descriptor.size, checksum.over(pieces_of(blob)))
            if checksum.digest != blob.descriptor.digest:
                raise StorageError(f"expected the bytes of {blob.descriptor.digest}, read {checksum.digest}")
        except BaseException:
            self.members.pop(name, None)
            self._end = start
            raise

    def add_image(self, manifest: Manifest, name: str, tag: str) -> None:
        """List an image whose blobs are there."""
        entry = entry_of(manifest)
        if is_statement(tag, entry):
            entry = entry_of(manifest, {REF_NAME: tag} if tag else None)
        else:
            whole = f"{name}:{tag or 'latest'}"
            entry = entry_of(manifest, {REF_NAME: tag or "latest", _NAME: f"docker.io/library/{whole}"})
            shown = self._docker_image(manifest)
            self._images = [one for one in self._images if whole not in one["RepoTags"]]
            self._images += [{**shown, "RepoTags": [whole]}] if shown else []
        if annotations := entry.get("annotations"):
            self._entries = [one for one in self._entries if one.get("annotations") != annotations]
        if entry not in self._entries:
            self._entries.append(entry)

    def publish(self, path: Path) -> None:
        """Write the lists and the end, and give the file its name. It is not written to afterwards."""
        kept = self._end
        self._file.seek(kept)
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": self._entries}
        lists = {"index.json": canonical_json(index), "oci-layout": LAYOUT_FILE}
        if self._images:
            lists["manifest.json"] = canonical_json(self._images)
        for name, content in lists.items():
            self._append(name, len(content), iter([content]))
            del self.members[name]
        self._end = kept
        self._file.write(_END)
        self._file.truncate()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._path.chmod(0o644)
        self._path.replace(path)
        self.writable, self.published = False, True

    def _docker_image(self, manifest: Manifest) -> dict[str, Any] | None:
        """What Docker is told; of an index its first image, since a docker-archive knows one platform a name."""
        body = json.loads(manifest.content)
        if manifest.media_type in (INDEX_TYPE, DOCKER_LIST_TYPE):
            there = (one for one in body["manifests"] if self._has(one) and not _is_for_nothing(one))
            body = next((self._json(member_of(one["digest"])) for one in there), {})
        if "layers" not in body or not self._has(body["config"]):
            return None
        layers = [member_of(layer["digest"]) for layer in body["layers"]]
        return {"Config": member_of(body["config"]["digest"]), "Layers": layers}

    def _has(self, descriptor: Mapping[str, Any]) -> bool:
        return member_of(descriptor["digest"]) in self.members

    def _append(self, name: str, size: int, pieces: Iterator[bytes]) -> None:
        header = tarfile.TarInfo(name)  # owner 0, no names, time 0
        header.size, header.mode = size, 0o644
        head = header.tobuf(tarfile.PAX_FORMAT)
        self._file.write(head)
        for piece in pieces:
            self._file.write(piece)
        self._file.write(bytes(-size % tarfile.BLOCKSIZE))
        self.members[name] = (self._end + len(head), size)
        self._end += len(head) + size + -size % tarfile.BLOCKSIZE

    def _json(self, name: str) -> Any:
        if self.members[name][1] > _MOST_JSON_BYTES:
            raise StorageError(f"archive:{self._path}: its {name} is larger than any list of images")
        try:
            return json.loads(b"".join(self.pieces(name)))
        except ValueError as error:
            raise StorageError(f"archive:{self._path}: its {name} is not JSON: {error}") from error

    def _range(self, start: int, size: int) -> Iterator[bytes]:
        if self.writable:
            self._file.flush()
        with storage_errors(self._path):
            for at in range(start, start + size, PIECE_BYTES):
                # Without the file's own position, which several threads would move.
                yield os.pread(self._file.fileno(), min(PIECE_BYTES, start + size - at), at)


def member_of(digest: str) -> str:
    """The name of a blob in the tar."""
    return f"blobs/{digest.replace(':', '/')}"


def _is_for_nothing(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of an index is a statement, which BuildKit lists for the platform unknown/unknown."""
    return (entry.get("platform") or {}).get("os") == "unknown"


def _discard(file: BinaryIO, path: Path) -> None:
    with contextlib.suppress(OSError):
        file.close()
    path.unlink(missing_ok=True)
