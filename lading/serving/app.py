"""The web application, in granian's own interface (RSGI): reads requests, keeps the event loop free, writes answers."""

import asyncio
import time
from concurrent.futures import Executor
from typing import Any

from lading.serving import rest
from lading.serving.config import ServeConfig
from lading.serving.errors import CONTENT_TOO_LARGE, Code
from lading.serving.log import log
from lading.serving.models import Models
from lading.serving.pace import Pace

_READ_ON = 4
"""A body that is too long is read and thrown away up to this many times the limit, so that a client which sends
before it reads gets the answer instead of a broken connection."""


class App:
    """Answers requests.

    Interface: https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md

    Attributes:
        running: How many requests are being answered.
    """

    def __init__(self, models: Models, config: ServeConfig, pool: Executor) -> None:
        self.running = 0
        self._models = models
        self._limit = config.max_body_bytes
        self._pool = pool
        self._pace = Pace()
        said = {"x-lading-revision": config.revision, "x-lading-model": config.model_diff_id}
        self._headers = [("content-type", "application/json"), *((key, text) for key, text in said.items() if text)]

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        self.running += 1
        try:
            answer = await self._answer(scope, protocol)
            protocol.response_bytes(answer.status, self._headers, answer.body)
        finally:
            self.running -= 1

    async def _answer(self, scope: Any, protocol: Any) -> rest.Answer:
        # The query string is part of the path, as in TensorFlow Serving.
        path = f"{scope.path}?{scope.query_string}" if scope.query_string else scope.path
        try:
            if scope.method == "GET":
                return rest.read(self._models, path)
            if scope.method != "POST":
                return rest.malformed(scope.method, path)
            body = await self._read(scope, protocol)
            if body is None:
                return rest.failure(CONTENT_TOO_LARGE, f"the request body is longer than {self._limit} bytes")
            return await self._predict(path, body)
        except Exception as error:
            # The last line of defence: the client learns that it failed, the log says why, the server lives on.
            log("request failed", severity="ERROR", method=scope.method, path=path, error=repr(error))
            return rest.failure(Code.INTERNAL.http, "internal error; the server's log says more")

    async def _predict(self, path: str, body: bytes) -> rest.Answer:
        started = time.perf_counter()
        if self._pace.is_quick(path, len(body)):
            answer = rest.predict(self._models, path, body)
        else:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._pool, rest.predict, self._models, path, body)
        if answer.status == 200:
            self._pace.record(path, time.perf_counter() - started)
        return answer

    async def _read(self, scope: Any, protocol: Any) -> bytes | None:
        """The body, or None if it is longer than the limit."""
        declared = scope.headers.get("content-length", "")
        if declared.isdigit() and int(declared) <= self._limit:
            body: bytes = await protocol()
            return body
        parts, size = [], 0
        async for part in protocol:
            size += len(part)
            if size <= self._limit:
                parts.append(part)
            else:
                parts.clear()
                if size > _READ_ON * self._limit:
                    break
        return None if size > self._limit else b"".join(parts)
