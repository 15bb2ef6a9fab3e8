"""``lading batch-service`` as a process, and its storage, for tests that ask it over HTTP."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import requests
from fakes.storage_faults import Fault
from fakes.storage_server import Storage
from listening import Listening, listening, until

ROW = json.dumps(np.arange(784).reshape(28, 28).tolist()).encode() + b"\n"


class BatchServer(Listening):
    """A service that runs."""

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


@contextmanager
def batch_service(*words: str, **environ: str) -> Iterator[BatchServer]:
    """A service that listens."""
    with listening("batch-service", *words, **{"PORT": "0", **environ}) as found:
        yield BatchServer(found.process, found.port, found.lines)


def put_tree(storage: Storage, directory: Path, name: str) -> None:
    """Put what is below a directory into the bucket of the models."""
    for path in directory.rglob("*"):
        if path.is_file():
            storage.put("models", f"{name}/{path.relative_to(directory).as_posix()}", path.read_bytes())


def content(storage: Storage, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """What is in a bucket, by name."""
    return {name: blob.content for name, blob in storage.buckets[bucket].items() if name.startswith(prefix)}


class Slow:
    """While it lasts reading some objects takes long."""

    def __init__(self, storage: Storage, name: str, seconds: float = 0.3) -> None:
        self.storage = storage
        self.fault = Fault("GET", f"/download/storage/v1/b/{name}", times=10**6, seconds=seconds)

    def __enter__(self) -> "Slow":
        self.storage.faults.append(self.fault)
        return self

    def __exit__(self, *_: object) -> None:
        self.storage.faults.remove(self.fault)
