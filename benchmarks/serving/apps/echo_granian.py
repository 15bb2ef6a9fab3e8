"""Another echo, behind granian (Rust) in place of lading's web server: ``echo_granian.py PORT ANSWER_FILE``."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import simdjson
from granian.constants import Interfaces
from granian.server.embed import Server

HEADERS = [("content-type", "application/json")]


class Echo:
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._parser = simdjson.Parser()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        self._parser.parse(await protocol())
        protocol.response_bytes(200, HEADERS, self._answer)


async def main(port: int, answer: bytes) -> None:
    server = Server(
        Echo(answer),
        address="127.0.0.1",
        port=port,
        interface=Interfaces.RSGI,
        websockets=False,
        backlog=1024,
        log_enabled=False,
    )
    await server.serve()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
