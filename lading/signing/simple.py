"""Signatures as cosign 1 and 2 keep them: a "simple signing" payload below the tag ``sha256-<hex>.sig``.

Sources: cosign's ``specs/SIGNATURE_SPEC.md``; containers/image, ``containers-signature.5.md``. It is what podman, CRI-O
(``sigstoreSigned``) and admission controllers such as Kyverno read too.
"""

import base64
import json
from typing import Any

from lading.errors import LadingError, NotFound, RemoteError
from lading.oci.attach import change_tag, is_damage, read_blob, referrers_tag, write_bytes
from lading.oci.image import CONFIG_TYPE, MANIFEST_TYPE, canonical_json, digest_of
from lading.oci.store import Manifest, Store
from lading.signing.keys import PublicKey, Signer
from lading.wait import Deadline

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
_KIND = "cosign container image signature"
_EPOCH = "1970-01-01T00:00:00Z"


def signature_tag(digest: str) -> str:
    """Where cosign looks for the signatures of an image."""
    return f"{referrers_tag(digest)}.sig"


def attach_simple_signature(store: Store, digest: str, signer: Signer, *, deadline: Deadline) -> None:
    """Sign an image and add the signature to those below its tag.

    Args:
        store: Where the image lies.
        digest: Of the image.
        signer: Who signs.
        deadline: When to give up.

    Raises:
        AccessDenied: we may not write to the repository, or may not use the key.
        Conflict: another writer keeps replacing the tag.
    """
    payload = _payload(store.repository, digest)
    signature = base64.b64encode(signer.sign(payload, deadline=deadline)).decode()
    layer = write_bytes(store, PAYLOAD_TYPE, payload, deadline=deadline).to_dict()
    entry = {**layer, "annotations": {SIGNATURE_ANNOTATION: signature}}

    def with_ours(known: Manifest | None) -> Manifest | None:
        layers = _layers(known) if known else []
        if entry in layers:
            return None
        layers.append(entry)
        # The configuration of an image without files: cosign reads signatures as the layers of one.
        config = {
            "architecture": "",
            "os": "",
            "config": {},
            "created": _EPOCH,
            "history": [{"created": _EPOCH} for _ in layers],
            "rootfs": {"type": "layers", "diff_ids": [one["digest"] for one in layers]},
        }
        described = write_bytes(store, CONFIG_TYPE, canonical_json(config), deadline=deadline)
        body = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": described.to_dict(), "layers": layers}
        content = canonical_json(body)
        return Manifest(content, MANIFEST_TYPE, digest_of(content))

    change_tag(store, signature_tag(digest), with_ours, deadline=deadline)


def find_simple_signature(store: Store, digest: str, key: PublicKey, *, deadline: Deadline) -> str:
    """Look for a signature of an image by a key.

    Returns:
        Empty when there is one, else what was found instead.
    """
    try:
        layers = _layers(store.manifest(signature_tag(digest), deadline=deadline))
    except NotFound:
        return "nothing is attached"
    problem = "nothing is attached"
    for layer in layers:
        if layer.get("mediaType") == PAYLOAD_TYPE:
            problem = _problem(store, layer, digest, key, deadline)
            if not problem:
                return ""
    return problem


def _problem(store: Store, layer: dict[str, Any], digest: str, key: PublicKey, deadline: Deadline) -> str:
    try:
        payload = read_blob(store, str(layer.get("digest", "")), deadline=deadline)
        signature = base64.b64decode((layer.get("annotations") or {})[SIGNATURE_ANNOTATION], validate=True)
    except LadingError as error:
        if not is_damage(error):
            raise
        return f"the signature cannot be read ({error})"
    except (KeyError, TypeError, ValueError):
        return "the signature cannot be read"
    if not key.verifies(signature, payload):
        return "it was signed by another key, or altered"
    try:
        critical = json.loads(payload)["critical"]
        signed, kind = critical["image"]["docker-manifest-digest"], critical["type"]
    except (ValueError, KeyError, TypeError):
        return "what was signed does not name an image"
    if kind != _KIND or signed != digest:
        return f"it is the signature of {signed}"
    return ""


def _payload(repository: str, digest: str) -> bytes:
    critical = {
        "identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": digest},
        "type": _KIND,
    }
    return canonical_json({"critical": critical, "optional": None})


def _layers(manifest: Manifest) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(manifest.content)["layers"]
        return [layer for layer in found if isinstance(layer, dict)]
    except (ValueError, KeyError, TypeError) as error:
        raise RemoteError(f"expected signatures of cosign, received a {manifest.media_type}", status=502) from error
