"""``index.json`` of a layout or archive: which images are in it, and under which names."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lading.errors import NotFound, StorageError
from lading.oci.image import DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE, INDEX_TYPE, MANIFEST_TYPE, Descriptor
from lading.oci.store import Manifest

REF_NAME = "org.opencontainers.image.ref.name"
"""The tag, says the specification's ``annotations.md``; some tools write the repository too."""
_MANIFESTS = frozenset({INDEX_TYPE, MANIFEST_TYPE, DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE})


def find(entries: Sequence[Mapping[str, Any]], tag: str, repository: str = "", *, where: str) -> Descriptor:
    """The image that a tag names.

    Args:
        entries: Of ``index.json``.
        tag: Empty: the image that has the tag ``latest``, or else the only one.
        repository: Only its images count; empty: all do.
        where: What the index is of, for messages.

    Raises:
        NotFound: no image has the tag, or without a tag several may be meant; says which there are.
    """
    named = [(_name(entry), entry) for entry in entries]
    if repository:
        named = [(name, entry) for name, entry in named if name == repository or name.startswith(f"{repository}:")]
    for name, entry in named:
        if _tag(name, repository) == (tag or "latest"):
            return Descriptor.from_dict(entry)
    # Signatures and other statements about an image stand beside it; they are not what is meant.
    images = {entry["digest"]: entry for name, entry in named if not is_statement(_tag(name, repository), entry)}
    if not tag and len(images) == 1:
        return Descriptor.from_dict(next(iter(images.values())))
    tags = sorted({_tag(name, repository) for name, _ in named} - {""})
    there = [*tags, *images] if tags or images else ["no image"]
    raise NotFound(f"{where} has no {f'tag {tag}' if tag else 'tag latest'}; it has {', '.join(there)}")


def entry_of(manifest: Manifest, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """How ``index.json`` lists a manifest; a statement about an image is listed with its type."""
    body = json.loads(manifest.content)
    entry: dict[str, Any] = manifest.descriptor.to_dict()
    if "subject" in body:
        entry["artifactType"] = body.get("artifactType") or body.get("config", {}).get("mediaType", "")
    return {**entry, "annotations": dict(annotations)} if annotations else entry


def is_statement(tag: str, entry: Mapping[str, Any]) -> bool:
    """Whether a manifest is no image but says something about one: a signature, a list of them."""
    # Source of the tags: distribution specification 1.1, "Referrers Tag Schema"; sigstore's are like it.
    return "artifactType" in entry or tag.startswith("sha256-")


def media_type_of(content: bytes, digest: str) -> str:
    """The media type of a manifest that lies in a file: what it says itself, else what it looks like.

    Raises:
        StorageError: it is not a manifest.
    """
    try:
        body = json.loads(content)
        said = body.get("mediaType", "")
    except (ValueError, AttributeError) as error:
        raise StorageError(f"{digest}: expected a manifest, found something else: {error}") from error
    if said in _MANIFESTS:
        return str(said)
    if not said and ("manifests" in body or "config" in body):  # OCI image specification 1.0 leaves it out
        return INDEX_TYPE if "manifests" in body else MANIFEST_TYPE
    raise StorageError(f"{digest}: expected a manifest or an index of images, found {said or 'something else'}")


def _name(entry: Mapping[str, Any]) -> str:
    return str((entry.get("annotations") or {}).get(REF_NAME, ""))


def _tag(name: str, repository: str) -> str:
    if repository:
        return name.removeprefix(repository).removeprefix(":")
    last = name.rpartition("/")[2]
    return last.rpartition(":")[2]
