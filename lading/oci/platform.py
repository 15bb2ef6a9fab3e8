"""Platforms: an index is one name for the images of several, and this says which of them is meant.

Source: OCI image specification 1.1, ``image-index.md``; Docker's manifest lists are the same under another name.
"""

import json
import platform as machine
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lading.errors import InvalidInput, InvalidReference, NotFound
from lading.oci.image import DOCKER_LIST_TYPE, INDEX_TYPE
from lading.oci.store import Manifest, Store
from lading.wait import Deadline

_PLATFORM = re.compile(r"(?P<os>[a-z0-9]+)/(?P<architecture>[a-z0-9]+)(?:/(?P<variant>[a-z0-9.]+))?")
# What Go, and so OCI, calls what the kernel calls otherwise.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_MOST_INDEXES = 4  # an index may name another


@dataclass(frozen=True)
class Platform:
    """An operating system and a processor, as OCI names them: ``linux/amd64``."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> "Platform":
        """Read ``OS/ARCHITECTURE[/VARIANT]``.

        Raises:
            InvalidInput: it is not one.
        """
        found = _PLATFORM.fullmatch(text)
        if not found:
            raise InvalidInput(f"expected a platform such as linux/amd64 or linux/arm64, received {text!r}")
        return cls(found["os"], found["architecture"], found["variant"] or "")

    @classmethod
    def of_this_machine(cls) -> "Platform":
        """Linux on this machine's processor: containers are Linux, wherever they are made."""
        name = machine.machine().lower()
        return cls("linux", _ARCHITECTURES.get(name, name))

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Platform":
        """Read the platform of an index's entry or of an image configuration."""
        return cls(str(body.get("os", "")), str(body.get("architecture", "")), str(body.get("variant", "")))

    def matches(self, other: "Platform") -> bool:
        """Whether ``other`` is what is asked for; without a variant, any is."""
        same = (self.os, self.architecture) == (other.os, other.architecture)
        # arm64 has one variant, which many leave out.
        usual = "v8" if other.architecture == "arm64" else ""
        return same and (not self.variant or self.variant == (other.variant or usual))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def is_index(manifest: Manifest) -> bool:
    """Whether it names manifests rather than layers."""
    return manifest.media_type in (INDEX_TYPE, DOCKER_LIST_TYPE)


def image_manifest(store: Store, tag_or_digest: str, *, platform: Platform | None, deadline: Deadline) -> Manifest:
    """The manifest of an image; of an index, the one for a platform.

    Args:
        store: Where it is.
        tag_or_digest: Of an image or an index.
        platform: None: this machine's, where it is an index.
        deadline: For all requests.

    Raises:
        NotFound: there is no such manifest, or the index has none for the platform.
        InvalidReference: the index does not come to an image.
    """
    wanted = platform or Platform.of_this_machine()
    first = manifest = store.manifest(tag_or_digest, deadline=deadline)
    for _ in range(_MOST_INDEXES):
        if not is_index(manifest):
            return manifest
        digest = _choose(manifest, wanted, f"{store.repository}@{first.digest}")
        manifest = store.manifest(digest, deadline=deadline)
    raise InvalidReference(f"{store.repository}@{first.digest}: expected an image, found an index of indexes")


def _choose(index: Manifest, wanted: Platform, name: str) -> str:
    try:
        named = json.loads(index.content)["manifests"]
        entries = [(Platform.of(one.get("platform") or {}), str(one["digest"])) for one in named]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidReference(f"{name}: expected an index of images: {error!r}") from error
    for found, digest in entries:
        if wanted.matches(found):
            return digest
    if len(entries) == 1 and not str(entries[0][0]):  # the only one, and nobody says what it is for
        return entries[0][1]
    # Statements about images are listed under the platform unknown/unknown.
    there = sorted({str(found) for found, _ in entries if found.os not in ("", "unknown")})
    raise NotFound(
        f"{name} has no image for {wanted}, it has {', '.join(there) or 'none that runs'}: choose one of them with "
        "--platform, or another base"
    )
