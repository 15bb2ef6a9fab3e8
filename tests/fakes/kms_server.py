"""Cloud KMS over REST: keys that sign digests, with the checksums that it sends and wants.

https://docs.cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions
"""

import base64
from typing import Any

import google_crc32c
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from fakes.service import JsonService, Refused

VERSION = r"/v1/(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+/cryptoKeyVersions/\d+)"
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
           429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}  # fmt: skip


class KmsServer(JsonService):
    """Keys in memory.

    ``damage``: ``signature``, ``digest`` or ``pem`` is altered on its way, as a broken proxy would do it.
    """

    def __init__(self) -> None:
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.algorithms: dict[str, str] = {}
        self.damage = ""
        self.signed: list[bytes] = []
        super().__init__()
        self.routes = [
            ("GET", f"{VERSION}/publicKey", self.public_key),
            ("POST", f"{VERSION}:asymmetricSign", self.sign),
        ]

    def make_key(self, key: str = "images", *, curve: ec.EllipticCurve | None = None) -> str:
        """A key with one version; its name."""
        name = f"projects/p/locations/europe-west4/keyRings/ring/cryptoKeys/{key}/cryptoKeyVersions/1"
        self.keys[name] = ec.generate_private_key(curve or ec.SECP256R1())
        self.algorithms[name] = "EC_SIGN_P384_SHA384" if curve else "EC_SIGN_P256_SHA256"
        return name

    def public_pem(self, name: str) -> str:
        info = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.keys[name].public_key().public_bytes(serialization.Encoding.PEM, info).decode()

    def error(self, code: int, message: str) -> Any:
        return {"error": {"code": code, "message": message, "status": _STATUS.get(code, "UNKNOWN")}}

    def public_key(self, name: str, query: dict[str, str], body: Any) -> Any:
        pem = self.public_pem(self.known(name))
        told = pem.replace("A", "B", 3) if self.damage == "pem" else pem
        return {"name": name, "algorithm": self.algorithms[name], "pem": told, "pemCrc32c": checksum(pem.encode())}

    def sign(self, name: str, query: dict[str, str], body: Any) -> Any:
        key = self.keys[self.known(name)]
        digest = base64.b64decode(body["digest"]["sha256"], validate=True)
        if len(digest) != 32 or "data" in body:
            raise Refused(400, "Digest field has wrong length.")
        arrived = digest[::-1] if self.damage == "digest" else digest
        verified = body.get("digestCrc32c") == checksum(arrived)
        self.signed.append(arrived)
        signature = key.sign(arrived, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        told = signature[:-1] + b"\x00" if self.damage == "signature" else signature
        return {
            "signature": base64.b64encode(told).decode(),
            "signatureCrc32c": checksum(signature),
            **({"verifiedDigestCrc32c": True} if verified else {}),
            "name": name,
            "protectionLevel": "SOFTWARE",
        }

    def known(self, name: str) -> str:
        if name not in self.keys:
            raise Refused(404, f"CryptoKeyVersion {name} not found.")
        return name


def checksum(data: bytes) -> str:
    """An int64 is text in Google's JSON."""
    return str(google_crc32c.value(data))
