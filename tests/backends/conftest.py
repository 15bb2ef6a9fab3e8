"""``tiny_pipeline.py``, compiled; and a Vertex AI that runs it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.storage_server import Storage
from fakes.vertex_server import VertexServer

from lading.spec.ir import Pipeline

PROGRAM = Path(__file__).parent.parent / "tiny_pipeline.py"


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    subprocess.run([sys.executable, "-W", "ignore", PROGRAM, out], check=True, timeout=60)
    return out


@pytest.fixture(scope="session")
def tiny(tiny_file: Path) -> Pipeline:
    return Pipeline.load(tiny_file)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    server = Storage()
    server.buckets["bucket"] = {}
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "proj")
    yield server
    server.close()


@pytest.fixture
def server(tmp_path: Path, storage: Storage) -> Iterator[VertexServer]:
    made = VertexServer(tmp_path / "vertex", os.environ)
    yield made
    made.close()
