"""What happens to bytes between a client and a revision."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from tiny_target import Local, ask

from lading.local import ports
from lading.local.router import Router
from lading.wait import Deadline, poll


@pytest.fixture(scope="module")
def url(target: Local) -> str:
    found: str = target.apply(target.service("shop"))["status"]["url"]
    return found


@pytest.fixture
def raw(url: str) -> Iterator[socket.socket]:
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=15) as connection:
        yield connection


def test_a_connection_carries_many_requests_of_every_framing(url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=15)
    connection.connect()
    used = connection.sock
    big = b"x" * 3_000_000
    for body, headers in ((b"abc", {}), (big, {}), (iter([b"ab", b"cd"]), {"Transfer-Encoding": "chunked"})):
        connection.request("POST", "/", body, headers, encode_chunked=bool(headers))
        expected = 4 if headers else len(body)  # type: ignore[arg-type]
        assert json.loads(connection.getresponse().read())["received"] == expected
    assert connection.sock is used
    connection.close()


def test_an_answer_is_passed_on_as_it_comes(url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=15)
    connection.request("GET", "/stream")
    answer = connection.getresponse()

    assert answer.read(3) == b"one"
    assert not answer.isclosed()
    assert answer.read() == b"two"
    connection.close()


def test_hop_by_hop_fields_stay_and_the_client_is_named(url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=15)
    connection.request("GET", "/", headers={"Connection": "keep-alive, X-Mine", "X-Mine": "1", "X-Other": "2"})
    headers = json.loads(connection.getresponse().read())["headers"]
    connection.close()

    assert "x-mine" not in headers
    assert headers["x-other"] == "2"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"


def test_a_slow_client_holds_up_nobody(url: str, raw: socket.socket) -> None:
    raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")

    assert ask(url)["revision"] == "shop-00001"


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(raw: socket.socket, head: bytes) -> None:
    raw.sendall(head)

    assert raw.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_goes_away_in_the_middle_of_a_body_leaves_nothing_in_flight(free_router: Router) -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend:
        front = ports.pick()
        free_router.route(front, {"r": 100})
        free_router.up("r", backend.getsockname()[1])
        with socket.create_connection(("127.0.0.1", front)) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
            accepted, _ = backend.accept()  # it waits for the rest and never answers
            assert free_router.in_flight("r") == 1
        with accepted:
            poll(
                lambda: True if free_router.in_flight("r") == 0 else None,
                deadline=Deadline.after(5),
                what="the request to be given up",
            )


def test_a_request_waits_for_a_revision_that_comes_back(free_router: Router) -> None:
    front = ports.pick()
    free_router.route(front, {"r": 100})
    with socket.create_connection(("127.0.0.1", front), timeout=15) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        with socket.create_server(("127.0.0.1", 0)) as backend:
            free_router.up("r", backend.getsockname()[1])
            accepted, _ = backend.accept()
            with accepted:
                accepted.recv(4096)
                accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")


@pytest.fixture
def free_router() -> Iterator[Router]:
    router = Router()
    yield router
    router.stop()


def read_head(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got and (piece := connection.recv(4096)):
        got += piece
    return got


def begin_answer(router: Router, client: socket.socket, backend: socket.socket, begin: bytes) -> socket.socket:
    """Ask for something, and have the revision begin its answer; returns the revision's connection."""
    router.up("r", backend.getsockname()[1])
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    accepted, _ = backend.accept()
    read_head(accepted)
    accepted.sendall(b"HTTP/1.1 200 OK\r\n" + begin)
    return accepted


def test_a_large_answer_is_passed_on_as_it_comes(free_router: Router) -> None:
    front = ports.pick()
    free_router.route(front, {"r": 100})
    with socket.create_server(("127.0.0.1", 0)) as backend, socket.create_connection(("127.0.0.1", front)) as client:
        client.settimeout(15)
        with begin_answer(free_router, client, backend, b"Content-Length: 1000000\r\n\r\nbegin") as revision:
            got = b""
            while not got.endswith(b"begin"):
                got += client.recv(4096)
            revision.sendall(b"x" * 999_995)
            left = 999_995
            while left:
                left -= len(client.recv(65536))


def test_of_a_small_answer_that_breaks_off_the_client_gets_nothing_and_may_ask_again(free_router: Router) -> None:
    front = ports.pick()
    free_router.route(front, {"r": 100})
    with socket.create_server(("127.0.0.1", 0)) as backend, socket.create_connection(("127.0.0.1", front)) as client:
        client.settimeout(15)
        begin_answer(free_router, client, backend, b"Content-Length: 10\r\n\r\nhalf").close()
        with pytest.raises(ConnectionResetError):
            client.recv(4096)
        poll(
            lambda: free_router.counts("r").by_class[5] or None,
            deadline=Deadline.after(5),
            what="the error to be counted",
        )


def test_a_revision_gets_no_more_requests_than_it_takes_and_the_others_wait_in_order(free_router: Router) -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend:
        backend.settimeout(10)
        front = ports.pick()
        free_router.limit("r", concurrency=1, seconds=60)
        free_router.route(front, {"r": 100})
        free_router.up("r", backend.getsockname()[1])
        clients = [socket.create_connection(("127.0.0.1", front), timeout=15) for _ in range(12)]
        for number, client in enumerate(clients[:11]):
            client.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
            poll(
                lambda n=number: True if free_router.in_flight("r") == n + 1 else None,
                deadline=Deadline.after(5),
                what="the request to arrive",
            )
        clients[11].sendall(b"GET /11 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert clients[11].recv(4096).startswith(b"HTTP/1.1 503 ")

        clients[3].close()  # it waits no more, and its request must not reach the revision
        for number in (0, 1, 2, 4, 5, 6, 7, 8, 9, 10):
            accepted, _ = backend.accept()
            with accepted:
                assert read_head(accepted).startswith(b"GET /%d " % number)
                accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                assert clients[number].recv(4096).startswith(b"HTTP/1.1 200 OK")
        for client in clients:
            client.close()


def test_a_request_that_takes_too_long_is_answered_for_the_revision(free_router: Router) -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend:
        front = ports.pick()
        free_router.limit("r", concurrency=0, seconds=0.3)
        free_router.route(front, {"r": 100})
        free_router.up("r", backend.getsockname()[1])
        with socket.create_connection(("127.0.0.1", front), timeout=15) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            accepted, _ = backend.accept()
            with accepted:
                assert client.recv(4096).startswith(b"HTTP/1.1 504 ")
                assert read_head(accepted).startswith(b"GET / ")
                assert accepted.recv(1) == b""
        assert free_router.in_flight("r") == 0
