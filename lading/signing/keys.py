"""Keys: ECDSA on the curve P-256 with SHA-256, from PEM or from Cloud KMS.

Source: FIPS 186-5; RFC 5958 (PKCS #8) and RFC 5480 (SubjectPublicKeyInfo) for the files.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lading.errors import InvalidInput, NotFound
from lading.storage import read_bytes
from lading.wait import Deadline

PASSWORD_VARIABLE = "LADING_KEY_PASSWORD"
"""Holds the password of an encrypted private key."""
KMS_SCHEME = "gcpkms://"
_MAKE_ONE = (
    "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -out key.pem` makes one, "
    "`openssl pkey -in key.pem -pubout -out key.pub` its public half"
)


@dataclass(frozen=True)
class PublicKey:
    """What signatures are verified with."""

    der: bytes = field(repr=False)
    """SubjectPublicKeyInfo."""

    @classmethod
    def parse(cls, pem: bytes, where: str) -> "PublicKey":
        """Read ``-----BEGIN PUBLIC KEY-----``.

        Args:
            pem: The content.
            where: It comes from, for messages.

        Raises:
            InvalidInput: it is not a public key of the curve P-256.
        """
        if b"PRIVATE KEY-----" in pem:
            raise InvalidInput(
                f"{where}: expected a public key, received a private one: `openssl pkey -in KEY -pubout` gives its "
                "public half; keep the private one where images are signed"
            )
        serialization, ec, _ = _libraries()
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, TypeError) as error:
            raise InvalidInput(
                f"{where}: expected a public key in PEM (-----BEGIN PUBLIC KEY-----): {_MAKE_ONE}"
            ) from error
        return _public(key, where, ec)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key: 64 hex digits."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def hint(self) -> str:
        """How cosign names the key in a bundle: the fingerprint in base64."""
        return base64.b64encode(hashlib.sha256(self.der).digest()).decode()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature (DER) of the message was made with the private half."""
        from cryptography.exceptions import InvalidSignature

        serialization, ec, hashes = _libraries()
        key: Any = serialization.load_der_public_key(self.der)
        try:
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """Someone who holds a private key."""

    @property
    def public(self) -> PublicKey:
        """The public half."""

    def sign(self, message: bytes, *, deadline: Deadline) -> bytes:
        """The signature of a message, as DER.

        Raises:
            AccessDenied: whoever holds the key does not let us sign.
            ServiceUnreachable: it does not answer.
        """


class PemSigner:
    """A private key of this machine."""

    def __init__(self, key: Any, public: PublicKey) -> None:
        self._key, self.public = key, public

    @classmethod
    def parse(cls, pem: bytes, where: str, *, password: str = "") -> "PemSigner":
        """Read a private key: PKCS #8, encrypted or not, or SEC 1 (``BEGIN EC PRIVATE KEY``).

        Raises:
            InvalidInput: it is not a private key of the curve P-256, or the password is wrong or missing.
        """
        serialization, ec, _ = _libraries()
        if b"SIGSTORE PRIVATE KEY-----" in pem or b"COSIGN PRIVATE KEY-----" in pem:
            raise InvalidInput(f"{where}: cosign's own key files are not read here: {_MAKE_ONE}")
        try:
            key = serialization.load_pem_private_key(pem, password.encode() if password else None)
        except TypeError as error:  # a password for a key without one, or none for an encrypted key
            words = f"unset {PASSWORD_VARIABLE}: the key is not encrypted" if password else f"set {PASSWORD_VARIABLE}"
            raise InvalidInput(f"{where}: the key cannot be read: {words}") from error
        except ValueError as error:
            words = f"is the password of {PASSWORD_VARIABLE} right?" if b"ENCRYPTED" in pem else _MAKE_ONE
            raise InvalidInput(f"{where}: expected a private key in PEM: {words}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidInput(f"{where}: expected a key of the curve P-256, received another kind: {_MAKE_ONE}")
        return cls(key, _public(key.public_key(), where, ec))

    def sign(self, message: bytes, *, deadline: Deadline) -> bytes:
        """The signature of a message, as DER; it takes no time."""
        _, ec, hashes = _libraries()
        signature: bytes = self._key.sign(message, ec.ECDSA(hashes.SHA256()))
        return signature


def load_signer(where: str, *, environ: Mapping[str, str], deadline: Deadline) -> Signer:
    """Who signs: a private key in PEM (a path or ``gs://``), or ``gcpkms://projects/…/cryptoKeyVersions/N``.

    Args:
        where: The key.
        environ: May hold the password, and what Google's client needs.
        deadline: For Cloud KMS, which is asked for the public half.

    Raises:
        InvalidInput: it is not a key that can sign here.
        NotFound: there is no such file or key.
        AccessDenied: Cloud KMS does not know us, or we may not use the key.
    """
    if where.startswith(KMS_SCHEME):
        from lading.signing.kms import KmsSigner

        return KmsSigner.connect(where, environ=environ, deadline=deadline)
    return PemSigner.parse(_read(where, "private"), where, password=environ.get(PASSWORD_VARIABLE, ""))


def load_public_key(where: str, *, environ: Mapping[str, str], deadline: Deadline) -> PublicKey:
    """A public key: the PEM itself, where it lies (a path or ``gs://``), or ``gcpkms://…`` to ask Cloud KMS.

    Raises:
        InvalidInput: it is not a public key of the curve P-256.
        NotFound: there is no such file or key.
        AccessDenied: Cloud KMS does not know us, or we may not see the key.
    """
    if where.startswith(KMS_SCHEME):
        from lading.signing.kms import KmsSigner

        return KmsSigner.connect(where, environ=environ, deadline=deadline).public
    if where.lstrip().startswith("-----BEGIN"):
        return PublicKey.parse(where.encode(), "the key")
    return PublicKey.parse(_read(where, "public"), where)


def _read(where: str, kind: str) -> bytes:
    try:
        return read_bytes(where)
    except NotFound as error:
        raise NotFound(f"no {kind} key at {where}: {_MAKE_ONE}") from error


def _public(key: Any, where: str, ec: Any) -> PublicKey:
    serialization = _libraries()[0]
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInput(f"{where}: expected a key of the curve P-256, received another kind: {_MAKE_ONE}")
    der, info = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return PublicKey(key.public_bytes(der, info))


def _libraries() -> tuple[Any, Any, Any]:
    """``serialization``, ``ec`` and ``hashes`` of the package cryptography."""
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise InvalidInput("signatures need the extra: pip install 'lading[sign]'") from error
    return serialization, ec, hashes
