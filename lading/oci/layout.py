"""An OCI image layout on disk: the image store of this machine.

Source: OCI image specification 1.1, ``image-layout.md``. Blobs are named by their digest and never change, so readers
need no lock; only ``index.json`` is rewritten, under one.
"""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lading.errors import NotFound
from lading.files import storage_errors, write_atomic
from lading.oci.image import CONFIG_TYPE, MANIFEST_TYPE, Descriptor, Image, canonical_json, digest_of
from lading.oci.layer import Layer
from lading.values import ImageRef

_REF_NAME = "org.opencontainers.image.ref.name"


class ImageStore:
    """Images in a directory.

    Args:
        directory: Root of the layout; made on the first write.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def blob(self, digest: str) -> Path:
        """The file of a blob; it may not exist."""
        algorithm, _, name = digest.partition(":")
        return self.directory / "blobs" / algorithm / name

    def read(self, ref: ImageRef) -> Image:
        """An image by digest.

        Raises:
            NotFound: the store has no such image, or a part of it is missing.
        """
        manifest = json.loads(self._content(ref.digest, ref))
        config = json.loads(self._content(manifest["config"]["digest"], ref))
        return Image(config, tuple(Descriptor.from_dict(layer) for layer in manifest["layers"]))

    def write(self, repository: str, config: Mapping[str, Any], layers: tuple[Layer, ...]) -> ImageRef:
        """Add an image; the files of its layers are moved into the store.

        Blobs come first and the manifest after them, so that whoever finds an image finds all of it.

        Args:
            repository: Name of the image, for instance ``lading.local/taxi``.
            config: OCI image configuration; ``rootfs`` must name the diff-ids of ``layers``.
            layers: Bottom to top.

        Returns:
            The image by digest; the same content gives the same digest.

        Raises:
            StorageError: the disk is full; no image was added.
        """
        for layer in layers:
            self._adopt(layer)
        config_bytes = canonical_json(config)
        descriptor = Descriptor(CONFIG_TYPE, digest_of(config_bytes), len(config_bytes))
        manifest = canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": descriptor.to_dict(),
                "layers": [layer.descriptor.to_dict() for layer in layers],
            }
        )
        ref = ImageRef(repository, digest_of(manifest))
        write_atomic(self.blob(descriptor.digest), config_bytes)
        write_atomic(self.blob(ref.digest), manifest)
        self._index(repository, Descriptor(MANIFEST_TYPE, ref.digest, len(manifest)))
        return ref

    def scratch(self) -> Path:
        """A directory on the same file system, for layers that ``write`` will move."""
        scratch = self.directory / "scratch"
        with storage_errors(scratch):
            scratch.mkdir(parents=True, exist_ok=True)
        return scratch

    def _content(self, digest: str, ref: ImageRef) -> bytes:
        try:
            return self.blob(digest).read_bytes()
        except FileNotFoundError as error:
            raise NotFound(
                f"{ref} is not in the image store {self.directory}: `lading package` puts it there"
            ) from error

    def _adopt(self, layer: Layer) -> None:
        blob = self.blob(layer.descriptor.digest)
        with storage_errors(blob):
            blob.parent.mkdir(parents=True, exist_ok=True)
            layer.path.replace(blob)

    def _index(self, repository: str, descriptor: Descriptor) -> None:
        with storage_errors(self.directory), (self.directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.directory / "index.json"
            index: dict[str, Any] = {"schemaVersion": 2, "manifests": []}
            if path.exists():
                index = json.loads(path.read_bytes())
            entry = {**descriptor.to_dict(), "annotations": {_REF_NAME: repository}}
            if entry not in index["manifests"]:
                index["manifests"].append(entry)
                write_atomic(path, canonical_json(index))
            if not (self.directory / "oci-layout").exists():
                write_atomic(self.directory / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
