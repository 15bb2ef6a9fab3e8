"""New images on top of others: configurations and manifests, made byte by byte, and how they reach their place.

Source: OCI image specification 1.1, ``config.md`` and ``manifest.md``. The same base, layers and changes give the same
digest; there is no clock and no name of a user or machine in an image.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lading.errors import InvalidReference, NotFound, RemoteError
from lading.oci.ahead import Ahead, is_whole, lacks
from lading.oci.copy import Moved, Progress, copy_blobs
from lading.oci.image import (
    CONFIG_TYPE,
    DOCKER_CONFIG_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    Image,
    canonical_json,
    digest_of,
)
from lading.oci.layer import Layer
from lading.oci.platform import Platform, image_manifest
from lading.oci.store import Blob, Manifest, Store
from lading.wait import Deadline

_OCI_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
"""What OCI calls Docker's layers; the bytes are the same."""
_LAYER_TYPES = "application/vnd.oci.image.layer.v1."
_OF_ITS_BUILD = ("container", "container_config", "docker_version", "id", "parent")
"""What Docker notes in a configuration about the container that it was made in, which says nothing about an image."""
_ASKED_BYTES = 64 << 10  # below it sending a blob costs no more than to ask for it
_MOST_JSON_BYTES = 4 << 20  # distribution refuses larger manifests


@dataclass(frozen=True)
class Base:
    """The image below, by digest."""

    store: Store
    digest: str
    """Of its manifest, for its platform."""
    image: Image
    """Its layers have OCI's media types."""

    @property
    def reference(self) -> str:
        """``repository@sha256:…``."""
        return f"{self.store.repository}@{self.digest}"


@dataclass(frozen=True)
class Changes:
    """What a new image says otherwise than its base."""

    entry_point: tuple[str, ...] | None = None
    """None keeps the base's, and its Cmd unless ``cmd`` is given."""
    cmd: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    """Over the base's."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Over the base's."""
    ports: tuple[int, ...] = ()
    """TCP ports that it listens on, beside the base's."""
    working_dir: str = ""
    """Empty keeps the base's."""
    user: str = ""
    """``UID:GID``, in place of root; a base's other user is kept."""


@dataclass(frozen=True)
class Assembled:
    """An image that is complete and nowhere yet."""

    manifest: Manifest
    config: Blob
    base: Base | None
    layers: tuple[Layer, ...]
    """Those above the base, bottom to top."""

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What it adds to its base."""
        return (*(layer.blob for layer in self.layers), self.config)


def read_base(store: Store, tag_or_digest: str, *, platform: Platform | None = None, deadline: Deadline) -> Base:
    """An image to build on: its manifest by digest, and its configuration.

    Args:
        store: Where it is.
        tag_or_digest: Of an image, or of an index of images.
        platform: Which one of an index; it must be that of an image that is not in one. None: this machine's, and
            whatever a single image is for.
        deadline: For all requests.

    Raises:
        NotFound: there is no such image, or none for the platform.
        InvalidReference: it is not a container image.
        RemoteError: bytes do not have their digest.
    """
    manifest = image_manifest(store, tag_or_digest, platform=platform, deadline=deadline)
    where = f"{store.repository}@{manifest.digest}"
    body = _object(manifest.content, where)
    try:
        config = Descriptor.from_dict(body["config"])
        layers = tuple(_as_oci(Descriptor.from_dict(layer), where) for layer in body["layers"])
    except (KeyError, TypeError) as error:
        raise InvalidReference(f"{where}: expected an image of OCI, or of Docker's schema 2: no {error}") from error
    if config.media_type not in (CONFIG_TYPE, DOCKER_CONFIG_TYPE):
        raise InvalidReference(f"{where}: expected a container image, found {config.media_type}")
    image = Image(_object(_read(store, config, where, deadline), where), layers)
    diff_ids = image.config.get("rootfs", {}).get("diff_ids", [])
    if len(diff_ids) != len(layers):
        raise InvalidReference(f"{where}: its configuration tells of {len(diff_ids)} layers, it has {len(layers)}")
    if platform and not platform.matches(found := Platform.of(image.config)):
        raise NotFound(f"{where} is for {found}, not for {platform}: choose another base")
    return Base(store, manifest.digest, image)


def assemble(base: Base | None, layers: Sequence[Layer], changes: Changes, *, made_by: str = "lading") -> Assembled:
    """Put layers on top of a base.

    Args:
        base: None for an image of nothing else, which no container engine will run.
        layers: Bottom to top.
        changes: What the configuration says otherwise than the base's.
        made_by: The word in the history of the layers.
    """
    below = base.image if base else Image({"architecture": "unknown", "os": "unknown"})
    config = canonical_json(_configuration(below, layers, changes, made_by))
    blob = Blob(Descriptor(CONFIG_TYPE, digest_of(config), len(config)), lambda: io.BytesIO(config))
    content = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": blob.descriptor.to_dict(),
            "layers": [one.to_dict() for one in (*below.layers, *(layer.descriptor for layer in layers))],
        }
    )
    return Assembled(Manifest(content, MANIFEST_TYPE, digest_of(content)), blob, base, tuple(layers))


def publish(
    assembled: Assembled,
    destination: Store,
    *,
    tag: str = "",
    ahead: Ahead | None = None,
    deadline: Deadline,
    progress: Progress | None = None,
) -> Moved:
    """Bring an image to its place: blobs that are not there yet, then the manifest, and the tag with it.

    A registry that has the manifest has its blobs, so that only the tag is left to do.

    Args:
        assembled: The image; layers are read from their files again while they are sent.
        destination: Where it goes.
        tag: Moved to the image when all of it is there; empty: none.
        ahead: What ``look_ahead`` has found there, for the same tag.
        deadline: For all of it.
        progress: Is told how it goes.

    Returns:
        How much had to be moved.

    Raises:
        AccessDenied, QuotaExceeded, NotFound, RemoteError: the place refuses, or the origin of the base does.
        ServiceUnreachable, DeadlineExceeded: it does not answer, or not in time.
        StorageError: a file cannot be read or written, or changed meanwhile. Nothing was tagged.
    """
    base, ahead, digest = assembled.base, ahead or Ahead(), assembled.manifest.digest
    tagged = bool(tag) and ahead.tagged == digest
    largest = max(assembled.blobs, key=lambda blob: blob.descriptor.size).descriptor.digest
    # Most images are new, and then their largest blob is.
    new = not tagged and lacks(destination, largest, deadline=deadline)
    whole = tagged or (not new and is_whole(destination, digest, deadline=deadline))
    layers = base.image.layers if base else ()
    everything = {one.digest for one in (*layers, *(blob.descriptor for blob in assembled.blobs))}
    moved = copy_blobs(
        base.store if base else None,
        destination,
        layers,
        extra=[
            replace(blob, fresh=blob.descriptor.size < _ASKED_BYTES or (new and blob.descriptor.digest == largest))
            for blob in assembled.blobs
        ],
        known=everything if whole else ahead.blobs,
        deadline=deadline,
        progress=progress,
    )
    if not tagged and (tag or not whole):
        destination.write_manifest(assembled.manifest, tag=tag, deadline=deadline)
    return moved


def _configuration(below: Image, layers: Sequence[Layer], changes: Changes, made_by: str) -> dict[str, Any]:
    config = {key: value for key, value in below.config.items() if key not in _OF_ITS_BUILD}
    run = {key: value for key, value in (config.get("config") or {}).items() if value is not None}
    run.pop("OnBuild", None)  # what a Dockerfile that starts from the base would do
    if changes.entry_point is not None:
        run["Entrypoint"] = list(changes.entry_point)
        run.pop("Cmd", None)  # it was for the other entry point
    if changes.cmd is not None:
        run["Cmd"] = list(changes.cmd)
    if changes.working_dir:
        run["WorkingDir"] = changes.working_dir
    if changes.user and run.get("User", "").partition(":")[0] in ("", "0", "root"):
        run["User"] = changes.user
    if env := {**below.env, **changes.env}:
        run["Env"] = [f"{name}={value}" for name, value in env.items()]
    if labels := {**below.labels, **changes.labels}:
        run["Labels"] = labels
    if ports := {**(run.get("ExposedPorts") or {}), **{f"{port}/tcp": {} for port in changes.ports}}:
        run["ExposedPorts"] = ports
    diff_ids = list((config.get("rootfs") or {}).get("diff_ids", []))
    config["config"] = run
    config["rootfs"] = {"type": "layers", "diff_ids": [*diff_ids, *(layer.diff_id for layer in layers)]}
    if below.layers:
        # `created` stays the base's, so that the image is the same whenever it is made.
        config["history"] = [*_history(below, len(diff_ids)), *(_entry(below, layer, made_by) for layer in layers)]
    return config


def _history(below: Image, layers: int) -> list[dict[str, Any]]:
    """The base's history; engines refuse one that does not have an entry for each layer."""
    history = list(below.config.get("history") or [])
    missing = layers - sum(not entry.get("empty_layer") for entry in history)
    return [{"comment": "not told by the base"}] * missing + history if missing > 0 else history


def _entry(below: Image, layer: Layer, made_by: str) -> dict[str, Any]:
    created = {"created": below.config["created"]} if below.config.get("created") else {}
    return {**created, "created_by": made_by, "comment": layer.comment}


def _as_oci(layer: Descriptor, where: str) -> Descriptor:
    media_type = _OCI_TYPES.get(layer.media_type, layer.media_type)
    if not media_type.startswith(_LAYER_TYPES):
        raise InvalidReference(f"{where}: expected layers that are tar archives, found {layer.media_type}")
    return replace(layer, media_type=media_type)


def _read(store: Store, descriptor: Descriptor, where: str, deadline: Deadline) -> bytes:
    if descriptor.size > _MOST_JSON_BYTES:
        raise InvalidReference(f"{where}: its configuration has {descriptor.size} bytes, at most {_MOST_JSON_BYTES}")
    content = b"".join(store.blob(descriptor.digest, deadline=deadline))
    if digest_of(content) != descriptor.digest:
        raise RemoteError(f"{where}: its configuration has other bytes than those of the digest", status=502)
    return content


def _object(content: bytes, where: str) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError as error:
        raise InvalidReference(f"{where}: expected the JSON of an image: {error}") from error
    if not isinstance(body, dict):
        raise InvalidReference(f"{where}: expected the JSON of an image, found {type(body).__name__}")
    return body
