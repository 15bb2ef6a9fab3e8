"""The JSON API of Cloud Storage, for the real google-cloud-storage client (``STORAGE_EMULATOR_HOST``).

Buckets, objects with generations and preconditions, listing with pages, media and resumable uploads, ranges, copies,
compositions; and faults, where a test asks for them.
https://docs.cloud.google.com/storage/docs/json_api/v1
"""

import base64
import hashlib
import json
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
from fakes.storage_faults import Fault, reset
from fakes.storage_uploads import Refusal, Uploads


@dataclass
class Blob:
    content: bytes
    generation: int
    content_type: str = "application/octet-stream"
    metadata: dict[str, str] = field(default_factory=dict)
    content_encoding: str = ""


@dataclass
class Storage:
    """A server on loopback; ``buckets`` may be read and filled at any time.

    What it does not know, a precondition above all, it refuses (501) rather than ignores.
    """

    buckets: dict[str, dict[str, Blob]] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    """Buckets that answer 403."""
    failures: list[int] = field(default_factory=list)
    """Statuses that the next requests get instead of their own answer."""
    faults: list[Fault] = field(default_factory=list)
    """The first that fits happens."""
    requests: list[str] = field(default_factory=list)
    """Method and path of every request so far."""
    connections: set[int] = field(default_factory=set)
    """The ports that they came from."""

    def __post_init__(self) -> None:
        self.uploads: dict[str, tuple[str, str, dict[str, str], bytearray]] = {}
        self.finished: dict[str, dict[str, Any]] = {}
        """What a resumable upload became: who sends its end twice gets the same answer."""
        self.generation = 1
        self.lock = threading.RLock()
        self.server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"storage": self}))
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def put(self, bucket: str, name: str, content: bytes, content_type: str = "application/octet-stream") -> Blob:
        """Write an object as a client would; a bucket that is missing is made."""
        with self.lock:
            self.generation += 1
            made = Blob(content, self.generation, content_type)
            self.buckets.setdefault(bucket, {})[name] = made
            return made

    def take_fault(self, method: str, path: str) -> Fault:
        """What is to happen to a request."""
        with self.lock:
            self.requests.append(f"{method} {path}")
            for fault in self.faults:
                if fault.fits(method, path):
                    fault.times -= 1
                    fault.hit.set()
                    return fault
        return Fault()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


_UNKNOWN = {
    "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch", "ifSourceGenerationNotMatch",
    "ifSourceMetagenerationMatch", "ifSourceMetagenerationNotMatch", "versions", "startOffset", "endOffset",
    "matchGlob",
}  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may go away
            super().handle_error(request, client_address)


class _Handler(Uploads, BaseHTTPRequestHandler):
    storage: Storage
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else an answer waits for the acknowledgement of its head

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.fault = self.storage.take_fault(self.command, self.path)
        self.storage.connections.add(self.client_address[1])
        time.sleep(self.fault.seconds)
        try:
            if self.fault.status:
                raise Refusal(self.fault.status, "the backend is not well")
            if self.storage.failures:
                raise Refusal(self.storage.failures.pop(0), "the backend is not well")
            if unknown := _UNKNOWN & self.query.keys():
                raise Refusal(501, f"not implemented: {', '.join(sorted(unknown))}")
            with self.storage.lock:  # so that a precondition and the write after it are one
                self.route(parts.path)
        except Refusal as error:
            self.answer({"error": {"code": error.code, "message": str(error)}}, error.code)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any

    def route(self, path: str) -> None:
        if re.fullmatch(r"/storage/v1/b/[^/]+/iam", path):
            return self.answer({"kind": "storage#policy", "bindings": [], **(json.loads(self.body or b"{}"))})
        if found := re.fullmatch(r"(/upload|/download)?/storage/v1/b(?:/([^/]+)(?:/o(?:/(.+))?)?)?(/o)?", path):
            kind, bucket, name = found[1], unquote(found[2] or ""), unquote(found[3] or "")
            objects = "/o" in path[len("/storage/v1/b/") :]
            if not bucket:
                return self.create_bucket()
            self.usable(bucket)
            if not objects:
                return self.answer({"kind": "storage#bucket", "name": bucket, "projectNumber": "1"})
            if kind == "/upload":
                return self.upload(bucket)
            if not name:
                return self.list(bucket)
            return self.one(bucket, name, media=kind == "/download" or self.query.get("alt") == "media")
        raise Refusal(501, f"not implemented: {self.command} {path}")

    def usable(self, bucket: str) -> None:
        if bucket in self.storage.denied:
            raise Refusal(403, f"caller does not have storage.objects access to the bucket {bucket}")
        if bucket not in self.storage.buckets:
            raise Refusal(404, "The specified bucket does not exist.")

    def create_bucket(self) -> None:
        name = json.loads(self.body)["name"]
        if name in self.storage.buckets:
            raise Refusal(409, "Your previous request to create the named bucket succeeded and you already own it.")
        self.storage.buckets[name] = {}
        self.answer({"kind": "storage#bucket", "name": name, "projectNumber": "1"})

    def list(self, bucket: str) -> None:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        names = sorted(name for name in self.storage.buckets[bucket] if name.startswith(prefix))
        folders = set()
        if delimiter:
            inside = {name: name[len(prefix) :].partition(delimiter) for name in names}
            folders = {prefix + first + delimiter for first, found, _ in inside.values() if found}
            names = [name for name in names if not inside[name][1]]
        # Objects and folders share the pages, in one order.
        every = sorted({*names, *folders})
        first, size = int(self.query.get("pageToken", 0)), int(self.query.get("maxResults", 1000))
        page = every[first : first + size]
        more = {"nextPageToken": str(first + size)} if len(every) > first + size else {}
        items = [self.resource(bucket, name) for name in page if name not in folders]
        here = [name for name in page if name in folders]
        self.answer({"kind": "storage#objects", "items": items, "prefixes": here, **more})

    def one(self, bucket: str, name: str, *, media: bool) -> None:
        if found := re.fullmatch(r"(.+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/(.+)", name):
            return self.rewrite(bucket, *found.groups())
        if self.command == "POST" and name.endswith("/compose"):
            return self.compose(bucket, name.removesuffix("/compose"))
        blob = self.storage.buckets[bucket].get(name)
        if blob is None or str(blob.generation) != self.query.get("generation", str(blob.generation)):
            raise Refusal(404, f"No such object: {bucket}/{name}")
        self.check(blob.generation)
        if self.command in ("PATCH", "PUT"):
            wanted = json.loads(self.body)
            blob.content_type = wanted.get("contentType", blob.content_type)
            blob.metadata |= wanted.get("metadata") or {}
        if self.command == "DELETE":
            del self.storage.buckets[bucket][name]
            return self.send(b"", 204)
        if not media:
            return self.answer(self.resource(bucket, name))
        content, code = blob.content, 200
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            code, content = 206, content[int(found[1]) : int(found[2]) + 1 if found[2] else None]
            if not content:
                return self.send(b"", 416)
        digest = base64.b64encode(hashlib.md5(blob.content).digest()).decode()
        encoded = {"Content-Encoding": blob.content_encoding} if blob.content_encoding else {}
        about = {"X-Goog-Hash": f"md5={digest}", "X-Goog-Generation": str(blob.generation)}
        return self.send(content, code, {**about, **encoded})

    def rewrite(self, bucket: str, source: str, to: str, name: str) -> None:
        blob = self.storage.buckets[bucket].get(source)
        if blob is None or str(blob.generation) != self.query.get("sourceGeneration", str(blob.generation)):
            raise Refusal(404, f"No such object: {bucket}/{source}")
        self.check(blob.generation, "ifSourceGenerationMatch")
        self.usable(to)
        known = self.storage.buckets[to].get(name)
        self.check(known.generation if known else 0)
        self.storage.put(to, name, blob.content, blob.content_type).metadata = dict(blob.metadata)
        size = str(len(blob.content))
        answer = {"kind": "storage#rewriteResponse", "done": True, "totalBytesRewritten": size, "objectSize": size}
        self.answer({**answer, "resource": self.resource(to, name)})

    def compose(self, bucket: str, name: str) -> None:
        """https://docs.cloud.google.com/storage/docs/json_api/v1/objects/compose."""
        asked = json.loads(self.body)
        if not 1 <= len(asked["sourceObjects"]) <= 32:
            raise Refusal(400, "The number of source components provided must be between 1 and 32.")
        content = b""
        for source in asked["sourceObjects"]:
            blob = self.storage.buckets[bucket].get(source["name"])
            wanted = (source.get("objectPreconditions") or {}).get("ifGenerationMatch")
            if blob is None or str(blob.generation) != str(source.get("generation") or blob.generation):
                raise Refusal(404, f"No such object: {bucket}/{source['name']}")
            if wanted is not None and int(wanted) != blob.generation:
                raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")
            content += blob.content
        self.store(bucket, {**asked.get("destination", {}), "name": name}, content)

    def store(self, bucket: str, meta: dict[str, Any], content: bytes) -> None:
        self.answer(self.stored(bucket, meta, content))

    def stored(self, bucket: str, meta: dict[str, Any], content: bytes) -> dict[str, Any]:
        known = self.storage.buckets[bucket].get(meta["name"])
        self.check(known.generation if known else 0)
        made = self.storage.put(bucket, meta["name"], content, meta.get("contentType", "application/octet-stream"))
        made.metadata = dict(meta.get("metadata") or {})
        made.content_encoding = meta.get("contentEncoding") or ""
        return self.resource(bucket, meta["name"])

    def check(self, generation: int, name: str = "ifGenerationMatch") -> None:
        """The precondition of https://docs.cloud.google.com/storage/docs/request-preconditions."""
        wanted = self.query.get(name)
        if wanted is not None and int(wanted) != generation:
            raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")

    def resource(self, bucket: str, name: str) -> dict[str, Any]:
        blob = self.storage.buckets[bucket][name]
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "size": str(len(blob.content)),
            "generation": str(blob.generation),
            "metageneration": "1",
            "contentType": blob.content_type,
            **({"contentEncoding": blob.content_encoding} if blob.content_encoding else {}),
            "metadata": blob.metadata,
            "crc32c": base64.b64encode(google_crc32c.Checksum(blob.content).digest()).decode(),
            "md5Hash": base64.b64encode(hashlib.md5(blob.content).digest()).decode(),
        }

    def answer(self, body: dict[str, Any], code: int = 200) -> None:
        self.send(json.dumps(body).encode(), code, {"Content-Type": "application/json"})

    def send(self, body: bytes, code: int, headers: dict[str, str] | None = None) -> None:
        if self.fault.lost:
            self.close_connection = True
            return reset(self.connection)
        self.send_response(code)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if 0 <= self.fault.cut < len(body):
            self.wfile.write(body[: self.fault.cut])
            self.close_connection = True
            return reset(self.connection)
        self.wfile.write(body)
        return None

    def log_message(self, *args: object) -> None:
        pass
