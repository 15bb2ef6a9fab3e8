"""Sign an image, so that whoever deploys it can tell who made it."""

from lading.oci.attach import attach
from lading.oci.store import Store
from lading.results import SignedImage
from lading.signing.bundle import SIGNATURE_PREDICATE, Statement, seal
from lading.signing.found import find_statements
from lading.signing.keys import Signer
from lading.signing.simple import attach_simple_signature, find_simple_signature
from lading.wait import Deadline


def sign_image(store: Store, digest: str, signer: Signer, *, deadline: Deadline) -> SignedImage:
    """Sign an image in both of cosign's ways, so that any version verifies it. Safe to repeat.

    Args:
        store: Where the image lies, and where the signatures go.
        digest: Of the image; of an index, for the images of all platforms.
        signer: Who signs.
        deadline: When to give up.

    Raises:
        NotFound: there is no such image.
        AccessDenied: we may not write to the repository, or may not use the key.
        Conflict: another writer keeps replacing the signatures.
    """
    store.manifest(digest, deadline=deadline)
    new = not find_statements(store, digest, signer.public, deadline=deadline).of_type(SIGNATURE_PREDICATE)
    if new:
        bundle = seal(Statement(digest, store.repository, SIGNATURE_PREDICATE), signer, deadline=deadline)
        attach(store, digest, [bundle], deadline=deadline)
    if find_simple_signature(store, digest, signer.public, deadline=deadline):
        attach_simple_signature(store, digest, signer, deadline=deadline)
        new = True
    return SignedImage(f"{store.repository}@{digest}", signer.public.fingerprint, new)
