"""The echo limit: lading's web server and JSON parser, no model, one canned answer: ``echo.py PORT ANSWER_FILE``.

What this answers in a second is what a model of no cost would reach behind the same web server: the body is read and
parsed, and nothing is done with it.
"""

import asyncio
import socket
import sys
from pathlib import Path

import simdjson

from lading.serving.answers import Answer
from lading.serving.exchange import Exchange
from lading.serving.listener import Listener


class Echo:
    def __init__(self, answer: bytes) -> None:
        self._answer = Answer(answer)
        self._parser = simdjson.Parser()

    def answer_at_once(self, exchange: Exchange) -> Answer:
        self._parser.parse(exchange.body)
        return self._answer

    async def answer(self, exchange: Exchange) -> None:
        self._parser.parse(await exchange())
        exchange.send(self._answer)


async def main(port: int, answer: bytes) -> None:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    Listener(Echo(answer), said={}, most_connections=1024).start(bound)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
