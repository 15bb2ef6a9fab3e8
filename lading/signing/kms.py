"""Cloud KMS as the holder of the key: it gets a digest and gives a signature; the key never leaves it.

API: Cloud KMS v1, ``projects.locations.keyRings.cryptoKeys.cryptoKeyVersions``, methods ``getPublicKey`` and
``asymmetricSign``; the checksums are those of "Verifying end-to-end data integrity".
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from lading.errors import AccessDenied, InvalidInput, NotFound, RemoteError
from lading.http import Client, Session
from lading.signing.keys import KMS_SCHEME, PublicKey
from lading.wait import Deadline

ENDPOINT_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS"
TOKEN_VARIABLE = "CLOUDSDK_AUTH_ACCESS_TOKEN"
"""The variables by which gcloud itself is sent elsewhere, or given a token."""
_ENDPOINT = "https://cloudkms.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloudkms"
_ALGORITHM = "EC_SIGN_P256_SHA256"
_LOG_IN = (
    "log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key of a "
    "service account"
)
_KEY = re.compile(
    r"(?P<key>projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)/(?:cryptoKeyVersions|versions)/(?P<n>\d+)"
)


class KmsSigner:
    """One version of a key in Cloud KMS."""

    def __init__(self, name: str, client: Client, public: PublicKey) -> None:
        self._name, self._client, self.public = name, client, public

    @classmethod
    def connect(cls, where: str, *, environ: Mapping[str, str], deadline: Deadline) -> "KmsSigner":
        """Find credentials and ask for the public half.

        Args:
            where: ``gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N``.
            environ: gcloud's variables count: another endpoint, an access token. An endpoint with ``http://`` is a
                local server and needs no credentials.
            deadline: When to give up.

        Raises:
            InvalidInput: this is not the name of a version of a key, or the key is of another algorithm.
            NotFound: there is no such key.
            AccessDenied: Cloud KMS does not know us, or we may not see the key.
        """
        found = _KEY.fullmatch(where.removeprefix(KMS_SCHEME))
        if not found:
            raise InvalidInput(
                "expected gcpkms://projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY/cryptoKeyVersions/N, "
                f"received {where!r}"
            )
        name = f"{found['key']}/cryptoKeyVersions/{found['n']}"
        endpoint = environ.get(ENDPOINT_VARIABLE, "").rstrip("/") or _ENDPOINT
        client = Client(f"{endpoint}/v1/", session=_session(endpoint, environ))
        body = _asked(client, "GET", f"/{name}/publicKey", name, "roles/cloudkms.publicKeyViewer", deadline)
        if body.get("algorithm") != _ALGORITHM:
            raise InvalidInput(f"{where}: expected a key for {_ALGORITHM}, received one for {body.get('algorithm')}")
        pem = str(body.get("pem", "")).encode()
        _same(body.get("pemCrc32c"), pem, f"the public key of {name}")
        return cls(name, client, PublicKey.parse(pem, where))

    def sign(self, message: bytes, *, deadline: Deadline) -> bytes:
        """The signature of a message, as DER; only its digest is sent."""
        digest = hashlib.sha256(message).digest()
        sent = {"digest": {"sha256": base64.b64encode(digest).decode()}, "digestCrc32c": str(_crc32c(digest))}
        path, role = f"/{self._name}:asymmetricSign", "roles/cloudkms.signer"
        body = _asked(self._client, "POST", path, self._name, role, deadline, json=sent)
        try:
            signature = base64.b64decode(str(body.get("signature", "")), validate=True)
        except binascii.Error as error:
            raise RemoteError(f"Cloud KMS did not answer with a signature by {self._name}", status=502) from error
        if body.get("verifiedDigestCrc32c") is not True or body.get("name") != self._name:
            raise _damaged(f"what was to be signed by {self._name}")
        _same(body.get("signatureCrc32c"), signature, f"the signature by {self._name}")
        return signature


def _asked(
    client: Client, method: str, path: str, name: str, role: str, deadline: Deadline, **options: Any
) -> dict[str, Any]:
    from google.auth.exceptions import GoogleAuthError

    try:
        body = client.request(method, path, deadline=deadline, **options).json()
        if not isinstance(body, dict):
            raise ValueError("not an object")
        return body
    except NotFound as error:
        raise NotFound(f"Cloud KMS has no key {name}: is it written rightly, with its version?") from error
    except AccessDenied as error:
        words = f"who asks needs {role} on the key" if error.status == 403 else _LOG_IN
        raise AccessDenied(f"Cloud KMS, {name}: {error}: {words}", status=error.status) from error
    except GoogleAuthError as error:
        raise AccessDenied(
            f"Cloud KMS: the Google credentials have expired or were revoked: {_LOG_IN}", status=401
        ) from error
    except ValueError as error:
        raise RemoteError(f"what answers for Cloud KMS does not speak its API ({path})", status=502) from error


def _session(endpoint: str, environ: Mapping[str, str]) -> Session | None:
    """A session with Google's credentials; None: a local server."""
    try:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import AuthorizedSession
        from google.oauth2.credentials import Credentials
    except ImportError as error:
        raise InvalidInput("Cloud KMS needs the Google Cloud extra: pip install 'lading[gcp]'") from error
    if token := environ.get(TOKEN_VARIABLE):
        session: Session = AuthorizedSession(Credentials(token))
        return session
    if endpoint.startswith("http://"):
        return None
    try:
        found, _ = google.auth.default([_SCOPE])
    except GoogleAuthError as error:
        raise AccessDenied(f"Cloud KMS: there are no Google credentials here: {_LOG_IN}", status=401) from error
    authorized: Session = AuthorizedSession(found)
    return authorized


def _crc32c(data: bytes) -> int:
    try:
        import google_crc32c
    except ImportError as error:
        raise InvalidInput("Cloud KMS needs the Google Cloud extra: pip install 'lading[gcp]'") from error
    value: int = google_crc32c.value(data)
    return value


def _same(told: Any, data: bytes, what: str) -> None:
    """Compare a checksum: JSON has it as text, since it is an int64."""
    if str(told) != str(_crc32c(data)):
        raise _damaged(what)


def _damaged(what: str) -> RemoteError:
    return RemoteError(f"{what} was damaged on the way from or to Cloud KMS: try again", status=502)
