"""Attach to an image what can be said of it: its bill of materials, how it was made, and a signature."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lading.bom.cyclonedx import SBOM_TYPE
from lading.bom.inventory import take_inventory
from lading.errors import InvalidReference
from lading.oci.attach import Artifact, attach
from lading.oci.connect import open_place
from lading.oci.image import canonical_json
from lading.oci.store import Store
from lading.provenance import Build, make_provenance
from lading.sbom import sbom_of
from lading.sign import sign_image
from lading.signing.bundle import (
    PAYLOAD_TYPE,
    PREDICATE_ANNOTATION,
    PROVENANCE_PREDICATE,
    SBOM_PREDICATE,
    Statement,
    seal,
)
from lading.signing.found import Found, find_statements
from lading.signing.keys import Signer
from lading.values import DIGEST
from lading.wait import Deadline


@dataclass(frozen=True)
class AttachedStatements:
    """What was attached to an image."""

    image: str
    """``repository@sha256:…``."""
    sbom_components: int = 0
    """How many components the bill of materials has; 0: none was asked for."""
    provenance: bool = False
    signed_by: str = ""
    """SHA-256 of the public key that vouches for all of it; empty: nothing is signed."""


def attach_statements(
    store: Store,
    digest: str,
    *,
    sbom: bool = False,
    build: Build | None = None,
    signer: Signer | None = None,
    deadline: Deadline,
) -> AttachedStatements:
    """Make statements about an image and attach them; with a signer they, and then the image, are signed.

    The signature comes last: an image that bears it has the statements too. Safe to repeat; what is there already is
    not attached again.

    Args:
        store: Where the image lies: one that can be written.
        digest: Of the image.
        sbom: Attach a bill of materials, which reads the whole image.
        build: How the image was made; attach its provenance.
        signer: Who vouches for it.
        deadline: For all together.

    Raises:
        NotFound: there is no such image.
        InvalidReference: it is an index, about which no such statements can be made.
        AccessDenied: we may not write to the repository, or may not use the key.
        Conflict: another writer keeps replacing what is attached.
    """
    said, artifacts = list[Statement](), list[Artifact]()
    components = 0
    if sbom or build:
        inventory = take_inventory(store, digest, packages=sbom, deadline=deadline)
        if sbom:
            document = sbom_of(inventory, store.repository)
            components = len(document["components"])
            # As it is, for scanners that look for it; and signed, for whoever verifies it.
            artifacts.append(Artifact(SBOM_TYPE, canonical_json(document)))
            said.append(Statement(digest, store.repository, SBOM_PREDICATE, document))
        if build:
            predicate = make_provenance(build, inventory)
            said.append(Statement(digest, store.repository, PROVENANCE_PREDICATE, predicate))
    if signer:
        known = find_statements(store, digest, signer.public, deadline=deadline)
        artifacts += [seal(one, signer, deadline=deadline) for one in said if not _is_known(one, known)]
    elif build:
        annotations = {PREDICATE_ANNOTATION: PROVENANCE_PREDICATE}
        artifacts.append(Artifact(PAYLOAD_TYPE, said[-1].to_json(), annotations))
    if artifacts:
        attach(store, digest, artifacts, deadline=deadline)
    if signer:
        sign_image(store, digest, signer, deadline=deadline)
    key = signer.public.fingerprint if signer else ""
    return AttachedStatements(f"{store.repository}@{digest}", components, build is not None, key)


def attach_to_image(
    image: str,
    *,
    sbom: bool = False,
    build: Build | None = None,
    signer: Signer | None = None,
    environ: Mapping[str, str],
    deadline: Deadline,
) -> AttachedStatements:
    """``attach_statements`` for an image by name, as ``package_image`` returns it.

    Args:
        image: ``repository@sha256:…``, in a registry, a layout or this machine's store.
        sbom: As there.
        build: As there.
        signer: As there.
        environ: Where credentials and this user's state lie.
        deadline: For all together.

    Raises:
        InvalidReference: it is no image by digest, or lies in an archive.
        LadingError: as ``attach_statements``.
    """
    check_attachable(image)
    repository, _, digest = image.rpartition("@")
    if not repository or not DIGEST.fullmatch(digest):
        raise InvalidReference(f"expected an image by digest (NAME@sha256:…), received {image!r}")
    store = open_place(repository, environ=environ, writable=True).store
    return attach_statements(store, digest, sbom=sbom, build=build, signer=signer, deadline=deadline)


def check_attachable(place: str) -> None:
    """Refuse a place that nothing can be attached in, before anything is made.

    Raises:
        InvalidReference: it is an archive, which is written once.
    """
    if place.startswith("archive:"):
        raise InvalidReference(
            f"nothing can be attached to an image in an archive, received {place}: package into oci:DIR, which "
            "`lading push` takes to a registry with all that is attached"
        )


def _is_known(statement: Statement, known: Found) -> bool:
    """Whether the key has said this before; when a build was finished makes no difference."""
    return any(
        _timeless(one.predicate) == _timeless(statement.predicate) for one in known.of_type(statement.predicate_type)
    )


def _timeless(predicate: Any) -> Any:
    body = json.loads(canonical_json(predicate))
    metadata = body.get("runDetails", {}).get("metadata", {})
    metadata.pop("finishedOn", None)
    return body
