"""Read back what `lading package` put into an image: which model it is, its golden requests, its files."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lading.errors import InvalidInput, InvalidReference, NotFound
from lading.files import storage_errors
from lading.oci.assemble import read_base
from lading.oci.connect import open_place
from lading.oci.contents import read_files
from lading.oci.image import Descriptor
from lading.oci.layer import unpack
from lading.oci.store import Store
from lading.values import GoldenRequest
from lading.wait import Deadline

_GOLDEN = "assets.extra/lading/golden.jsonl"
_MOST_GOLDEN_BYTES = 64 << 20


@dataclass(frozen=True)
class PackagedModel:
    """The model in an image."""

    reference: str
    """The image: ``repository@sha256:…``."""
    diff_id: str
    """Digest of the uncompressed model layer: the model's identity."""
    path: str
    """Of the SavedModel, relative to the root of the image: ``models/NAME/1``."""
    layer: Descriptor
    store: Store

    @property
    def name(self) -> str:
        """By which the server in the image knows it."""
        return self.path.split("/")[1] if self.path.count("/") else ""

    def golden(self, *, deadline: Deadline) -> tuple[GoldenRequest, ...]:
        """Its golden requests; empty when it carries none.

        Raises:
            InvalidInput: what it carries are none.
            NotFound, RemoteError, StorageError: the layer is missing or damaged.
        """
        wanted = f"{self.path}/{_GOLDEN}"
        content = b""
        # To its end: only then is the layer known to have its digest.
        for _, size, file in read_files(self.store, (self.layer,), wanted.__eq__, deadline=deadline):
            if size > _MOST_GOLDEN_BYTES:
                raise InvalidInput(f"{self.reference}: {wanted} has {size} bytes, which golden requests never have")
            content = file.read()
        return GoldenRequest.read_all(content.decode())

    def unpack(self, into: Path, *, deadline: Deadline) -> Path:
        """Write its files below an existing directory; the directory of the SavedModel.

        Raises:
            NotFound, RemoteError, StorageError: the layer is missing or damaged, or the disk is full.
        """
        with tempfile.TemporaryDirectory(prefix="lading-layer-", dir=into) as scratch:
            blob = Path(scratch) / "layer"
            with storage_errors(blob), blob.open("wb") as file:
                for piece in self.store.blob(self.layer.digest, deadline=deadline):
                    file.write(piece)
            unpack(blob, into)
        return into / self.path


def find_model(image: str, *, environ: Mapping[str, str], deadline: Deadline) -> PackagedModel:
    """Find the model in an image.

    Args:
        image: By digest: ``repository@sha256:…``.
        environ: Credentials, and where this user's image store lies.
        deadline: When to give up.

    Raises:
        InvalidReference: the image is not named by its digest.
        NotFound: there is no such image, or it was not made by `lading package`.
    """
    place = open_place(image, environ=environ)
    if not place.digest:
        raise InvalidReference(
            f"expected an image by digest (repository@sha256:<64 hex digits>), received {image!r}: "
            "a tag can move, so give the digest that `lading package` printed"
        )
    found = read_base(place.store, place.digest, deadline=deadline).image
    layer = found.layer_of(found.model_diff_id)
    if layer is None:
        raise NotFound(f"{image} has no model layer: it was not made by `lading package`")
    return PackagedModel(image, found.model_diff_id, found.model_path, layer, place.store)
