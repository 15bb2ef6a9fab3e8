"""What the fake backends share: a JSON server on loopback that can be restarted, and told to misbehave."""

import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit


class Refused(Exception):
    """An answer that is an error; ``headers`` come with it, and ``body`` instead of what the service makes of it."""

    def __init__(self, code: int, message: str, *, headers: dict[str, str] | None = None, body: Any = None) -> None:
        super().__init__(message)
        self.code, self.headers, self.body = code, headers or {}, body


class Raw:
    """An answer as it is, whatever its status."""

    def __init__(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.code, self.content, self.headers = code, content, headers


def read_body(handler: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, with a length or in chunks (RFC 9112, section 7.1)."""
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    pieces = []
    while size := int(handler.rfile.readline().partition(b";")[0], 16):
        pieces.append(handler.rfile.read(size))
        handler.rfile.readline()
    while handler.rfile.readline().strip():
        pass  # trailers
    return b"".join(pieces)


class JsonService:
    """Subclasses fill ``routes``: ``(method, pattern, function)``; a function takes the match's groups, returns JSON.

    ``token``: when set, requests need it as a bearer token. ``failures``: answers that the next requests get instead
    of their own (code, message, and headers if any). ``times``: when each request came, with its method and path.
    ``response_headers`` go with every answer.
    """

    response_headers: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self.routes: list[tuple[str, str, Callable[..., Any]]] = []
        self.token = ""
        self.failures: list[tuple[Any, ...]] = []
        self.times: list[tuple[float, str]] = []
        self.lock = threading.RLock()
        self._port = 0
        self._request = threading.local()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def request_headers(self) -> Any:
        """The headers of the request that this thread answers."""
        return self._request.headers

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        handler = type("Handler", (_Handler,), {"service": self, "open_connections": set()})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._server.daemon_threads = True
        self._handler = handler
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and drop every connection; what the server knows is kept."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._handler.open_connections):  # type: ignore[attr-defined]
            with suppress(OSError):
                connection.shutdown(2)

    def error(self, code: int, message: str) -> Any:
        """The body of an error, as the service writes it."""
        return {"error": message, "code": code, "message": message}

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        for verb, pattern, function in self.routes:
            found = re.fullmatch(pattern, path)
            if found and verb == method:
                with self.lock:
                    return function(*map(unquote, found.groups()), query=query, body=body)
        raise Refused(404, f"not implemented here: {method} {path}")


class _Handler(BaseHTTPRequestHandler):
    service: JsonService
    open_connections: set[Any]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a head and its body are two writes

    def setup(self) -> None:
        super().setup()
        self.open_connections.add(self.connection)

    def finish(self) -> None:
        self.open_connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def any_method(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        raw = read_body(self)
        service = self.service
        service._request.headers = self.headers
        headers = dict(service.response_headers)
        service.times.append((time.monotonic(), f"{self.command} {parts.path}"))
        try:
            if service.failures:
                code, message, *more = service.failures.pop(0)
                raise Refused(code, message, headers=more[0] if more else None)
            if service.token and self.headers.get("Authorization") != f"Bearer {service.token}":
                raise Refused(401, "Request had invalid authentication credentials.")
            body = json.loads(raw) if raw and "json" in self.headers.get("Content-Type", "") else raw
            answer, code = service.handle(self.command, parts.path, query, body), 200
        except Refused as error:
            answer, code = error.body or service.error(error.code, str(error)), error.code
            headers |= error.headers
        if not isinstance(answer, Raw):
            text = answer if isinstance(answer, str) else json.dumps(answer)
            kind = "text/plain" if isinstance(answer, str) else "application/json"
            answer = Raw(code, text.encode(), {"Content-Type": kind})
        self.send_response(answer.code)
        for name, value in {**headers, **answer.headers, "Content-Length": str(len(answer.content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = any_method

    def log_message(self, *args: object) -> None:
        pass
