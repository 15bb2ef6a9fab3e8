"""Images on this machine: from the image store to a directory that a process can run in."""

import shlex
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from lading.errors import NotFound, RevisionFailed
from lading.files import whole_directory
from lading.local.objects import Object
from lading.local.state import Layout
from lading.oci.image import Image
from lading.oci.layer import unpack
from lading.oci.layout import ImageStore
from lading.values import ImageRef

_UNPACKING = threading.Lock()  # two revisions of one image unpack it once


@dataclass(frozen=True)
class Program:
    """What a container of a revision runs."""

    command: tuple[str, ...]
    directory: Path
    """Where it starts."""
    env: dict[str, str]
    """The image's environment, and over it that of the container."""


def prepare(layout: Layout, container: Object) -> Program:
    """Unpack the image of a container, if it is not yet, and say what to run.

    Raises:
        RevisionFailed: the image is not in the store, needs a container runtime, or has no command.
        StorageError: it cannot be unpacked.
    """
    ref = ImageRef.parse(container["image"])
    store = ImageStore(layout.images)
    try:
        image = store.read(ref)
    except NotFound as error:
        raise RevisionFailed(str(error)) from error
    if not image.host_runtime:
        raise RevisionFailed(
            f"{ref} is a container image: it needs docker, bwrap or runc, which this version of the local target does "
            "not use; deploy it to a cluster, or package the model with the host runtime"
        )
    command = _command(image, container)
    if not command:
        raise RevisionFailed(f"{ref} has no command, and the container gives none")
    root = _unpacked(layout, store, ref, image)
    env = {**image.env, **{item["name"]: item.get("value", "") for item in container.get("env") or []}}
    return Program(command, _inside(root, container.get("workingDir") or image.working_dir), env)


def _command(image: Image, container: Object) -> tuple[str, ...]:
    """The command, as Kubernetes has it: ``command`` replaces Entrypoint and Cmd, ``args`` replaces Cmd."""
    entry, args = tuple(container.get("command") or ()), tuple(container.get("args") or ())
    if not entry and args:
        entry = tuple(image.config.get("config", {}).get("Entrypoint") or ())
    words = (*entry, *args) or image.command
    # The host runtime is the Python that runs lading, whatever the PATH says.
    return tuple(
        sys.executable if word in ("python", "python3") and place == 0 else word for place, word in enumerate(words)
    )


def _unpacked(layout: Layout, store: ImageStore, ref: ImageRef, image: Image) -> Path:
    # Only the hex digits: a colon in the name would break every variable that is a list of paths.
    root = layout.rootfs / ref.digest.partition(":")[2]
    with _UNPACKING:
        if not root.is_dir():
            with whole_directory(root) as scratch:
                for layer in image.layers:
                    blob = store.path_of(layer.digest)
                    if not blob.is_file():
                        raise RevisionFailed(
                            f"{ref}: its layer {layer.digest} is not in the image store: package it again"
                        )
                    unpack(blob, scratch)
    return root


def _inside(root: Path, directory: str) -> Path:
    inside = (root / directory.lstrip("/")).resolve()
    if not inside.is_relative_to(root.resolve()) or not inside.is_dir():
        raise RevisionFailed(f"the working directory {shlex.quote(directory)} is not in the image")
    return inside
