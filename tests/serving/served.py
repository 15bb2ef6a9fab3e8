"""``lading serve`` as a process, for tests that ask it over HTTP and gRPC."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from model_places import until


class Served:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, lines: list[dict[str, Any]]) -> None:
        self.process, self.lines = process, lines
        """``lines``: of its log, also those that are still to come."""
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return requests.post(self.url + path, data=data, timeout=60, **options)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=10)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=10, **options)

    def logged(self, message: str) -> dict[str, Any]:
        """The first line of the log with this message, once it is there."""
        until(lambda: any(line["message"] == message for line in self.lines))
        return next(line for line in self.lines if line["message"] == message)

    def metric(self, name: str) -> float:
        """The sum of a metric over all its labels; 0 while nothing was counted."""
        lines = [line for line in self.get("/metrics").text.splitlines() if line.startswith((name + "{", name + " "))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


@contextmanager
def serving(*words: str, prefix: Sequence[str] = (), **environ: str) -> Iterator[Served]:
    """A server that listens; ``prefix`` comes before its command."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "lading", "serve", *words, "--host", "127.0.0.1"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    rest: threading.Thread | None = None
    try:
        assert process.stderr is not None
        lines: list[dict[str, Any]] = []
        for text in process.stderr:
            if not text.startswith("{"):  # TensorFlow's C library has two lines of its own, which nothing turns off
                continue
            lines.append(json.loads(text))
            if lines[-1]["message"] == "listening":
                break
        else:
            pytest.fail("it ended before it listened")
        rest = threading.Thread(target=_read_on, args=(process.stderr, lines))
        rest.start()
        yield Served(process, lines[-1]["port"], lines)
    finally:
        process.kill()
        process.wait()
        if rest is not None:
            rest.join()
        if process.stderr is not None:
            process.stderr.close()


def _read_on(stderr: Any, lines: list[dict[str, Any]]) -> None:
    for text in stderr:
        if text.startswith("{"):
            lines.append(json.loads(text))
