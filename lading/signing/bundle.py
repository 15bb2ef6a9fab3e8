"""A signed statement in a sigstore bundle: what cosign 3 attaches to an image, for a signature and for attestations.

Sources: in-toto attestation framework, Statement v1; DSSE 1.0 ("PAE" is what is signed); sigstore bundle 0.3
(``sigstore_bundle.proto``); cosign's ``specs/BUNDLE_SPEC.md``.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lading.oci.attach import Artifact
from lading.oci.image import canonical_json
from lading.signing.keys import PublicKey, Signer
from lading.wait import Deadline

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
SIGNATURE_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
"""The predicate that says nothing but "this image": a signature."""
SBOM_PREDICATE = "https://cyclonedx.org/bom"
PROVENANCE_PREDICATE = "https://slsa.dev/provenance/v1"
PREDICATE_ANNOTATION = "dev.sigstore.bundle.predicateType"


@dataclass(frozen=True)
class Statement:
    """Something that is said of an image."""

    subject: str
    """Digest of the image: ``sha256:…``."""
    name: str
    """The image's repository, for people: what counts is the digest."""
    predicate_type: str
    predicate: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_json(self) -> bytes:
        """The statement as in-toto writes it."""
        return canonical_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": [{"name": self.name, "digest": {"sha256": self.subject.removeprefix("sha256:")}}],
                "predicateType": self.predicate_type,
                "predicate": dict(self.predicate),
            }
        )


@dataclass(frozen=True)
class Opened:
    """What is in a bundle, and whether a key vouches for it."""

    problem: str
    """Why it does not count; empty when the signature is right."""
    payload: bytes = field(default=b"", repr=False)
    """What was signed; empty when the signature is not right."""


def seal(statement: Statement, signer: Signer, *, deadline: Deadline) -> Artifact:
    """Sign a statement and put both into a bundle, ready to be attached.

    Args:
        statement: What is said.
        signer: Who says it.
        deadline: For a signer that is asked over a network.
    """
    payload = statement.to_json()
    signature = signer.sign(pre_authentication(PAYLOAD_TYPE, payload), deadline=deadline)
    hint = signer.public.hint
    body = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": hint}],
        },
    }
    annotations = {"dev.sigstore.bundle.content": "dsse-envelope", PREDICATE_ANNOTATION: statement.predicate_type}
    return Artifact(BUNDLE_TYPE, canonical_json(body), annotations)


def open_bundle(content: bytes, key: PublicKey) -> Opened:
    """Check the signature of a bundle. Nothing of what it says is believed before that.

    Args:
        content: The bundle, from whomever.
        key: Whose signature it has to bear.
    """
    try:
        body = json.loads(content)
        envelope = body["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        kind = str(envelope["payloadType"])
        signatures = [base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"]]
        hint = body["verificationMaterial"].get("publicKey", {}).get("hint", "")
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError):
        return Opened("it is not a sigstore bundle with a DSSE envelope")
    if kind != PAYLOAD_TYPE:
        return Opened(f"it holds {kind}, not an in-toto statement")
    message = pre_authentication(kind, payload)
    # One signature, as the format has it: more would only be more chances.
    if len(signatures) == 1 and key.verifies(signatures[0], message):
        return Opened("", payload)
    return Opened(
        "it was altered after it was signed" if hint == key.hint else "it was signed by another key, or not at all"
    )


def pre_authentication(kind: str, payload: bytes) -> bytes:
    """The bytes that are signed: type and payload with their lengths, so that neither can be taken for the other."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)


def read_statement(payload: bytes) -> Statement | None:
    """The statement in a payload whose signature was checked; None when it is none about one image."""
    try:
        body = json.loads(payload)
        (subject,) = body["subject"]
        if body["_type"] != STATEMENT_TYPE or not isinstance(body.get("predicate", {}), dict):
            return None
        digest, predicate = subject["digest"]["sha256"], body.get("predicate", {})
        return Statement(f"sha256:{digest}", str(subject.get("name", "")), str(body["predicateType"]), predicate)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
