"""``lading serve`` as a process, asked by sockets: what is no good HTTP, what is slow, what breaks off."""

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from raw_http import MIXED, Connection, head, request
from served import Served, serving

SAME = {"signature_name": "same", "inputs": "a"}


@pytest.fixture(scope="module")
def served(mixed_model: Path) -> Iterator[Served]:
    words = (f"mixed={mixed_model}", "--port", "0", "--grpc-port", "off", "--max-body-bytes", "200000")
    with serving(*words) as made:
        yield made


@pytest.fixture(autouse=True)
def well_afterwards(served: Served) -> Iterator[None]:
    """Whatever a test did, the server is well, holds nothing of it, and no request failed inside."""
    yield
    assert served.post(MIXED, SAME).json() == {"outputs": "a"}
    assert served.process.poll() is None
    assert [line for line in served.lines if line["severity"] == "ERROR"] == []


def everything(served: Served, *parts: bytes, pause: float = 0.0, half_close: bool = False) -> bytes:
    """All that the server sends until it closes the connection, or has been silent for a while."""
    found = b""
    with Connection(served.port, seconds=2.0) as connection:
        try:
            for part in parts:
                connection.send(part)
                time.sleep(pause)
            if half_close:
                connection.socket.shutdown(socket.SHUT_WR)
            while part := connection.socket.recv(65536):
                found += part
        except (TimeoutError, ConnectionError):
            pass
    return found


def statuses(sent: bytes) -> list[int]:
    """The statuses of the answers in what was sent; each has to be whole."""
    found = []
    while sent:
        line, _, rest = sent.partition(b"\r\n")
        version, status, *_ = line.split(b" ")
        assert version in (b"HTTP/1.1", b"HTTP/1.0")
        head_, end, rest = rest.partition(b"\r\n\r\n")
        assert end
        headers = dict(line.lower().split(b": ", 1) for line in head_.split(b"\r\n") if line)
        length = int(headers.get(b"content-length", b"0"))
        assert len(rest) >= length, "the answer is not whole"
        found.append(int(status))
        sent = rest[length:]
    return found


CLOSE = {"connection": "close"}


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n" + request(SAME, **CLOSE),
        request(SAME, **CLOSE).replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(SAME, **CLOSE).replace(b"host: a\r\n", b"HOST:a\r\n"),
        request(SAME, **CLOSE, path=f"http://somewhere{MIXED}"),
        request(SAME, **CLOSE, upgrade="websocket"),
        request(SAME, **CLOSE, x_odd="\xff"),
        # Java's client asks for HTTP/2 in this way with every request.
        request(SAME, connection="upgrade, http2-settings", upgrade="h2c", http2_settings="AAMAAABkAAQAoAAA") * 2,
        head(transfer_encoding="chunked", **CLOSE)
        + b"%x;name=value\r\n%s\r\n0\r\ntrailer: x\r\n\r\n" % (len(json.dumps(SAME)), json.dumps(SAME).encode()),
        head(expect="100-continue", content_length=str(len(json.dumps(SAME))), **CLOSE) + json.dumps(SAME).encode(),
    ],
    ids=["blank-lines", "1.0", "names", "whole-url", "upgrade", "latin-1", "h2c-upgrade", "chunked", "expect"],
)
def test_unusual_requests_are_answered(served: Served, sent: bytes) -> None:
    answers = everything(served, sent)
    assert statuses(answers)[-1] == 200, answers
    assert b'"a"' in answers


def test_a_request_in_single_bytes(served: Served) -> None:
    sent = request(SAME, **CLOSE)
    assert statuses(everything(served, *[sent[at : at + 1] for at in range(len(sent))])) == [200]


def test_who_asks_whether_to_send_is_told_so(served: Served) -> None:
    body = json.dumps({"signature_name": "same", "inputs": "x" * 50_000}).encode()
    with Connection(served.port) as connection:
        connection.send(head(expect="100-continue", content_length=str(len(body))))
        assert connection.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert connection.ask(body).status == 200
        # A body that is too long is refused without being sent.
        connection.send(head(expect="100-continue", content_length="300000"))
        assert connection.answer().status == 413


def test_requests_that_do_not_wait_for_answers_are_answered_in_order(served: Served) -> None:
    texts = [f"text {number}" for number in range(40)]
    # Slow and quick ones, so that the later would be ready before the earlier.
    bodies = [{"signature_name": "same", "inputs": text} for text in texts]
    bodies[0] = {"signature_name": "spin", "inputs": 2000}
    with Connection(served.port) as connection:
        connection.send(b"".join(request(body) for body in bodies))
        connection.send(request(method="GET", path="/v1/models/nope"))
        file = connection.socket.makefile("rb")
        found = []
        for _ in range(len(bodies) + 1):
            status = int(file.readline().split()[1])
            length = 0
            while (line := file.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            found.append((status, json.loads(file.read(length))))
    assert found[0] == (200, {"outputs": 2000})
    assert found[1:-1] == [(200, {"outputs": text}) for text in texts[1:]]
    assert found[-1][0] == 404


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,  # TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost a\r\n\r\n",
        b"GET / HTTP/1.1\r\n host: a\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n",
        head(content_length="x"),
        head(content_length="-1"),
        head(content_length="1, 2"),
        head(content_length="3") [:-2] + b"content-length: 5\r\n\r\nabcde",
        head(content_length="9" * 30),
        head(transfer_encoding="chunked") + b"zz\r\n",
        head(transfer_encoding="chunked") + b"-1\r\n",
        head(transfer_encoding="chunked") + b"f" * 20 + b"\r\n",
        head(transfer_encoding="chunked, identity") + b"x",
        head(transfer_encoding="gzip"),
        head(transfer_encoding="chunked", content_length="3") + b"abc",
        b"a" * 1_000_000,
        b"GET /" + b"a" * 1_000_000,
        b"GET / HTTP/1.1\r\n" + b"x: " + b"a" * 1_000_000,
        b"GET / HTTP/1.1\r\n" + b"x: a\r\n" * 200_000,
        head("/v1/models/" + "m" * 300_000 + ":predict"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_the_connection_closed(served: Served, sent: bytes) -> None:
    with Connection(served.port, seconds=15) as connection:
        try:
            connection.send(sent)
        except ConnectionError:
            return  # closed while it was being sent
        try:
            answer = b""
            while part := connection.socket.recv(65536):
                answer += part
        except ConnectionResetError:
            return
    # HTTP/2 is answered in its own frames, or as what it looks like to HTTP/1.1.
    if not sent.startswith(b"PRI") or answer.startswith(b"HTTP/1.1"):
        assert [status // 100 for status in statuses(answer)] in ([], [4], [5])
        assert statuses(answer) != [500]


def test_a_good_request_before_a_bad_one_is_answered(served: Served) -> None:
    spin = request({"signature_name": "spin", "inputs": 500})
    for good in (request(SAME), spin, spin + request(SAME)):
        found = statuses(everything(served, good + b"nonsense\r\n\r\n"))
        assert found[:2] in ([200], [200, 400], [200, 200])
        assert found.count(200) == good.count(b"HTTP/1.1")


def test_who_has_nothing_more_to_send_gets_all_answers(served: Served) -> None:
    assert statuses(everything(served, request(SAME) * 50, half_close=True)) == [200] * 50


@pytest.mark.parametrize("close", ["close", "reset", "half-close"])
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"PO",
        head()[:-2],
        head(content_length="100"),
        head(content_length="100") + b"{",
        head(content_length="150000") + b"{" * 100_000,
        head(transfer_encoding="chunked"),
        head(transfer_encoding="chunked") + b"5\r\nabc",
        request({"signature_name": "spin", "inputs": 3000}),
        request({"signature_name": "same", "inputs": "x" * 100_000}),
        request(SAME) * 50,
    ],
    ids=lambda sent: f"{len(sent)} bytes",
)
def test_clients_may_leave_at_any_time(served: Served, sent: bytes, close: str) -> None:
    with Connection(served.port, seconds=10) as connection:
        connection.send(sent)
        if close == "reset":
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif close == "half-close":
            connection.socket.shutdown(socket.SHUT_WR)
            answers = b""
            while part := connection.socket.recv(65536):  # the server closes it too
                answers += part
            assert 500 not in statuses(answers)


def test_who_is_slow_holds_up_nobody(served: Served) -> None:
    slow = [Connection(served.port) for _ in range(200)]
    try:
        whole = request(SAME)
        cut = [whole[: number % len(whole)] for number in range(len(slow))]
        for connection, begun in zip(slow, cut, strict=True):
            connection.send(begun)
        for _ in range(20):
            assert served.get("/v2/health/ready").ok
            assert served.post(MIXED, SAME).ok
        # They were not forgotten either.
        for connection, begun in zip(slow, cut, strict=True):
            assert connection.ask(whole[len(begun) :]).status == 200
    finally:
        for connection in slow:
            connection.socket.close()


def test_who_does_not_read_holds_up_nobody(served: Served) -> None:
    long = request({"signature_name": "same", "inputs": ["x" * 1000] * 150})
    deaf = [Connection(served.port, receive_buffer=4096) for _ in range(20)]
    try:
        for connection in deaf:
            connection.socket.settimeout(0.2)
            with contextlib.suppress(TimeoutError):  # the server does not take more than it can answer
                connection.send(long * 20)
        for _ in range(20):
            assert served.post(MIXED, SAME).ok
    finally:
        for connection in deaf:
            connection.socket.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND"])
def test_every_method_is_answered_on_every_path(served: Served, method: str) -> None:
    paths = (
        "/",
        MIXED,
        "/v1/models/mixed",
        "/v1/x",
        "/v2/models/mixed/infer",
        "/v2/health/ready",
        "/metrics",
        "/x",
        "*",
    )
    for path in paths:
        for body in (None, b"{}", b"\xff"):
            with Connection(served.port) as connection:
                connection.send(request(body, path, method=method))
                if method == "HEAD":
                    found = connection.socket.recv(65536)
                    assert found.endswith(b"\r\n\r\n"), found
                    assert found.split()[1][:1] in (b"2", b"4"), found
                    continue
                answer = connection.answer()
                assert answer.status < 500 or answer.status == 501, (method, path)


def test_many_at_once(served: Served) -> None:
    def ask(number: int) -> str:
        with requests.Session() as session:
            body = {"signature_name": "same", "inputs": str(number)}
            return "".join(session.post(served.url + MIXED, json=body, timeout=60).json()["outputs"] for _ in range(5))

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, range(100))) == [str(number) * 5 for number in range(100)]
