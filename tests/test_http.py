"""The HTTP client against a real server on loopback."""

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from lading.errors import Conflict, DeadlineExceeded, NotFound, RemoteError, ServiceUnreachable
from lading.http import Client
from lading.wait import Deadline

Script = list[tuple[int, bytes]]


@pytest.fixture
def serve() -> Iterator[Callable[[Script], tuple[str, list[str]]]]:
    servers = []

    def start(script: Script) -> tuple[str, list[str]]:
        """A server that gives the answers of the script one after another, the last one again and again."""
        seen: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                seen.append(f"{self.command} {self.path}")
                status, body = script[min(len(seen), len(script)) - 1]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_busy_server_is_asked_again(serve: Callable[[Script], tuple[str, list[str]]]) -> None:
    url, seen = serve([(503, b"busy"), (429, b"slow down"), (200, b"{}")])
    assert Client(url).request("GET", "/a", deadline=Deadline.after(20)).json() == {}
    assert seen == ["GET /a"] * 3


def test_what_is_not_idempotent_is_sent_once(serve: Callable[[Script], tuple[str, list[str]]]) -> None:
    url, seen = serve([(503, b"busy"), (200, b"{}")])
    with pytest.raises(RemoteError, match="503 busy") as caught:
        Client(url).request("POST", "/a", deadline=Deadline.after(20))
    assert (caught.value.status, seen) == (503, ["POST /a"])


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (409, Conflict), (412, Conflict), (400, RemoteError), (403, RemoteError)]
)
def test_a_refusal_is_final_and_in_the_servers_words(
    serve: Callable[[Script], tuple[str, list[str]]], status: int, kind: type[Exception]
) -> None:
    url, seen = serve([(status, json.dumps({"error": {"message": "because of this"}}).encode())])
    with pytest.raises(kind, match=rf"GET {url}/a: {status} because of this"):
        Client(url).request("GET", "/a", deadline=Deadline.after(20))
    assert len(seen) == 1


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ServiceUnreachable, match="is it running"):
        Client(f"http://127.0.0.1:{port}").request("GET", "/", deadline=Deadline.after(0.3))


def test_an_answer_that_does_not_come_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DeadlineExceeded, match="no answer within"):
            Client(url).request("GET", "/", deadline=Deadline.after(0.3))
