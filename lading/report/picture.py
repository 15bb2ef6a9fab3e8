"""Pictures out of prediction requests: an input that looks like an image becomes a PNG inside the page."""

import base64
import math
import struct
import zlib
from dataclasses import dataclass
from itertools import chain
from typing import Any

_SIDES = range(8, 513)
_MOST_PIXELS = 192
"""Longest side that is drawn; of a larger image each second (third, …) pixel is: the page shows it small anyway."""


@dataclass(frozen=True)
class Picture:
    """An image as a page can hold it."""

    uri: str
    """A PNG as a ``data:`` URI."""
    width: int
    """In pixels of the PNG."""
    height: int


def find_picture(request: dict[str, Any]) -> Picture | None:
    """The picture of the first input of a request that looks like an image; None when none does."""
    return next((_draw(value[0]) for value in request.values() if is_image(value)), None)


def is_image(value: Any) -> bool:
    """Whether a value is ``[1, H, W]`` or ``[1, H, W, 1 | 3]`` numbers, H and W from 8 to 512, all from 0 to 255."""
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], list):
        return False
    rows = value[0]
    width = len(rows[0]) if rows and isinstance(rows[0], list) else 0
    if len(rows) not in _SIDES or width not in _SIDES:
        return False
    if not all(isinstance(row, list) and len(row) == width for row in rows):
        return False
    channels = _channels(rows)
    # Three quarters of a million numbers are common: what follows runs in C.
    cells = list(chain.from_iterable(rows))
    if channels:
        if channels not in (1, 3) or set(map(type, cells)) != {list} or set(map(len, cells)) != {channels}:
            return False
        cells = list(chain.from_iterable(cells))
    return set(map(type, cells)) <= {int, float} and _all_within(cells, 0, 255)


def _all_within(numbers: list[float], low: float, high: float) -> bool:
    # A NaN may hide from min and max, but not from the sum.
    return min(numbers) >= low and max(numbers) <= high and not math.isnan(sum(numbers))


def _channels(rows: list[list[Any]]) -> int:
    """Length of the last axis of ``[H, W, C]``; 0 when there is none."""
    return len(rows[0][0]) if isinstance(rows[0][0], list) else 0


def _draw(rows: list[list[Any]]) -> Picture:
    step = -(-max(len(rows), len(rows[0])) // _MOST_PIXELS)
    seen = [row[::step] for row in rows[::step]]
    channels = _channels(rows)
    lines = [[number for cell in row for number in cell] for row in seen] if channels else seen
    # Pixels are either 0 to 1 or 0 to 255. The scale is that of the whole image, not of what is drawn.
    highest = max(max(map(max, row)) if channels else max(row) for row in rows)
    scale = 255 if highest <= 1 else 1
    pixels = [bytes(round(number * scale) for number in line) for line in lines]
    png = _png(pixels, width=len(seen[0]), channels=channels or 1)
    return Picture("data:image/png;base64," + base64.b64encode(png).decode(), len(seen[0]), len(seen))


def _png(lines: list[bytes], *, width: int, channels: int) -> bytes:
    """A PNG of 8 bits a channel, grey or RGB, each line unfiltered (W3C PNG, third edition, 11.2 and 9.2)."""
    grey, rgb, unfiltered = 0, 2, b"\x00"
    header = struct.pack(">IIBBBBB", width, len(lines), 8, grey if channels == 1 else rgb, 0, 0, 0)
    data = zlib.compress(b"".join(unfiltered + line for line in lines), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
