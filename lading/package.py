"""Turn a SavedModel into a serving image, without Docker: base + model layer + configuration."""

import tempfile
from pathlib import Path
from typing import Any

from lading.errors import InvalidModel, InvalidReference
from lading.oci.image import MODEL_DIFF_ID_LABEL, MODEL_PATH_LABEL, RUNTIME_LABEL
from lading.oci.layer import Layer, write_layer
from lading.oci.layout import ImageStore
from lading.results import PackagedImage

HOST_BASE = "host"
"""The empty base: the image runs on the Python of the machine that unpacks it, which only the local target does."""
LOCAL_REGISTRY = "lading.local/"
"""Repositories below this name live in the image store of this machine."""


def package_image(model: Path, repository: str, *, store: ImageStore, base: str = HOST_BASE) -> PackagedImage:
    """Assemble an image that serves a model.

    The model lies at ``models/NAME/1`` in the image, where NAME is the last part of the repository. The same model
    gives the same digest, wherever and whenever it is packaged.

    Args:
        model: A SavedModel: a directory that holds ``saved_model.pb``.
        repository: Where the image goes: ``lading.local/NAME``.
        store: The image store of this machine.
        base: The image below the model: ``host``.

    Raises:
        InvalidModel: the directory is not a SavedModel.
        InvalidReference: the repository or the base is not one that can be used.
        StorageError: the disk is full; no image was made.
    """
    if not (model / "saved_model.pb").is_file():
        raise InvalidModel(f"expected a SavedModel (a directory that holds saved_model.pb), received {model}")
    if base != HOST_BASE:
        raise InvalidReference(
            f"expected the base {HOST_BASE!r}, received {base!r}: this version packages for the target local: only"
        )
    name = _model_name(repository)
    with tempfile.TemporaryDirectory(dir=store.scratch(), prefix="package-") as scratch:
        layer = write_layer(model, f"models/{name}/1", Path(scratch) / "model")
        image = store.write(repository, _configuration(name, layer), (layer,))
    return PackagedImage(str(image), layer.diff_id, layer.descriptor.size)


def _model_name(repository: str) -> str:
    name = repository.removeprefix(LOCAL_REGISTRY)
    if not repository.startswith(LOCAL_REGISTRY) or not name or not all(c.isalnum() or c in "-_." for c in name):
        raise InvalidReference(
            f"expected a repository such as {LOCAL_REGISTRY}taxi (letters, digits, '-', '_', '.'), "
            f"received {repository!r}"
        )
    return name


def _configuration(name: str, layer: Layer) -> dict[str, Any]:
    """The OCI image configuration. Paths are relative to the root, so that they hold in a container and unpacked."""
    return {
        # No operating system is inside, so a container engine must refuse to run it.
        "architecture": "unknown",
        "os": "unknown",
        "config": {
            "Entrypoint": ["python3", "-m", "lading"],
            "Cmd": ["serve", f"{name}=models/{name}"],
            # PYTHONSAFEPATH: a file in the image must never be imported in place of a library.
            "Env": [f"LADING_MODEL_DIFF_ID={layer.diff_id}", "PYTHONSAFEPATH=1"],
            "WorkingDir": "/",
            "ExposedPorts": {"8080/tcp": {}},
            "Labels": {RUNTIME_LABEL: "host", MODEL_DIFF_ID_LABEL: layer.diff_id, MODEL_PATH_LABEL: f"models/{name}/1"},
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
    }
