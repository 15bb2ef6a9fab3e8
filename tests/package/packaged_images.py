"""Bases in a registry, and images read back."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from fakes.registry import FakeRegistry
from soon import soon
from tiny_bases import put_base

from lading.oci.assemble import Base, read_base
from lading.oci.connect import open_place

ROOT = Path(__file__).parent.parent.parent
ENVIRON: dict[str, str] = {"HOME": "/nowhere"}


def base_in(registry: FakeRegistry, name: str = "bases/serving", **options: Any) -> str:
    """A base in the registry, by digest."""
    place = open_place(f"{registry.host}/{name}", environ=ENVIRON, writable=True)
    digest = put_base(place.store, **options)
    registry.requests.clear()
    registry.uploaded.clear()
    return f"{registry.host}/{name}@{digest}"


def read(image: str) -> Base:
    place = open_place(image, environ=ENVIRON)
    return read_base(place.store, place.wanted, deadline=soon())


def unpacked(image: str, number: int, to: Path) -> Path:
    """The files of a layer; negative numbers count from the top."""
    base = read(image)
    blob = b"".join(base.store.blob(base.image.layers[number].digest, deadline=soon()))
    to.mkdir()
    (to / "layer").write_bytes(blob)
    with tarfile.open(to / "layer") as tar:
        tar.extractall(to / "root", filter="data")
    return to / "root"


def lading(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    known = {**os.environ, "HOME": "/nowhere", **environ}
    return subprocess.run(
        [sys.executable, "-m", "lading", "package", *words], capture_output=True, text=True, check=False, env=known
    )
