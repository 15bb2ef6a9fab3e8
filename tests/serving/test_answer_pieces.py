"""Answers whose body is made while it is sent."""

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import pytest
from raw_http import Connection, head

from lading.serving.answers import Answer
from lading.serving.exchange import Exchange
from lading.serving.listener import Listener

PIECE = bytes(range(256)) * 256
MANY = 1000
"""Pieces that no buffer of the system holds."""


class Pieces:
    """An application: ``/many`` has a long body, ``/broken`` one that ends in an error."""

    def __init__(self) -> None:
        self.asked = 0
        self.ended = threading.Event()

    def answer_at_once(self, exchange: Exchange) -> Answer | None:
        return None

    async def answer(self, exchange: Exchange) -> None:
        try:
            async with aclosing(self.pieces(exchange.path)) as pieces:
                await exchange.stream(Answer(b"", content_type="text/plain"), pieces)
        except ValueError:
            exchange.send(Answer(b"too late"))

    async def pieces(self, path: str) -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(MANY):
                self.asked += 1
                yield PIECE
                if path == "/broken" and self.asked == 2:
                    raise ValueError("broken")
        finally:
            self.ended.set()


@pytest.fixture
def app() -> Iterator[tuple[Pieces, int]]:
    """The application, and its port."""
    made, bound = Pieces(), socket.socket()
    bound.bind(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    listener = Listener(made, said={"x-said": "always"}, most_connections=10)

    async def start() -> None:
        listener.start(bound)

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield made, bound.getsockname()[1]
    loop.call_soon_threadsafe(listener.close)
    asyncio.run_coroutine_threadsafe(asyncio.wait_for(listener.wait_empty(), 10), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_body_is_made_as_fast_as_it_is_read(app: tuple[Pieces, int]) -> None:
    pieces, port = app
    with Connection(port, receive_buffer=65536) as client:
        client.send(head("/many", method="GET"))
        before = -1
        while pieces.asked != before:  # until nothing moves any more
            before = pieces.asked
            time.sleep(0.2)
        assert 0 < before < MANY
        answer = client.answer()
    assert (answer.getheader("transfer-encoding"), answer.getheader("x-said")) == ("chunked", "always")
    assert answer.will_close
    assert answer.content == PIECE * MANY  # type: ignore[attr-defined]


def test_a_body_that_ends_in_an_error_is_seen_to_be_cut(app: tuple[Pieces, int]) -> None:
    with Connection(app[1]) as client:
        client.send(head("/broken", method="GET"))
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            client.answer()


def test_nothing_is_made_for_a_client_that_is_gone(app: tuple[Pieces, int]) -> None:
    pieces, port = app
    with Connection(port, receive_buffer=65536) as client:
        client.send(head("/many", method="GET"))
        assert client.socket.recv(1) == b"H"
    assert pieces.ended.wait(30)
    assert pieces.asked < MANY


def test_a_client_of_http_1_0_gets_the_bare_pieces(app: tuple[Pieces, int]) -> None:
    with Connection(app[1]) as client:
        client.send(b"GET /many HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: client.socket.recv(1 << 20), b""))
    answer, _, body = text.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in answer
    assert body == PIECE * MANY
