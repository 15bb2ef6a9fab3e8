"""How the fake registry answers over HTTP: the routes of the distribution specification, and its faults."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from fakes.registry import FakeRegistry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PIECE = 1 << 20


class RegistryHandler(BaseHTTPRequestHandler):
    registry: "FakeRegistry"
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(20)

    def handle(self) -> None:
        with suppress(OSError):  # whoever asked went away
            super().handle()

    def answer(self) -> None:
        """Any method."""
        registry, parts = self.registry, urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        registry.requests.append(f"{self.command} {parts.path}")
        registry.authorizations.append(self.headers.get("Authorization", ""))
        with registry.lock:
            failing, registry.failing = registry.failing, max(0, registry.failing - 1)
        if failing:
            return self.send(b"", 503)
        if parts.path == "/token":
            return self.token(parse_qs(parts.query))
        if parts.path.startswith("/storage/"):
            return self.blob("", parts.path.removeprefix("/storage/"), here=True)
        found = re.fullmatch(r"/v2/(.+?)/(manifests|blobs/uploads|blobs|referrers)/(.*)", parts.path)
        name, kind, last = found.groups() if found else ("", "", "")
        if not self.known(name):
            return self.challenge(name)
        if name in registry.denied:
            return self.send(b'{"errors": [{"code": "DENIED", "message": "not for you"}]}', 403)
        if kind == "blobs/uploads":
            return self.put_blob(name, query) if self.command == "PUT" else self.open_upload(name, query)
        if kind == "blobs":
            return self.blob(name, last, here=not registry.storage)
        if kind == "referrers" and registry.lists_referrers:
            return self.referrers(name, last)
        if kind == "manifests" and self.command == "PUT":
            return self.put_manifest(name, last)
        return self.manifest(name, last)

    do_GET = do_HEAD = do_PUT = answer

    def do_POST(self) -> None:
        if urlsplit(self.path).path.startswith("/v2/"):
            return self.answer()
        return self.exchange()

    def exchange(self) -> None:
        """OAuth2: a refresh token for a token."""
        registry = self.registry
        registry.requests.append(f"POST {self.path}")
        form = parse_qs(self.body().decode())
        if form.get("grant_type") != ["refresh_token"] or form.get("refresh_token") != [registry.identity]:
            return self.send(b"{}", 401)
        return self.send(json.dumps({"access_token": self.grant(form["scope"][0].split())}).encode(), 200)

    def token(self, query: dict[str, list[str]]) -> None:
        scopes = query.get("scope", [])
        if self.headers.get("Authorization", "") != self.basic():
            return self.send(b"{}", 401)
        if any(scope.split(":")[1] in self.registry.ungranted for scope in scopes):
            return self.send(b"{}", 403)
        return self.send(json.dumps({"token": self.grant(scopes)}).encode(), 200)

    def grant(self, scopes: list[str]) -> str:
        token = f"token-{len(self.registry.tokens)}"
        self.registry.tokens[token] = set(scopes)
        return token

    def basic(self) -> str:
        return "Basic " + base64.b64encode(":".join(self.registry.login).encode()).decode()

    def known(self, name: str) -> bool:
        sent = self.headers.get("Authorization", "")
        if self.registry.auth not in ("bearer", "either"):
            return not self.registry.auth or sent == self.basic()
        needed = {"push", "pull"} if self.command in ("POST", "PUT") else {"pull"}
        return needed <= self.rights(name)

    def rights(self, name: str) -> set[str]:
        """What the token of this request allows."""
        scopes = self.registry.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "), set())
        return {right for scope in scopes if scope.split(":")[1] == name for right in scope.split(":")[2].split(",")}

    def challenge(self, name: str) -> None:
        registry = self.registry
        if self.command in ("POST", "PUT"):
            self.body()
        if registry.auth == "basic":
            return self.send(b"{}", 401, {"WWW-Authenticate": 'Basic realm="x"'})
        service = registry.realm or f"http://{registry.host}/token"
        scope = f"repository:{name}:{'pull,push' if self.command in ('POST', 'PUT') else 'pull'}"
        offer = f'Bearer realm="{service}",service="fake",scope="{scope}"'
        offer += ', Basic realm="x"' if registry.auth == "either" else ""
        return self.send(b"{}", 401, {"WWW-Authenticate": offer})

    def open_upload(self, name: str, query: dict[str, str]) -> None:
        registry = self.registry
        self.body()
        if registry.refuses_uploads:
            code, message = registry.refuses_uploads
            return self.send(json.dumps({"errors": [{"code": "NO", "message": message}]}).encode(), code)
        digest, origin = query.get("mount", ""), query.get("from", "")
        may = registry.auth != "bearer" or "pull" in self.rights(origin)
        if digest and registry.mounts and may and registry.has(origin, digest):
            registry.owners.setdefault(digest, {origin}).add(name)
            registry.mounted.append((name, digest))
            return self.send(b"", 201, {"Location": f"/v2/{name}/blobs/{digest}"})
        where = f"{registry.uploads_at}/v2/{name}/blobs/uploads/{registry.open_upload()}?_state=secret-state"
        return self.send(b"", 202, {"Location": where})

    def put_blob(self, name: str, query: dict[str, str]) -> None:
        registry = self.registry
        with registry.lock:
            broken = registry.breaking.pop(0) if registry.breaking else ""
        if broken == "cut":
            self.rfile.read(int(self.headers["Content-Length"]) // 2)
            self.close_connection = True
            self.connection.shutdown(2)
            return None
        content = self.body()
        if broken == "expired":
            registry.tokens.clear()
            return self.challenge_after(name)
        if broken == "forgotten":
            return self.send(b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}', 404)
        if broken.isdecimal():
            return self.send(b'{"errors": [{"message": "stumbled"}]}', int(broken))
        if digest_of(content) != query.get("digest"):
            return self.send(b'{"errors": [{"code": "DIGEST_INVALID", "message": "other bytes"}]}', 400)
        digest = registry.put_blob(content, name)
        registry.uploaded.append((name, digest))
        if broken == "lost":
            self.close_connection = True
            self.connection.shutdown(2)
            return None
        return self.send(b"", 201, {"Location": f"/v2/{name}/blobs/{digest}"})

    def challenge_after(self, name: str) -> None:
        """A challenge whose request was read to its end."""
        realm = f'Bearer realm="http://{self.registry.host}/token",scope="repository:{name}:pull,push"'
        return self.send(b"{}", 401, {"WWW-Authenticate": realm})

    def put_manifest(self, name: str, reference: str) -> None:
        registry, raw = self.registry, self.body()
        body, digest = json.loads(raw), digest_of(raw)
        blobs = [*body.get("layers", ()), *([body["config"]] if "config" in body else [])]
        missing = [one["digest"] for one in blobs if not registry.has(name, one["digest"])]
        missing += [
            one["digest"] for one in body.get("manifests", ()) if (name, one["digest"]) not in registry.manifests
        ]
        if missing:
            message = json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": f"no {missing[0]}"}]})
            return self.send(message.encode(), 400)
        if reference.startswith("sha256:") and reference != digest:
            return self.send(b'{"errors": [{"code": "DIGEST_INVALID"}]}', 400)
        registry.manifests[name, reference] = registry.manifests[name, digest] = raw
        registry.types[digest] = self.headers.get("Content-Type", "")
        return self.send(b"", 201, {"Docker-Content-Digest": digest})

    def manifest(self, name: str, reference: str) -> None:
        registry = self.registry
        raw = registry.manifests.get((name, reference))
        if raw is None:
            return self.send(b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', 404)
        digest = digest_of(raw)
        headers = {"Content-Type": registry.types.get(digest, MANIFEST)}
        if registry.says_digest:
            headers["Docker-Content-Digest"] = digest
        return self.send(raw, 200, headers)

    def referrers(self, name: str, subject: str) -> None:
        found: list[dict[str, Any]] = []
        for (repository, digest), raw in self.registry.manifests.items():
            body = json.loads(raw)
            if repository == name and digest.startswith("sha256:") and body.get("subject", {}).get("digest") == subject:
                entry = {"mediaType": body["mediaType"], "digest": digest, "size": len(raw)}
                kind = body.get("artifactType") or body["config"]["mediaType"]
                found.append({**entry, "artifactType": kind, "annotations": body.get("annotations", {})})
        index = "application/vnd.oci.image.index.v1+json"
        raw = json.dumps({"schemaVersion": 2, "mediaType": index, "manifests": found}).encode()
        return self.send(raw, 200, {"Content-Type": index})

    def blob(self, name: str, digest: str, *, here: bool) -> None:
        registry = self.registry
        if not here:
            return self.send(b"", 307, {"Location": f"{registry.storage}/storage/{digest}?signature=hush"})
        if digest not in registry.blobs or (name and not registry.has(name, digest)):
            return self.send(b'{"errors": [{"code": "BLOB_UNKNOWN"}]}', 404)
        content = registry.blobs[digest]
        if registry.cut_after is not None and self.command == "GET":
            self.send(content[: registry.cut_after], 200, {"Content-Length": str(len(content))})
            self.close_connection = True
            return None
        return self.send(content, 200, {"Content-Type": "application/octet-stream"})

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def send(self, body: bytes, code: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
