"""A sample of requests and their answers, as JSON Lines in a file: to look at, to replay, to train on."""

import base64
import json
import os
import queue
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import orjson

from lading.errors import InvalidInput, StorageError
from lading.serving.log import log

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""So many bytes of requests and answers may wait for the disk; what comes when they are full is dropped."""
MAX_WAITING = 10_000
MAX_PARSED_BYTES = 1024 * 1024
"""A longer body goes into the file as base64: to check that it is JSON would hold up every thread of Python."""
CLOSE_SECONDS = 5.0
"""How long closing waits for the disk."""


@dataclass(frozen=True)
class Exchange:
    """A request and its answer."""

    model: str
    version: int
    path: str
    """Of the request; over gRPC the full name of the method."""
    request: bytes
    """The body, as it came."""
    response: bytes
    """The body, as it was sent."""
    status: int
    """HTTP's, also over gRPC."""
    seconds: float
    request_id: str
    signature: str = ""
    """If known."""
    time: datetime = field(default_factory=lambda: datetime.now(UTC))


class RequestLog:
    """Writes exchanges to a file in a thread of its own; ``close`` it at the end. Thread-safe.

    Each line is a JSON object: ``time``, ``model``, ``version``, ``signature`` (if known), ``path``, ``request``,
    ``status``, ``response``, ``seconds``, ``request_id``. A body that is no JSON (NaN tokens, protobuf) or is longer
    than ``MAX_PARSED_BYTES`` is in ``request_b64`` or ``response_b64`` instead. The file holds what clients sent, and
    is made for its owner only.

    Args:
        path: Appended to.
        rate: The share of exchanges to write, 0 to 1.

    Attributes:
        dropped: How many were to be written and were not, because the disk was too slow or failed.

    Raises:
        InvalidInput: a rate outside of 0 to 1.
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, rate: float) -> None:
        if not 0 <= rate <= 1:
            raise InvalidInput(f"expected a rate of the request log from 0 to 1, received {rate}")
        self.dropped = 0
        self._path, self._rate = path, rate
        self._numbers = count()
        self._queue: queue.SimpleQueue[Exchange | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._waiting_bytes = 0
        self._closed = False
        self._has_failed = False
        self._cut = False
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot open the request log {path}: {error.strerror}") from error
        self._writer = threading.Thread(target=self._work, name="request-log", daemon=True)
        self._writer.start()

    def wants(self) -> bool:
        """Whether the next exchange is of the sample: at a rate of 0.01 the first, the 101st, the 201st, …; cheap."""
        number = next(self._numbers)  # atomic
        return int(number * self._rate) != int((number - 1) * self._rate) if number else self._rate > 0

    def write(self, exchange: Exchange) -> bool:
        """Hand an exchange to the writer; never waits, never fails. False if there is no room for it."""
        size = len(exchange.request) + len(exchange.response)
        with self._lock:
            full = self._waiting >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES
            if full or self._closed:
                self.dropped += 1
                return False
            self._waiting += 1
            self._waiting_bytes += size
            self._queue.put(exchange)
        return True

    def close(self) -> None:
        """Write what waits, if the disk lets it, and close the file."""
        with self._lock:
            self._closed = True
        self._queue.put(None)
        self._writer.join(CLOSE_SECONDS)

    def _work(self) -> None:
        while (exchange := self._queue.get()) is not None:
            try:
                self._append(_line(exchange))
            except OSError as error:
                self._fail(error)
            with self._lock:
                self._waiting -= 1
                self._waiting_bytes -= len(exchange.request) + len(exchange.response)
        os.close(self._file)

    def _append(self, line: bytes) -> None:
        if self._cut:
            line = b"\n" + line  # a full disk cut the last line: it stays alone
        written = os.write(self._file, line)
        self._cut = written < len(line)
        if self._cut:
            raise OSError(0, f"{written} of {len(line)} bytes were written")

    def _fail(self, error: OSError) -> None:
        with self._lock:
            self.dropped += 1
        if not self._has_failed:
            self._has_failed = True
            log("request log failed", severity="ERROR", path=str(self._path), error=error.strerror or str(error))


def _line(exchange: Exchange) -> bytes:
    """One line: the bodies are put in as they are, so that every digit stays."""
    head: dict[str, object] = {
        "time": exchange.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "model": exchange.model,
        "version": exchange.version,
        **({"signature": exchange.signature} if exchange.signature else {}),
        "path": exchange.path,
        "status": exchange.status,
        "seconds": round(exchange.seconds, 6),
        "request_id": exchange.request_id,
    }
    bodies = b",".join((_member("request", exchange.request), _member("response", exchange.response)))
    return json.dumps(head)[:-1].encode() + b"," + bodies + b"}\n"


def _member(name: str, body: bytes) -> bytes:
    if len(body) <= MAX_PARSED_BYTES:
        with suppress(orjson.JSONDecodeError):
            orjson.loads(body)
            # Line breaks between JSON's tokens mean nothing; inside of texts they are escaped.
            return f'"{name}":'.encode() + body.replace(b"\n", b" ").replace(b"\r", b" ")
    return f'"{name}_b64":"'.encode() + base64.b64encode(body) + b'"'
