"""Copy an image from a layout, an archive or a registry to another place, with what is attached to it."""

from collections.abc import Mapping

from lading.errors import InvalidReference
from lading.oci.connect import open_place
from lading.oci.copy import Progress, copy_image
from lading.oci.platform import Platform
from lading.oci.statements import copy_statements
from lading.results import PushedImage
from lading.values import ImageRef
from lading.wait import Deadline


def push_image(
    source: str,
    to: str,
    *,
    platform: str = "",
    environ: Mapping[str, str],
    deadline: Deadline,
    progress: Progress | None = None,
) -> PushedImage:
    """Copy an image; its digest stays the same. Nothing is tagged before all of it is there.

    Args:
        source: A place: ``oci:DIR[:TAG]``, ``archive:FILE``, ``HOST/NAME[:TAG]``, ``lading.local/NAME``; each may end
            in ``@sha256:…``.
        to: A place, without a digest. Without a tag too, the image is known there by its digest only.
        platform: ``linux/arm64``: of an index only the image for it. Empty: all of them.
        environ: Where this user's state and credentials lie.
        deadline: For all of it.
        progress: Is told how it goes.

    Raises:
        InvalidReference: one of the places cannot be read, or both are the same.
        NotFound: there is no such image, or none for the platform.
        AccessDenied, QuotaExceeded, RemoteError: a registry refuses; the message says what to do.
        ServiceUnreachable, DeadlineExceeded: a registry does not answer, or not in time.
        StorageError: the image is damaged, or the disk is full.
    """
    origin, destination = open_place(source, environ=environ), open_place(to, environ=environ, writable=True)
    if origin.store.repository == destination.store.repository and not destination.tag:
        raise InvalidReference(
            f"expected two places, received {source!r} twice: to give it a tag, write it behind {to}"
        )
    manifest = origin.store.manifest(origin.wanted, deadline=deadline)
    copied, moved = copy_image(
        origin.store,
        destination.store,
        manifest,
        platform=Platform.parse(platform) if platform else None,
        tag=destination.tag,
        deadline=deadline,
        progress=progress,
    )
    statements = copy_statements(origin.store, destination.store, copied, deadline=deadline)
    return PushedImage(
        image=str(ImageRef(destination.store.repository, copied.digest)),
        statements=statements,
        sent_bytes=moved.sent,
        found_bytes=moved.found,
    )
