"""Whole runs on this machine, for tests: rows of images, and the run itself."""

import json
from pathlib import Path

import numpy as np

from lading.batch.job import BatchJob
from lading.batch.model import OpenModel
from lading.batch.options import BatchOptions
from lading.batch.run import run_batch
from lading.batches import BatchReport


def images_of(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28))


def image_rows(count: int, *, seed: int = 0) -> bytes:
    """Images for the model ``mlp``, as JSON Lines."""
    return b"".join(json.dumps(image.tolist()).encode() + b"\n" for image in images_of(count, seed=seed))


def write_images(path: Path, count: int, *, seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_rows(count, seed=seed))
    return images_of(count, seed=seed)


def run(opened: OpenModel, source: Path | str, output: Path, **options: object) -> BatchReport:
    job = {name: options.pop(name) for name in ("max_bad_rows", "errors", "restart", "keep_notes") if name in options}
    told = BatchOptions(**options)  # type: ignore[arg-type]
    return run_batch(BatchJob((str(source),), str(output), told, **job), opened.model, opened.digest)  # type: ignore[arg-type]


def rows_of(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_text().splitlines()]
