"""The IDX format of MNIST and Fashion-MNIST: gzip, a magic number, sizes, then bytes.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section FILE FORMATS: big-endian;
magic 0x00000801 (unsigned bytes, one dimension) for labels and 0x00000803 (three dimensions) for images.
"""

import gzip
import io
import math
import struct
import zlib
from typing import TYPE_CHECKING, Any

from lading.errors import InvalidData

if TYPE_CHECKING:
    import numpy as np

LABELS_MAGIC, IMAGES_MAGIC = 0x0801, 0x0803
CHUNK_BYTES = 2**24
_KINDS = {LABELS_MAGIC: "labels", IMAGES_MAGIC: "images"}


def read_images(content: bytes, *, name: str, size: tuple[int, int] = (28, 28)) -> "np.ndarray[Any, Any]":
    """Read an images file.

    Args:
        content: The gzip file.
        name: Its name, for the messages.
        size: Expected height and width, in pixels.

    Returns:
        uint8 of shape ``(N, height, width)``, N at least 1.

    Raises:
        InvalidData: names the file, what was expected and what came.
    """
    images = _read(content, name, IMAGES_MAGIC)
    if images.shape[1:] != size:
        came = "×".join(map(str, images.shape[1:]))
        raise InvalidData(f"{name}: expected images of {size[0]}×{size[1]} pixels, received {came}")
    return images


def read_labels(content: bytes, *, name: str, classes: int = 10) -> "np.ndarray[Any, Any]":
    """Read a labels file.

    Args:
        content: The gzip file.
        name: Its name, for the messages.
        classes: Labels are 0 to ``classes - 1``.

    Returns:
        uint8 of shape ``(N,)``, N at least 1.

    Raises:
        InvalidData: names the file, what was expected and what came.
    """
    labels = _read(content, name, LABELS_MAGIC)
    if labels.max() >= classes:
        row = int((labels >= classes).argmax(axis=0))
        raise InvalidData(f"{name}: expected labels from 0 to {classes - 1}, received {labels[row]} in row {row}")
    return labels


def check_pair(images: "np.ndarray[Any, Any]", labels: "np.ndarray[Any, Any]", *, names: tuple[str, str]) -> None:
    """Refuse images and labels that do not belong together.

    Raises:
        InvalidData: their numbers differ.
    """
    if len(images) != len(labels):
        raise InvalidData(
            f"{names[1]}: expected {len(images)} labels, as many as there are images in {names[0]}, "
            f"received {len(labels)}: the two files are not of one set"
        )


def _read(content: bytes, name: str, magic: int) -> "np.ndarray[Any, Any]":
    import numpy as np

    dimensions = magic & 0xFF
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            header = file.read(4 + 4 * dimensions)
            shape = _shape(header, name, magic, dimensions)
            expected = math.prod(shape)
            body = _read_up_to(file, expected)
            more = file.read(1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidData(
            f"{name}: expected a whole gzip file, received {len(content)} bytes that are corrupt or cut off ({error}); "
            "fetch the file again"
        ) from error
    if len(body) != expected or more:
        came = f"only {len(body)}" if len(body) < expected else "more"
        raise InvalidData(f"{name}: expected {expected} bytes of {_KINDS[magic]} after the header, received {came}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _read_up_to(file: gzip.GzipFile, count: int) -> bytes:
    """As ``file.read(count)``, which takes the memory for ``count`` bytes first: a corrupt header asks for anything."""
    parts = []
    while count and (part := file.read(min(count, CHUNK_BYTES))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _shape(header: bytes, name: str, magic: int, dimensions: int) -> tuple[int, ...]:
    found = struct.unpack(">I", header[:4])[0] if len(header) >= 4 else None
    if found != magic:
        came = "an empty file" if found is None else f"{found} ({_KINDS.get(found, 'another kind of file')})"
        raise InvalidData(
            f"{name}: expected the magic number {magic} (IDX {_KINDS[magic]}), received {came}; was the file renamed?"
        )
    if len(header) < 4 + 4 * dimensions:
        raise InvalidData(f"{name}: expected an IDX header of {4 + 4 * dimensions} bytes, received {len(header)}")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if not all(shape):
        raise InvalidData(f"{name}: expected at least one row of {_KINDS[magic]}, received none (sizes {shape})")
    return shape
