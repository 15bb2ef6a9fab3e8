"""Storage, Vertex AI, an image and rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.storage_server import Storage
from fakes.vertex_jobs import VertexBatchServer
from tiny_server import make_image
from vertex_asking import ENDPOINT, lines

from lading.local.state import Layout
from lading.oci.layout import ImageStore


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    server = Storage(buckets={"data": {}, "out": {}})
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    yield server
    server.close()


@pytest.fixture
def server(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexBatchServer]:
    root = tmp_path / "lading" / "local"
    root.mkdir(parents=True)
    made = VertexBatchServer(root, root / "served", storage)
    monkeypatch.setenv(ENDPOINT, made.url)
    yield made
    made.close()


@pytest.fixture
def image(server: VertexBatchServer, tmp_path: Path) -> str:
    return make_image(ImageStore(Layout(server.images).images), tmp_path / "made", answer=[0.25, 0.75])[0]


@pytest.fixture
def rows(storage: Storage) -> list[dict[str, Any]]:
    """Five rows in two files, one of them in a folder."""
    rows = [{"id": f"r{number}", "x": number / 2, "y": 1.0} for number in range(5)]
    storage.put("data", "in/a.jsonl", lines(rows[:3]))
    storage.put("data", "in/more/b.jsonl", lines(rows[3:]))
    return rows
