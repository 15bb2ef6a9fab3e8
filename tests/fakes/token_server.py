"""The token service of a registry that checks signatures: JSON web tokens with RS256, as distribution wants them.

Source: distribution specification, "Docker Registry v2 authentication" and "Token Authentication Implementation".
"""

import base64
import datetime
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

ISSUER, SERVICE = "test-issuer", "test-registry"


class TokenServer:
    """``users``: passwords by name. A user may pull from and push to every repository but ``forbidden``."""

    def __init__(self, users: dict[str, str], forbidden: set[str] | None = None, *, seconds: int = 60) -> None:
        self.users, self.forbidden, self.seconds = users, forbidden or set(), seconds
        self.asked: list[list[str]] = []
        """The scopes of each request."""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = _certificate(self._key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"tokens": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/token"

    def write_certificate(self, path: Path) -> Path:
        """What the registry checks the tokens with."""
        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def token(self, user: str, scopes: list[str]) -> str:
        self.asked.append(scopes)
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            if name not in self.forbidden:
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": user, "aud": SERVICE, "jti": str(len(self.asked)), "access": access}
        claims |= {"iat": now, "nbf": now - 5, "exp": now + self.seconds}
        chain = base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()
        head = _part({"typ": "JWT", "alg": "RS256", "x5c": [chain]})
        signed = f"{head}.{_part(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_url_safe(signature)}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    tokens: TokenServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        sent = self.headers.get("Authorization", "").removeprefix("Basic ")
        user, _, password = base64.b64decode(sent).decode().partition(":")
        if sent and self.tokens.users.get(user) != password:
            return self._send(401, {"message": "wrong password"})
        scopes = [one for item in parse_qs(urlsplit(self.path).query).get("scope", []) for one in item.split()]
        if not sent:  # anybody may pull
            scopes = [f"{scope.rpartition(':')[0]}:pull" for scope in scopes]
        return self._send(200, {"token": self.tokens.token(user, scopes), "expires_in": self.tokens.seconds})

    def _send(self, code: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: object) -> None:
        pass


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    return made.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())


def _part(body: dict[str, Any]) -> str:
    return _url_safe(json.dumps(body).encode())


def _url_safe(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
