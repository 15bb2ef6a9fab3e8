"""Let only images be deployed that bear a key's signature."""

from collections.abc import Mapping

from lading.errors import InvalidReference, Rejected
from lading.oci.connect import open_place
from lading.signing.found import find_statements, signature_problem
from lading.signing.keys import load_public_key
from lading.wait import Deadline


def check_signed(image: str, key: str, *, environ: Mapping[str, str], deadline: Deadline) -> None:
    """Refuse an image that a key did not sign.

    Args:
        image: ``repository@sha256:…``; on this machine too.
        key: A public key, as ``lading.signing.keys.load_public_key`` reads it; empty: nothing is required.
        environ: Where credentials and this user's state lie.
        deadline: When to give up.

    Raises:
        Rejected: it is not signed by the key.
        InvalidReference: the image has no digest.
        InvalidInput: this is no public key.
        NotFound: there is no such image, or no such key.
        AccessDenied: we may not read the repository.
        ServiceUnreachable: the registry does not answer.
    """
    if not key:
        return
    public = load_public_key(key, environ=environ, deadline=deadline)
    place = open_place(image, environ=environ)
    if not place.digest:
        raise InvalidReference(f"expected an image by digest (NAME@sha256:…), received {image!r}: a tag can move")
    place.store.manifest(place.digest, deadline=deadline)
    found = find_statements(place.store, place.digest, public, deadline=deadline)
    problem = signature_problem(place.store, place.digest, public, found, deadline=deadline)
    if problem:
        raise Rejected(
            f"{image} is not deployed: a signature by the key {public.fingerprint[:16]}… is required, and {problem}. "
            "`lading sign` signs an image; `lading verify` says more about this one"
        )
