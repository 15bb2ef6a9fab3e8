"""One walk through an image: which packages are installed in it, and of which files its model consists."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from lading.bom.packages import (
    COPYRIGHT,
    DEBIAN,
    OS_RELEASE,
    PYTHON,
    Distribution,
    Package,
    debian_licences,
    debian_package,
    debian_packages,
    python_package,
    read_os_release,
)
from lading.errors import InvalidInput, InvalidReference
from lading.oci.contents import read_files
from lading.oci.image import Descriptor, Image
from lading.oci.platform import is_index
from lading.oci.store import Store
from lading.results import ModelFacts
from lading.values import FileDigest, from_json
from lading.wait import Deadline

_MOST_BYTES = 32 << 20
"""Of one description: the ``status`` of a large installation has a few megabytes."""
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Inventory:
    """What is in an image."""

    image: Image
    digest: str
    """Of its manifest."""
    packages: tuple[Package, ...]
    """In the order of their package URLs."""
    distribution: Distribution
    model: Mapping[str, FileDigest]
    """The files of the model, by path below its directory; empty when the image has none."""
    facts: ModelFacts | None
    """What the model says of itself."""


@dataclass
class _Notes:
    python: list[Package] = field(default_factory=list)
    debian: list[Mapping[str, str]] = field(default_factory=list)
    licences: dict[str, tuple[str, ...]] = field(default_factory=dict)
    distribution: Distribution = field(default_factory=Distribution)
    model: dict[str, FileDigest] = field(default_factory=dict)
    facts: ModelFacts | None = None


def take_inventory(store: Store, digest: str, *, packages: bool = True, deadline: Deadline) -> Inventory:
    """Read an image from its topmost layer to its lowest.

    Args:
        store: Where it lies.
        digest: Of its manifest.
        packages: False reads the layer of the model alone.
        deadline: When to give up.

    Raises:
        NotFound: there is no such image, or a layer is missing.
        InvalidReference: it is an index, which is many images.
        RemoteError, StorageError: a layer is damaged.
    """
    image = read_image(store, digest, deadline=deadline)
    place = f"{image.model_path.strip('/')}/" if image.model_path else ""
    layers = image.layers
    if not packages:
        layer = image.layer_of(image.model_diff_id)
        layers = (layer,) if layer else ()

    def wanted(name: str) -> bool:
        return (bool(place) and name.startswith(place)) or (packages and _describes(name))

    notes = _Notes()
    for name, size, content in read_files(store, layers, wanted, deadline=deadline):
        if place and name.startswith(place):
            _note_model(notes, name.removeprefix(place), size, content)
        else:
            _note_package(notes, name, _whole(content, name))
    found = [*notes.python]
    for fields in notes.debian:
        found.append(debian_package(fields, notes.distribution, notes.licences.get(fields["Package"], ())))
    unique = {package.purl: package for package in sorted(found, key=lambda one: (one.purl, one.path), reverse=True)}
    model = dict(sorted(notes.model.items()))
    return Inventory(
        image, digest, tuple(unique[key] for key in sorted(unique)), notes.distribution, model, notes.facts
    )


def read_image(store: Store, digest: str, *, deadline: Deadline) -> Image:
    """The configuration and the layers of an image.

    Raises:
        NotFound: there is no such image.
        InvalidReference: it is an index, or not an image that can run.
    """
    manifest = store.manifest(digest, deadline=deadline)
    if is_index(manifest):
        raise InvalidReference(
            f"{store.repository}@{manifest.digest} is an index, which names the images of several platforms: "
            "give one of them by its digest"
        )
    try:
        body: dict[str, Any] = json.loads(manifest.content)
        layers = tuple(Descriptor.from_dict(layer) for layer in body["layers"])
        config = b"".join(store.blob(Descriptor.from_dict(body["config"]).digest, deadline=deadline))
        return Image(json.loads(config), layers)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidReference(f"{store.repository}@{manifest.digest} is not an image: {error}") from error


def _describes(name: str) -> bool:
    patterns: tuple[re.Pattern[str], ...] = (PYTHON, DEBIAN, COPYRIGHT)
    return name in OS_RELEASE or any(pattern.fullmatch(name) for pattern in patterns)


def _note_model(notes: _Notes, name: str, size: int, content: IO[bytes]) -> None:
    hashed, kept = hashlib.sha256(), b""
    while piece := content.read(_PIECE_BYTES):
        hashed.update(piece)
        if name == ModelFacts.FILE and size <= _PIECE_BYTES:
            kept += piece
    notes.model[name] = FileDigest(size, hashed.hexdigest())
    if kept:
        try:
            notes.facts = from_json(kept, ModelFacts)
        except InvalidInput:
            notes.facts = None  # written by something else; its digest is noted all the same


def _note_package(notes: _Notes, name: str, content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    if name in OS_RELEASE:
        notes.distribution = read_os_release(text)
    elif DEBIAN.fullmatch(name):
        notes.debian += debian_packages(text, name)
    elif copyright_of := COPYRIGHT.fullmatch(name):
        notes.licences[copyright_of[1]] = debian_licences(text)
    elif package := python_package(content, name):
        notes.python.append(package)


def _whole(content: IO[bytes], name: str) -> bytes:
    data = bytearray()
    while piece := content.read(_PIECE_BYTES):
        data += piece
        if len(data) > _MOST_BYTES:
            raise InvalidInput(f"{name} in the image has more than 32 MiB: it does not describe a package")
    return bytes(data)
