"""Who is who at Google: OAuth 2.0 token endpoint and IAM Service Account Credentials API.

``url``/token is what the ``token_uri`` of a key file names. It checks signatures; its tokens are checked by
``CloudRunServer``. ``key_file`` and ``user_file`` write credentials that google-auth reads.
"""

import base64
import functools
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from fakes.service import JsonService, Refused

RUNNER = "runner@demo-project.iam.gserviceaccount.com"
_SECRET = b"what signs the tokens of this fake"


class IamServer(JsonService):
    """``may_impersonate``: pairs of who may make ID tokens of whom. ``lifetime``: of tokens, in seconds.

    ``key``: servers with another number know other keys.
    """

    def __init__(self, key: int = 0) -> None:
        super().__init__()
        self.may_impersonate: set[tuple[str, str]] = set()
        self.lifetime = 3600
        self._number = self._oldest = 0
        self.minted: list[dict[str, Any]] = []
        """Claims of the tokens that were made."""
        self._key = _key(key)
        accounts = r"/v1/projects/-/serviceAccounts/([^:]+):"
        self.routes = [("POST", "/token", self._token), ("POST", accounts + "generateIdToken", self._generate_id_token)]

    def error(self, code: int, message: str) -> Any:
        return google_error(code, message)

    def revoke_all(self) -> None:
        """No token that was made until now counts any more."""
        self._oldest = self._number + 1

    def access_token(self, email: str) -> str:
        return self._mint({"email": email, "scope": "cloud-platform"})

    def id_token(self, email: str, audience: str) -> str:
        return self._mint({"email": email, "aud": audience})

    def claims(self, token: str) -> dict[str, Any] | None:
        """What a good token says; None for one that is expired, revoked or not of this server."""
        head, _, signature = token.rpartition(".")
        if not hmac.compare_digest(_signature(head), signature):
            return None
        claims: dict[str, Any] = json.loads(_decoded(head.split(".")[1]))
        return claims if claims["exp"] > time.time() and claims["jti"] >= self._oldest else None

    def key_file(self, path: Path, email: str = RUNNER) -> Path:
        """The key of a service account."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        body = {"type": "service_account", "project_id": "demo-project", "private_key_id": "1", "client_id": "1"}
        body |= {"private_key": pem.decode(), "client_email": email, "token_uri": f"{self.url}/token"}
        path.write_text(json.dumps(body))
        return path

    def user_file(self, path: Path, email: str = "person@example.com") -> Path:
        """What `gcloud auth application-default login` leaves; google-auth asks Google itself for its tokens."""
        body = {"type": "authorized_user", "client_id": "1", "client_secret": "s", "refresh_token": email}
        path.write_text(json.dumps(body))
        return path

    def _mint(self, claims: dict[str, Any]) -> str:
        self.minted.append(claims)
        self._number += 1
        claims = {**claims, "iat": time.time(), "exp": time.time() + self.lifetime, "jti": self._number}
        head = f"{_encoded(json.dumps({'alg': 'HS256', 'typ': 'JWT'}))}.{_encoded(json.dumps(claims))}"
        return f"{head}.{_signature(head)}"

    def _token(self, *, query: Any, body: bytes) -> Any:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        head, _, signature = form["assertion"].rpartition(".")
        try:
            self._key.public_key().verify(_raw(signature), head.encode(), padding.PKCS1v15(), hashes.SHA256())
        except Exception as error:
            raise Refused(400, "invalid_grant: Invalid JWT Signature.") from error
        claims = json.loads(_decoded(head.split(".")[1]))
        if claims["aud"] != f"{self.url}/token" and claims["aud"] != "https://oauth2.googleapis.com/token":
            raise Refused(400, "invalid_grant: Invalid JWT: wrong audience")
        if "target_audience" in claims:
            return {"id_token": self.id_token(claims["iss"], claims["target_audience"])}
        return self._granted({"access_token": self.access_token(claims["iss"])})

    def _granted(self, tokens: dict[str, str]) -> dict[str, Any]:
        return {**tokens, "expires_in": self.lifetime, "token_type": "Bearer"}

    def _generate_id_token(self, account: str, *, query: Any, body: Any) -> Any:
        who = self.claims(self.request_headers.get("Authorization", "").removeprefix("Bearer "))
        if who is None:
            raise Refused(401, "Request had invalid authentication credentials.")
        if (who["email"], account) not in self.may_impersonate:
            words = "Permission 'iam.serviceAccounts.getOpenIdToken' denied on resource (or it may not exist)."
            raise Refused(403, words)
        return {"token": self.id_token(account, body["audience"])}


def google_error(code: int, message: str, details: list[Any] | None = None) -> dict[str, Any]:
    """The body of an error of a Google API. Source: google/rpc/code.proto and the API design guide, "Errors"."""
    names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
    names |= {409: "ABORTED", 429: "RESOURCE_EXHAUSTED"}
    error = {"code": code, "message": message, "status": names.get(code, "UNKNOWN")}
    return {"error": {**error, **({"details": details} if details else {})}}


@functools.cache
def _key(number: int) -> rsa.RSAPrivateKey:
    """Takes a second to make."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _signature(head: str) -> str:
    return base64.urlsafe_b64encode(hmac.new(_SECRET, head.encode(), hashlib.sha256).digest()).decode().rstrip("=")


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _decoded(text: str) -> str:
    return _raw(text).decode()
