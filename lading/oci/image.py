"""An image as values: descriptors, configuration and manifest, and the labels that lading gives a meaning to.

Source: OCI image specification 1.1, ``manifest.md`` and ``config.md``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lading.errors import InvalidReference
from lading.values import DIGEST

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
TAR_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"

# Docker's own, older than OCI's: schema 2 of the distribution specification.
DOCKER_LIST_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"

RUNTIME_LABEL = "dev.lading.runtime"
"""Which server is in the image: ``lading``; ``tf-serving``; or ``host``: the image has no operating system of its own
and runs on the Python of the machine that unpacks it."""
ENGINE_LABEL = "dev.lading.engine"
"""What computes in an image whose server is lading's: ``tensorflow`` or ``litert``."""
BASE_DIGEST_LABEL = "org.opencontainers.image.base.digest"
"""The manifest of the image below. Source: OCI image specification 1.1, ``annotations.md``."""
MODEL_DIFF_ID_LABEL = "dev.lading.model.diff-id"
"""Digest of the uncompressed model layer: the identity of the model, whatever the compression."""
MODEL_PATH_LABEL = "dev.lading.model.path"
"""Where the SavedModel lies in the image, relative to its root."""


@dataclass(frozen=True)
class Descriptor:
    """A blob by digest."""

    media_type: str
    digest: str
    size: int
    """In bytes."""

    def to_dict(self) -> dict[str, Any]:
        """The descriptor as it stands in a manifest."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "Descriptor":
        """Read a descriptor of a manifest.

        Raises:
            InvalidReference: it is malformed, or its digest is not one of SHA-256.
        """
        media_type, digest, size = body.get("mediaType", ""), body.get("digest", ""), body.get("size", -1)
        # Files and addresses are named by it.
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest) or not isinstance(size, int) or size < 0:
            raise InvalidReference(f"expected a manifest that names blobs by SHA-256 and size, found {dict(body)!r}")
        return cls(str(media_type), digest, size)


@dataclass(frozen=True)
class Image:
    """A view of an image: its configuration and the descriptors of its layers."""

    config: Mapping[str, Any]
    """The OCI image configuration."""
    layers: tuple[Descriptor, ...] = field(default=())
    """Bottom to top."""

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the configuration."""
        return self._run.get("Labels") or {}

    @property
    def env(self) -> dict[str, str]:
        """The environment of the configuration."""
        return dict(item.split("=", 1) for item in self._run.get("Env") or [])

    @property
    def command(self) -> tuple[str, ...]:
        """What a container of the image runs: Entrypoint followed by Cmd."""
        return (*(self._run.get("Entrypoint") or ()), *(self._run.get("Cmd") or ()))

    @property
    def working_dir(self) -> str:
        """The directory that the command starts in; ``/`` when none is set."""
        return self._run.get("WorkingDir") or "/"

    @property
    def host_runtime(self) -> bool:
        """Whether the image runs on the Python of the machine that unpacks it."""
        return self.labels.get(RUNTIME_LABEL) == "host"

    @property
    def model_diff_id(self) -> str:
        """Digest of the uncompressed model layer; empty when the image was not made by lading."""
        return self.labels.get(MODEL_DIFF_ID_LABEL, "")

    @property
    def model_path(self) -> str:
        """Where the SavedModel lies, relative to the root of the image; empty when the image was not made by lading."""
        return self.labels.get(MODEL_PATH_LABEL, "")

    def layer_of(self, diff_id: str) -> Descriptor | None:
        """The layer with this digest of its uncompressed bytes."""
        diff_ids: list[str] = self.config.get("rootfs", {}).get("diff_ids", [])
        return self.layers[diff_ids.index(diff_id)] if diff_id in diff_ids else None

    @property
    def _run(self) -> Mapping[str, Any]:
        return self.config.get("config") or {}


def canonical_json(body: Any) -> bytes:
    """JSON bytes that depend on the content alone: sorted keys, no spaces. Digests are taken of these."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(content: bytes) -> str:
    """``sha256:`` and the hex digest of the bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
