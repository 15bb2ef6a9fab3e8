"""Images on this machine: from the image store, or a registry, to a directory that a process can run in."""

import shlex
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lading.errors import NotFound, RevisionFailed
from lading.files import whole_directory
from lading.local import engines
from lading.local.engines import Container, Launch
from lading.local.objects import Object
from lading.local.state import Layout
from lading.local.unpacking import unpack_image
from lading.oci.connect import LOCAL_HOST, open_place
from lading.oci.copy import copy_image
from lading.oci.image import Image
from lading.oci.layer import unpack
from lading.oci.layout import ImageStore
from lading.oci.layout import Layout as Repository
from lading.oci.platform import image_manifest
from lading.values import ImageRef
from lading.wait import Deadline

UNPACKING = threading.Lock()
"""Held while an image is unpacked, so that two revisions of one unpack it once, and while old ones are removed."""
_PULL_SECONDS = 1800.0
_ID = 65532
"""Whom containers run as when their image does not say, or says root. Source: the user ``nonroot`` of distroless."""
_CONTAINER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Host:
    """This machine, as revisions find it."""

    layout: Layout
    env: Mapping[str, str]
    """What every process on the host runtime gets, under its image's."""
    environ: Mapping[str, str]
    """The server's own environment: says which credentials registries and engines use."""


def prepare(host: Host, container: Object, *, id: str, own: Mapping[str, str]) -> Launch:
    """Get the image of a container, unpack it if it is not yet, and say how to start it.

    Args:
        host: This machine.
        container: Of a revision.
        id: Of the revision.
        own: The part of the environment that is the platform's: ``PORT`` and others.

    Raises:
        RevisionFailed: the image is not in the store, has no command, or is a container image and nothing runs those.
        StorageError: it cannot be unpacked.
        LadingError: the registry does not give it.
    """
    ref = ImageRef.parse(container["image"])
    image = _image(host, ref)
    command = _command(image, container)
    if not command:
        raise RevisionFailed(f"{ref} has no command, and the container gives none")
    engine = None if image.host_runtime else engines.choose(host.layout)  # before anything large is unpacked
    root = _unpacked(host.layout, ref, image)
    env = {**image.env, **{item["name"]: item.get("value", "") for item in container.get("env") or []}, **own}
    where = container.get("workingDir") or image.working_dir
    if engine is None:
        return Launch(_on_this_python(command), _inside(root, where), {**host.env, **env})
    user, group = _user(image, root)
    env = {"PATH": _CONTAINER_PATH, "HOME": "/tmp", **env}
    return engine.launch(host.layout, Container(id, root, command, where, user, group, env), host.environ)


def directory_of(layout: Layout, image: str) -> Path:
    """Where an image is unpacked.

    Args:
        layout: The state directory.
        image: A reference by digest.
    """
    # Only the hex digits: a colon in the name would break every variable that is a list of paths.
    return layout.rootfs / image.rpartition(":")[2]


def _image(host: Host, ref: ImageRef) -> Image:
    """The image; of an index, the one for this machine. What the store does not have comes from its registry."""
    store = Repository(host.layout.images, ref.repository)
    deadline = Deadline.after(_PULL_SECONDS)
    if not store.path_of(ref.digest).is_file() and not ref.repository.startswith(f"{LOCAL_HOST}/"):
        origin = open_place(str(ref), environ=host.environ).store
        copy_image(
            origin, store, image_manifest(origin, ref.digest, platform=None, deadline=deadline), deadline=deadline
        )
        store.write_manifest(origin.manifest(ref.digest, deadline=deadline), part=True, deadline=deadline)
    try:
        manifest = image_manifest(store, ref.digest, platform=None, deadline=deadline)
        return ImageStore(host.layout.images).read(ImageRef(ref.repository, manifest.digest))
    except NotFound as error:
        words = f"{ref} is not in the image store {host.layout.images}: `lading package` puts it there"
        raise RevisionFailed(words) from error


def _command(image: Image, container: Object) -> tuple[str, ...]:
    """The command, as Kubernetes has it: ``command`` replaces Entrypoint and Cmd, ``args`` replaces Cmd."""
    entry, args = tuple(container.get("command") or ()), tuple(container.get("args") or ())
    if not entry and args:
        entry = tuple(image.config.get("config", {}).get("Entrypoint") or ())
    return (*entry, *args) or image.command


def _on_this_python(command: tuple[str, ...]) -> tuple[str, ...]:
    """The host runtime is the Python that runs lading, whatever the PATH says."""
    return (sys.executable, *command[1:]) if command[0] in ("python", "python3") else command


def _user(image: Image, root: Path) -> tuple[int, int]:
    """Whom a container runs as: never root."""
    user, _, group = str((image.config.get("config") or {}).get("User") or "").partition(":")
    if user and not user.isdigit():
        passwd = root / "etc" / "passwd"
        known = passwd.read_text(errors="replace").splitlines() if passwd.is_file() else []
        fields = next((line.split(":") for line in known if line.startswith(f"{user}:")), [])
        user, group = (fields[2], group or fields[3]) if len(fields) > 3 else ("", group)
    number = int(user or 0) or _ID
    return number, int(group) if group.isdigit() and int(group) else number


def _unpacked(layout: Layout, ref: ImageRef, image: Image) -> Path:
    root, store = directory_of(layout, str(ref)), ImageStore(layout.images)
    with UNPACKING:
        if not root.is_dir():
            blobs = [store.path_of(layer.digest) for layer in image.layers]
            for blob in blobs:
                if not blob.is_file():
                    raise RevisionFailed(f"{ref}: its layer {blob.name} is not in the image store: package it again")
            with whole_directory(root) as scratch:
                if image.host_runtime:
                    for blob in blobs:
                        unpack(blob, scratch)
                else:
                    unpack_image(blobs, scratch)
    return root


def _inside(root: Path, directory: str) -> Path:
    inside = (root / directory.lstrip("/")).resolve()
    if not inside.is_relative_to(root.resolve()) or not inside.is_dir():
        raise RevisionFailed(f"the working directory {shlex.quote(directory)} is not in the image")
    return inside
