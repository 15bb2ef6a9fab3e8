"""A registry of the distribution specification on loopback: manifests and blobs, with or without authentication."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class FakeRegistry:
    """``auth`` is empty, ``basic`` or ``bearer``; ``login`` is who may come in."""

    auth: str = ""
    login: tuple[str, str] = ("user", "secret")
    denied: set[str] = field(default_factory=set)
    """Repositories that answer 403."""
    failing: int = 0
    """So many requests are answered with 503 first."""
    says_digest: bool = True
    """Whether HEAD tells the digest; some registries do not."""
    realm: str = ""
    """Where the token service is; empty: here."""
    identity: str = "refresh"
    """The refresh token that the token service takes."""
    storage: str = ""
    """Where blobs are kept: GET is sent on to that address, with a signature. Empty: here."""
    cut_after: int | None = None
    """After so many bytes of a blob the connection is lost."""

    def __post_init__(self) -> None:
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.authorizations: list[str] = []
        """The header of each request; empty for those without one."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": self}))
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def put(self, name: str, tag: str, body: object = None) -> str:
        """Store a manifest; its digest."""
        raw = json.dumps(body or {"schemaVersion": 2, "mediaType": MANIFEST, "of": f"{name}:{tag}"}).encode()
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        self.manifests[name, tag] = self.manifests[name, digest] = raw
        return digest

    def put_blob(self, content: bytes) -> str:
        """Store a blob; its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        return digest

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    registry: FakeRegistry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        registry, parts = self.registry, urlsplit(self.path)
        registry.requests.append(f"{self.command} {parts.path}")
        registry.authorizations.append(self.headers.get("Authorization", ""))
        if registry.failing:
            registry.failing -= 1
            return self.send(b"", 503)
        if parts.path == "/token":
            return self.token(parse_qs(parts.query))
        if parts.path.startswith("/storage/"):
            return self.blob(parts.path.removeprefix("/storage/"), here=True)
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/(.+)", parts.path)
        name = found[1] if found else ""
        if not self.known(name):
            service = registry.realm or f"http://{registry.host}/token"
            realm = f'Bearer realm="{service}",service="fake",scope="repository:{name}:pull"'
            return self.send(
                b"{}", 401, {"WWW-Authenticate": realm if registry.auth == "bearer" else 'Basic realm="x"'}
            )
        if name in registry.denied:
            return self.send(b'{"errors": [{"code": "DENIED", "message": "not for you"}]}', 403)
        if found and found[2] == "blobs":
            return self.blob(found[3], here=not registry.storage)
        raw = registry.manifests.get((name, found[3])) if found else None
        if raw is None:
            return self.send(b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', 404)
        headers = {"Content-Type": MANIFEST}
        if registry.says_digest:
            headers["Docker-Content-Digest"] = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        return self.send(raw, 200, headers)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """OAuth2: a refresh token for a token."""
        registry = self.registry
        registry.requests.append(f"POST {self.path}")
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if form.get("grant_type") != ["refresh_token"] or form.get("refresh_token") != [registry.identity]:
            return self.send(b"{}", 401)
        name = form["scope"][0].split(":")[1]
        return self.send(json.dumps({"access_token": f"token-for-{name}"}).encode(), 200)

    def blob(self, digest: str, *, here: bool) -> None:
        registry = self.registry
        content = registry.blobs.get(digest)
        if content is None and here:
            return self.send(b'{"errors": [{"code": "BLOB_UNKNOWN"}]}', 404)
        if not here:
            return self.send(b"", 307, {"Location": f"{registry.storage}/storage/{digest}?signature=hush"})
        if registry.cut_after is not None and self.command == "GET":
            self.send(content[: registry.cut_after], 200, {"Content-Length": str(len(content))})
            self.close_connection = True
            return None
        return self.send(content, 200, {"Content-Type": "application/octet-stream"})

    def basic(self) -> str:
        return "Basic " + base64.b64encode(":".join(self.registry.login).encode()).decode()

    def known(self, name: str) -> bool:
        sent = self.headers.get("Authorization", "")
        if self.registry.auth == "basic":
            return sent == self.basic()
        return not self.registry.auth or sent == f"Bearer token-for-{name}"

    def token(self, query: dict[str, list[str]]) -> None:
        if self.headers.get("Authorization", "") != self.basic():
            return self.send(b"{}", 401)
        name = query["scope"][0].split(":")[1]
        return self.send(json.dumps({"token": f"token-for-{name}"}).encode(), 200)

    def send(self, body: bytes, code: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass
