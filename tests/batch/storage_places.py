"""Places that a run writes to, for tests: a directory, the project's own server of Cloud Storage, and another one."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.storage_server import Storage
from gcp_storage_emulator.server import Server as Emulator
from gcp_storage_emulator.server import create_server

from lading import buckets
from lading.batch.bucket_outputs import BucketOutputs
from lading.batch.files import Outputs
from lading.batch.local_outputs import LocalOutputs

LEASE_SECONDS = 1.5
KINDS = ("directory", "bucket", "emulator")
"""The emulator (gcp-storage-emulator) ignores preconditions, so that it keeps no two writers apart."""


@dataclass
class Place:
    uri: str
    server: Storage | None = None

    def outputs(self, *, patience_seconds: float = 20.0, lease_seconds: float = LEASE_SECONDS) -> Outputs:
        if self.uri.startswith("gs://"):
            return BucketOutputs(self.uri, patience_seconds=patience_seconds, lease_seconds=lease_seconds)
        return LocalOutputs(Path(self.uri))


@contextlib.contextmanager
def open_emulator() -> Iterator[Emulator]:
    """On a free port; its bucket is ``b``."""
    emulator = create_server("127.0.0.1", 0, in_memory=True, default_bucket="b")
    emulator.start()
    try:
        yield emulator
    finally:
        emulator.stop()


@contextlib.contextmanager
def open_place(
    kind: str, directory: Path, monkeypatch: pytest.MonkeyPatch, *, emulator: Emulator | None = None
) -> Iterator[Place]:
    if kind == "directory":
        yield Place(str(directory / "out"))
    elif kind == "bucket":
        server = Storage(buckets={"b": {}})
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        try:
            with buckets.kept():
                yield Place("gs://b/out", server)
        finally:
            server.close()
    else:
        assert emulator is not None
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{emulator._api._httpd.server_port}")
        with buckets.kept():
            yield Place("gs://b/out")
        emulator.wipe(keep_buckets=True)
