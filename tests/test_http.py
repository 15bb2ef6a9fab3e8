"""The HTTP client against a real server on loopback."""

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate

import pytest

from lading.errors import Conflict, DeadlineExceeded, NotFound, RemoteError, ServiceUnreachable
from lading.http import Client
from lading.wait import Deadline

Script = list[tuple[int, bytes] | tuple[int, bytes, dict[str, str]]]


@pytest.fixture
def serve() -> Iterator[Callable[[Script], tuple[str, list[str]]]]:
    servers = []

    def start(script: Script) -> tuple[str, list[str]]:
        """A server that gives the answers of the script one after another, the last one again and again."""
        seen: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                seen.append(f"{self.command} {self.path}")
                status, body, *more = script[min(len(seen), len(script)) - 1]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **(more[0] if more else {})}.items():
                    self.send_header(name, value)
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


def test_a_post_that_says_so_is_sent_again(serve: Callable[[Script], tuple[str, list[str]]]) -> None:
    url, seen = serve([(503, b"busy"), (200, b"{}")])
    assert Client(url).request("POST", "/a", deadline=Deadline.after(20), repeatable=True).json() == {}
    assert seen == ["POST /a"] * 2


def test_an_answer_that_breaks_off_is_asked_for_again(serve: Callable[[Script], tuple[str, list[str]]]) -> None:
    url, seen = serve([(200, b"hal", {"Content-Length": "9", "Connection": "close"}), (200, b"whole")])
    assert Client(url).request("GET", "/a", deadline=Deadline.after(20)).content == b"whole"
    assert len(seen) == 2


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_names_a_time_is_not_asked_earlier(
    serve: Callable[[Script], tuple[str, list[str]]], form: str
) -> None:
    began = time.time()
    asked = "1" if form == "seconds" else formatdate(began + 2, usegmt=True)  # a date has whole seconds
    url, _ = serve([(429, b"", {"Retry-After": asked}), (200, b"{}")])
    Client(url).request("GET", "/a", deadline=Deadline.after(20))
    assert time.time() - began >= 1
    url, seen = serve([(503, b"later", {"Retry-After": "3600"})])
    with pytest.raises(RemoteError, match="later"):  # at once: it would be too late
        Client(url).request("GET", "/a", deadline=Deadline.after(20))
    assert len(seen) == 1


def test_no_message_shows_what_follows_the_question_mark(serve: Callable[[Script], tuple[str, list[str]]]) -> None:
    url, _ = serve([(403, b'{"errors": [{"code": "DENIED", "message": "not you"}]}')])
    with pytest.raises(RemoteError, match=rf"GET {url}/a: 403 not you") as refused:
        Client(url).request("GET", "/a?signature=hush", deadline=Deadline.after(5))
    assert "hush" not in str(refused.value)
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ServiceUnreachable) as unreachable:
        Client(nobody).request("GET", "/a?signature=hush", deadline=Deadline.after(0.2))
    assert "hush" not in str(unreachable.value)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ServiceUnreachable, match="is it running"):
        Client(f"http://127.0.0.1:{port}").request("GET", "/", deadline=Deadline.after(0.3))


def test_an_answer_that_does_not_come_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.[3-9] s"):
            Client(url).request("GET", "/", deadline=Deadline.after(0.3))
        with pytest.raises(DeadlineExceeded, match=r"GET .*: the time was over before it was asked"):
            Client(url).request("GET", "/", deadline=Deadline.after(0))


def test_what_the_server_did_not_act_on_is_sent_again_whatever_it_is(
    serve: Callable[[Script], tuple[str, list[str]]],
) -> None:
    url, seen = serve([(429, b"", {"Retry-After": "1"}), (200, b"{}")])
    Client(url).request("POST", "/a", deadline=Deadline.after(20))
    assert seen == ["POST /a"] * 2
    url, seen = serve([(429, b"", {"Retry-After": "1"}), (200, b"{}")])
    with pytest.raises(RemoteError, match="429"):
        Client(url).request("POST", "/a", deadline=Deadline.after(20), retry=False)
    assert len(seen) == 1


def test_what_is_wrong_with_each_field_is_told(serve: Callable[[Script], tuple[str, list[str]]]) -> None:
    details = [{"@type": "…", "fieldViolations": [{"field": "spec.a", "description": "should be empty"}]}, {}]
    url, _ = serve([(400, json.dumps({"error": {"message": "it has errors", "details": details}}).encode())])
    with pytest.raises(RemoteError, match=r"400 it has errors; spec\.a: should be empty"):
        Client(url).request("GET", "/a", deadline=Deadline.after(20))
