"""The API: who may ask, which object a path names, and how an answer or an error looks.

Source: Knative Serving API specification v1; Kubernetes API conventions (lists, merge patches, Status objects).
"""

import hmac
import json
import logging
import re
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lading.errors import Conflict, InvalidInput, LadingError, NotFound, StorageError
from lading.local.admission import admit_service
from lading.local.objects import API_VERSION, KINDS, REVISIONS, SERVICES, Key, Object, service_key
from lading.local.store import Store

_LOG = logging.getLogger(__name__)
_PATH = re.compile(rf"/apis/{re.escape(API_VERSION)}/namespaces/([^/]+)/({SERVICES}|{REVISIONS})(?:/([^/]+))?")
_MERGE_PATCH = "application/merge-patch+json"  # RFC 7386
MAX_BODY_BYTES = 4 << 20


class Refused(LadingError):
    """A request that is not let in, or that nothing answers to."""

    def __init__(self, message: str, *, code: int, reason: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Api:
    """Answers requests that were let in.

    Args:
        store: The objects.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def answer(self, method: str, target: str, content_type: str, body: Any) -> tuple[int, Object]:
        """The status and the body for a request.

        Args:
            method: HTTP method.
            target: Path and query.
            content_type: Of the body.
            body: Parsed JSON, or None.

        Raises:
            LadingError: what the request asks for cannot be.
        """
        url = urlsplit(target)
        found = _PATH.fullmatch(unquote(url.path))
        if not found:
            raise Refused(f"no such path: {url.path}", code=404, reason="NotFound")
        namespace, plural, name = found.groups()
        if method == "GET" and not name:
            return 200, self._list(plural, namespace, parse_qs(url.query))
        if method == "POST" and not name and plural == SERVICES:
            return 201, self._create(body, namespace)
        if name:
            key = Key(namespace, name)
            if method == "GET":
                return 200, self._store.get(plural, key)
            if method == "DELETE":
                return 200, self._delete(plural, key)
            if method in ("PUT", "PATCH") and plural == SERVICES:
                return 200, self._change(key, method, content_type, body)
        raise Refused(f"{method} is not allowed on {url.path}", code=405, reason="MethodNotAllowed")

    def _list(self, plural: str, namespace: str, query: Mapping[str, list[str]]) -> Object:
        items = self._store.list(plural, namespace)
        for selector in ",".join(query.get("labelSelector", [])).split(","):
            if selector:
                label, _, value = selector.replace("==", "=").partition("=")
                items = [i for i in items if i["metadata"].get("labels", {}).get(label.strip()) == value.strip()]
        metadata = {"resourceVersion": self._store.version()}
        return {"apiVersion": API_VERSION, "kind": f"{KINDS[plural]}List", "metadata": metadata, "items": items}

    def _create(self, body: Any, namespace: str) -> Object:
        with self._store.lock:
            return self._store.create(SERVICES, admit_service(body, namespace, find_revision=self._find_revision))

    def _change(self, key: Key, method: str, content_type: str, body: Any) -> Object:
        with self._store.lock:
            old = self._store.get(SERVICES, key)
            if method == "PATCH":
                if content_type != _MERGE_PATCH:
                    raise Refused(
                        f"expected a patch of type {_MERGE_PATCH}, received {content_type or 'none'}",
                        code=415,
                        reason="UnsupportedMediaType",
                    )
                body = _merged(old, body)
            admitted = admit_service(body, key.namespace, find_revision=self._find_revision)
            if admitted["metadata"]["name"] != key.name:
                raise InvalidInput(f"metadata.name: expected {key.name}, received {admitted['metadata']['name']}")
            return self._store.update(SERVICES, admitted)

    def _delete(self, plural: str, key: Key) -> Object:
        with self._store.lock:
            body = self._store.find(plural, key)
            if body is None and plural == REVISIONS:
                self._store.get(plural, key)  # says why there is none
            if body is not None and plural == REVISIONS:
                self._check_unused(body, key)
            self._store.delete(plural, key)
        details = {"name": key.name, "group": "serving.knative.dev", "kind": plural}
        return {"apiVersion": "v1", "kind": "Status", "status": "Success", "details": details}

    def _check_unused(self, revision: Object, key: Key) -> None:
        service = self._store.find(SERVICES, service_key(revision))
        lines = [
            *(service or {}).get("spec", {}).get("traffic", []),
            *(service or {}).get("status", {}).get("traffic", []),
        ]
        if any(line.get("revisionName") == key.name for line in lines):
            raise Conflict(f"revision {key.name} is part of the traffic of {service_key(revision).name}", status=409)

    def _find_revision(self, key: Key) -> Object | None:
        return self._store.find(REVISIONS, key)


def _merged(old: Any, patch: Any) -> Any:
    """A JSON merge patch applied (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def make_server(api: Api, *, token: str, port: int) -> ThreadingHTTPServer:
    """An HTTP server on loopback that lets in whoever has the token.

    Args:
        api: Answers.
        token: What ``Authorization: Bearer`` must carry.
        port: Where it listens; 0 for any free port.
    """

    class Handler(_Handler):
        pass

    Handler.api, Handler.token = api, token
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    """One connection to the API."""

    protocol_version = "HTTP/1.1"
    api: Api
    token: str

    def _serve(self) -> None:
        try:
            body = self._body()  # read first, or the rest of it would be taken for the next request
            self._let_in()
            status, answer = self.api.answer(self.command, self.path, self._content_type(), body)
        except LadingError as error:
            status, reason = _status_of(error)
            answer = _failure(str(error), status, reason)
        except Exception as error:
            _LOG.exception("%s %s", self.command, self.path)
            status, answer = 500, _failure(f"internal error: {error!r}; server.log has more", 500, "InternalError")
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _let_in(self) -> None:
        # A page in a browser can be made to send requests here (DNS rebinding): its Host or Origin tells.
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in ("127.0.0.1", "localhost", "[::1]"):
            raise Refused(f"expected a Host of this machine, received {host!r}", code=403, reason="Forbidden")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{self.headers.get('Host')}":
            raise Refused(f"requests from the origin {origin!r} are not let in", code=403, reason="Forbidden")
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            raise Refused(
                "expected the header `Authorization: Bearer TOKEN` with the token of endpoint.json",
                code=401,
                reason="Unauthorized",
            )

    def _body(self) -> Any:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            self.close_connection = True
            raise Refused("expected a body with a Content-Length", code=411, reason="LengthRequired")
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            raise Refused(f"expected at most {MAX_BODY_BYTES} bytes", code=413, reason="RequestEntityTooLarge")
        raw = self.rfile.read(int(length))
        try:
            return json.loads(raw) if raw else None
        except ValueError as error:
            raise Refused(f"the body is not JSON: {error}", code=400, reason="BadRequest") from error

    def _content_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: releases poll, and would fill the log."""


def _status_of(error: LadingError) -> tuple[int, str]:
    if isinstance(error, Refused):
        return error.code, error.reason
    if isinstance(error, NotFound):
        return 404, "NotFound"
    if isinstance(error, Conflict):
        return 409, "AlreadyExists" if "already exists" in str(error) else "Conflict"
    if isinstance(error, InvalidInput):
        return 422, "Invalid"
    if isinstance(error, StorageError):
        return 507, "InsufficientStorage"
    return 500, "InternalError"


def _failure(message: str, code: int, reason: str) -> Object:
    """A Kubernetes Status object."""
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
