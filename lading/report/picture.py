"""Pictures out of prediction requests: an input that looks like an image becomes a PNG inside the page."""

import base64
import struct
import zlib
from typing import Any

_SIDES = range(8, 513)


def picture(request: dict[str, Any]) -> str:
    """A ``data:`` URI of the first input that looks like an image; empty when none does.

    An image is ``[1, H, W]`` or ``[1, H, W, 1 | 3]`` numbers, H and W from 8 to 512, all within 0 to 1 or 0 to 255.
    """
    for value in request.values():
        rows = value[0] if isinstance(value, list) and len(value) == 1 else []
        if _is_grid(rows):
            pixels, channels = _pixels(rows)
            if pixels is not None:
                png = _png(pixels, width=len(rows[0]), height=len(rows), channels=channels)
                return "data:image/png;base64," + base64.b64encode(png).decode()
    return ""


def _is_grid(rows: Any) -> bool:
    return (
        isinstance(rows, list)
        and len(rows) in _SIDES
        and all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows)
        and len(rows[0]) in _SIDES
    )


def _pixels(rows: list[list[Any]]) -> tuple[bytes | None, int]:
    """The bytes of the pixels, row by row, and the number of channels; None when they are no image."""
    first = rows[0][0]
    channels = len(first) if isinstance(first, list) else 1
    if channels not in (1, 3):
        return None, channels
    flat = [number for row in rows for cell in row for number in (cell if isinstance(cell, list) else [cell])]
    if len(flat) != len(rows) * len(rows[0]) * channels or not all(isinstance(n, int | float) for n in flat):
        return None, channels
    low, high = min(flat), max(flat)
    if low < 0 or high > 255:
        return None, channels
    scale = 255 if high <= 1 else 1
    return bytes(round(number * scale) for number in flat), channels


def _png(pixels: bytes, *, width: int, height: int, channels: int) -> bytes:
    """A PNG of 8 bits a channel, grey or RGB, without filters (W3C PNG, third edition)."""
    stride = width * channels
    lines = b"".join(b"\x00" + pixels[row * stride : (row + 1) * stride] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines, 9)) + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
