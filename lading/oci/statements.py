"""What was said about an image goes with it: signatures, SBOMs and provenance are copied from place to place."""

import json
from typing import Any

from lading.errors import NotFound
from lading.oci.attach import ListsReferrers, attached_to, change_tag, index_with, referrers_tag
from lading.oci.copy import copy_image
from lading.oci.image import Descriptor
from lading.oci.listing import entry_of
from lading.oci.platform import is_index
from lading.oci.store import Manifest, Store
from lading.wait import Deadline

# Where cosign keeps what it does not list as referrers. Source: sigstore/cosign, ``specs/SIGNATURE_SPEC.md``.
_COSIGN_TAGS = (".sig", ".att", ".sbom")


def copy_statements(origin: Store, destination: Store, image: Manifest, *, deadline: Deadline) -> int:
    """Copy what is attached to an image; of an index also what is attached to its images.

    Args:
        origin: Where the image is.
        destination: Where it was copied to.
        image: The image or index.
        deadline: For all of it.

    Returns:
        How many manifests were copied.

    Raises:
        As ``copy_image``.
    """
    count = 0
    for digest in (image.digest, *_children(image)):
        count += _copy_referrers(origin, destination, digest, deadline)
        for suffix in _COSIGN_TAGS:
            tag = f"{referrers_tag(digest)}{suffix}"
            try:
                signature = origin.manifest(tag, deadline=deadline)
            except NotFound:
                continue
            copy_image(origin, destination, signature, tag=tag, deadline=deadline)
            count += 1
    return count


def _copy_referrers(origin: Store, destination: Store, subject: str, deadline: Deadline) -> int:
    found = attached_to(origin, subject, deadline=deadline)
    if not found:
        return 0
    listed = isinstance(destination, ListsReferrers) and destination.referrers(subject, deadline=deadline) is not None
    entries: list[dict[str, Any]] = []
    for one in found:
        manifest = origin.manifest(one.digest, deadline=deadline)
        copy_image(origin, destination, manifest, part=not listed, deadline=deadline)
        entries.append({**entry_of(manifest, one.annotations), "artifactType": one.artifact_type})
    if not listed:
        change_tag(destination, referrers_tag(subject), lambda known: index_with(known, entries), deadline=deadline)
    return len(found)


def _children(image: Manifest) -> list[str]:
    if not is_index(image):
        return []
    return [Descriptor.from_dict(one).digest for one in json.loads(image.content)["manifests"]]
