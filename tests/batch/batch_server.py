"""``lading batch-service`` as a process, for tests that ask it over HTTP."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests


class BatchServer:
    """A service that runs."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, lines: list[dict[str, Any]]) -> None:
        self.process, self.port, self.lines = process, port, lines
        """``lines``: of its log, also those that are still to come."""
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=60, **options)

    def embedded(self, **query: str) -> requests.Response:
        """As a caller of embedded-tf asks: curl "$URL?model=…&input=…&output=…"."""
        return self.ask("GET", "/", params=query)

    def begin(self, **body: Any) -> requests.Response:
        headers = body.pop("headers", {})
        return self.ask("POST", "/v1/batches", json=body, headers=headers)

    def ended(self, id: str) -> dict[str, Any]:
        """A run, once it has ended."""
        until(lambda: self.get(id)["state"] not in ("queued", "running"))
        return self.get(id)

    def get(self, id: str) -> dict[str, Any]:
        found = self.ask("GET", f"/v1/batches/{id}")
        assert found.status_code == 200, found.text
        return dict(found.json())

    def metric(self, sample: str) -> float:
        lines = self.ask("GET", "/metrics").text.splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(sample + " ")))

    def logged(self, message: str, **fields: object) -> dict[str, Any]:
        """The first line of the log with this message and these fields, once it is there."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if line["message"] == message and fields.items() <= line.items()]

        until(lambda: bool(found()))
        return found()[0]


def until(probe: Callable[[], object], *, seconds: float = 60.0) -> None:
    """Wait for something that comes soon."""
    limit = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)


@contextmanager
def batch_service(*words: str, **environ: str) -> Iterator[BatchServer]:
    """A service that listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lading", "batch-service", "--host", "127.0.0.1", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PORT": "0", **environ},
    )
    rest: threading.Thread | None = None
    try:
        assert process.stderr is not None
        lines: list[dict[str, Any]] = []
        said = []
        for text in process.stderr:
            said.append(text)
            if not text.startswith("{"):
                continue
            lines.append(json.loads(text))
            if lines[-1]["message"] == "listening":
                break
        else:
            pytest.fail("it ended before it listened: " + "".join(said))
        rest = threading.Thread(target=_read_on, args=(process.stderr, lines))
        rest.start()
        yield BatchServer(process, lines[-1]["port"], lines)
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
        else:
            sys.stderr.write(text)
