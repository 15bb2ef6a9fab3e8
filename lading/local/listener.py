"""The API on the wire: who may ask, how a request is read, and how an answer or a watch is written."""

import base64
import hmac
import json
import logging
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lading.errors import LadingError
from lading.local.access import USER
from lading.local.api import Api, Request
from lading.local.cloud_run import HOST
from lading.local.objects import Object
from lading.local.refusals import Refused, failure, status_of

_LOG = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 << 20
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


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
    disable_nagle_algorithm = True  # a head and its body are two writes
    api: Api
    token: str

    def _serve(self) -> None:
        try:
            body = self._body()  # read first, or the rest of it would be taken for the next request
            self._let_in()
            status, answer = self.api.answer(self._request(body))
        except LadingError as error:
            status, reason = status_of(error)
            answer = failure(str(error), status, reason)
        except Exception as error:
            _LOG.exception("%s %s", self.command, self.path)
            status, answer = 500, failure(f"internal error: {error!r}; server.log has more", 500, "InternalError")
        if isinstance(answer, dict):
            self._send(status, answer)
        else:
            self._stream(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = _serve

    def _request(self, body: Any) -> Request:
        url = urlsplit(self.path)
        query = {name: ",".join(values) for name, values in parse_qs(url.query).items()}
        return Request(
            self.command,
            unquote(url.path),
            query,
            self.headers.get("Content-Type", "").partition(";")[0].strip(),
            self.headers.get("Accept", ""),
            body,
        )

    def _send(self, status: int, answer: Object) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _stream(self, events: Iterator[Object | None]) -> None:
        """A line for each event, as long as the client listens."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with suppress(ConnectionError, LadingError):  # it went away; or it is too slow, and has to list anew
            self.wfile.flush()
            for event in events:
                if event is not None:
                    line = json.dumps(event).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
                elif self._client_left():
                    return
            self.wfile.write(b"0\r\n\r\n")

    def _client_left(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _let_in(self) -> None:
        # A page in a browser can be made to send requests here (DNS rebinding): its Host or Origin tells.
        place = urlsplit(self.path) if "://" in self.path else urlsplit(f"//{self.headers.get('Host', '')}")
        host = place.netloc.rpartition(":")[0] if place.netloc.rpartition(":")[2].isdigit() else place.netloc
        proxied = self.command == "CONNECT" or ("://" in self.path and host not in _LOOPBACK)
        if proxied and not host.endswith(f".{HOST}"):
            raise Refused(
                f"the local target is Cloud Run only, and no proxy to {host or self.path}: what `lading local env` "
                "sets holds for `gcloud run` alone",
                code=403,
                reason="Forbidden",
            )
        if not proxied and host not in _LOOPBACK:
            raise Refused(f"expected a Host of this machine, received {host!r}", code=403, reason="Forbidden")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{self.headers.get('Host')}":
            raise Refused(f"requests from the origin {origin!r} are not let in", code=403, reason="Forbidden")
        if not self._has_token():
            raise Refused(
                "expected the header `Authorization: Bearer TOKEN` with the token of endpoint.json",
                code=401,
                reason="Unauthorized",
            )

    def _has_token(self) -> bool:
        basic = base64.b64encode(f"{USER}:{self.token}".encode()).decode()
        expected = {"Authorization": f"Bearer {self.token}", "Proxy-Authorization": f"Basic {basic}"}
        return any(
            hmac.compare_digest(self.headers.get(name, "").encode(), text.encode()) for name, text in expected.items()
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

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: releases poll, and would fill the log."""
