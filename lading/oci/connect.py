"""Places: where an image comes from or goes to, in one line of text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lading.errors import InvalidReference
from lading.files import state_dir
from lading.oci.archive import Archive
from lading.oci.layout import Layout
from lading.oci.reference import TAG, Reference
from lading.oci.store import Store
from lading.values import DIGEST

LOCAL_HOST = "lading.local"
"""Repositories below this name live in the image store of this machine."""


@dataclass(frozen=True)
class Place:
    """A repository, and which of its images is meant."""

    store: Store
    tag: str
    """Empty when none is given."""
    digest: str
    """Empty, or ``sha256:…``, which wins over the tag."""

    @property
    def wanted(self) -> str:
        """What ``Store.manifest`` is asked for."""
        return self.digest or self.tag


def open_place(text: str, *, environ: Mapping[str, str], writable: bool = False) -> Place:
    """Read a place; nothing is opened or asked yet.

    - ``HOST/NAME[:TAG][@sha256:…]``: a repository of a registry; without HOST, Docker Hub
    - ``oci:DIR[:TAG][@sha256:…]``: an OCI image layout
    - ``archive:FILE[@sha256:…]``: one tar that is an OCI image layout and a docker-archive
    - ``lading.local/NAME[:TAG][@sha256:…]``: the image store of this machine

    Args:
        text: The place.
        environ: Says where this user's state and credentials lie.
        writable: An image will be written there.

    Raises:
        InvalidReference: it is none of them; or it is to be written, and names a digest.
    """
    if writable and "@" in text.rpartition("/")[2]:
        raise InvalidReference(
            f"expected a place to write to, received {text!r}: what is written has the digest that it has"
        )
    if text.startswith("oci:"):
        rest, digest = _split_digest(text, text.removeprefix("oci:"))
        folder, colon, tag = rest.rpartition(":")
        if not colon or not TAG.fullmatch(tag):
            folder, tag = rest, ""
        return Place(Layout(_path(text, folder)), tag, digest)
    if text.startswith("archive:"):
        file, digest = _split_digest(text, text.removeprefix("archive:"))
        return Place(Archive(_path(text, file)), "", digest)
    reference = Reference.parse(text)
    if reference.host == LOCAL_HOST:
        images = state_dir(environ) / "local" / "images"
        return Place(Layout(images, reference.written), reference.tag, reference.digest)
    # What talks to registries brings the HTTP client, which takes long to import: a layout does without.
    from lading.oci.registry import Registry

    registry = Registry(reference.host, reference.name, environ=environ, writable=writable, written=reference.written)
    return Place(registry, reference.tag, reference.digest)


def _split_digest(text: str, rest: str) -> tuple[str, str]:
    path, at, digest = rest.rpartition("@")
    if not at:
        return rest, ""
    if not DIGEST.fullmatch(digest):
        raise InvalidReference(f"expected sha256:<64 hex digits> after the @ of {text!r}")
    return path, digest


def _path(text: str, path: str) -> Path:
    if not path:
        raise InvalidReference(f"expected a path after the first colon of {text!r}")
    return Path(path)
