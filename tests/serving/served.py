"""``lading serve`` as a process, for tests that ask it over HTTP and gRPC."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests


class Served:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, lines: list[dict[str, Any]]) -> None:
        self.process, self.lines = process, lines
        self.url = f"http://127.0.0.1:{port}"

    def post(self, path: str, body: Any) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return requests.post(self.url + path, data=data, timeout=60)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=10)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=10, **options)


@contextmanager
def serving(*words: str, **environ: str) -> Iterator[Served]:
    process = subprocess.Popen(
        [sys.executable, "-m", "lading", "serve", *words, "--host", "127.0.0.1"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    try:
        assert process.stderr is not None
        lines = []
        for text in process.stderr:
            if not text.startswith("{"):  # TensorFlow's C library has two lines of its own, which nothing turns off
                continue
            lines.append(json.loads(text))
            if lines[-1]["message"] == "listening":
                break
        else:
            pytest.fail("it ended before it listened")
        yield Served(process, lines[-1]["port"], lines)
    finally:
        process.kill()
        process.communicate()
