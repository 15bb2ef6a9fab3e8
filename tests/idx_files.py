"""Writes small data sets in the format of Fashion-MNIST."""

import gzip
import struct
from pathlib import Path

import numpy as np

NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def images_file(images: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(">4I", 0x803, *images.shape) + images.tobytes(), mtime=0)


def labels_file(labels: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(">2I", 0x801, len(labels)) + labels.tobytes(), mtime=0)


def garments(rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright bar whose height tells the class: uint8 ``[rows, 28, 28]``, and labels ``[rows]``."""
    random = np.random.default_rng(seed)
    labels = (np.arange(rows) % 10).astype(np.uint8)
    images = random.integers(0, 60, (rows, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 2 * label : 5 + 2 * label] += 190
    return images, labels


def write_fashion(directory: Path, *, train_rows: int = 600, test_rows: int = 100) -> Path:
    """The four files of a small data set that can be learned."""
    directory.mkdir(parents=True, exist_ok=True)
    for names, rows, seed in ((NAMES[:2], train_rows, 1), (NAMES[2:], test_rows, 2)):
        images, labels = garments(rows, seed=seed)
        (directory / names[0]).write_bytes(images_file(images))
        (directory / names[1]).write_bytes(labels_file(labels))
    return directory
