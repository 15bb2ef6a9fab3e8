"""Pictures hold the pixels they were given, and what is no picture is not drawn."""

import base64
import struct
import zlib
from typing import Any

import pytest

from lading.report.picture import find_picture


def decode(uri: str) -> tuple[int, int, int, list[bytes]]:
    """Width, height, PNG's colour type and the lines of pixels; every checksum is verified."""
    kind, _, text = uri.partition(",")
    assert kind == "data:image/png;base64"
    png = base64.b64decode(text)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        body = png[at + 4 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length]) == (zlib.crc32(body),)
        chunks[body[:4]] = body[4:]
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert depth == 8
    data = zlib.decompress(chunks[b"IDAT"])
    stride = 1 + width * (3 if colour == 2 else 1)
    assert len(data) == stride * height
    assert not any(data[::stride])  # no line is filtered
    return width, height, colour, [data[row + 1 : row + stride] for row in range(0, len(data), stride)]


def pixels(value: Any) -> tuple[int, int, int, list[bytes]]:
    picture = find_picture({"index": [3], "x": value})
    assert picture
    found = decode(picture.uri)
    assert found[:2] == (picture.width, picture.height)
    return found


def test_grey_from_0_to_1() -> None:
    assert pixels([[[0.0] * 5 + [0.5, 1.0, 0.0, 0.0]] * 8]) == (9, 8, 0, [b"\0\0\0\0\0\x80\xff\0\0"] * 8)


def test_grey_from_0_to_255_with_a_channel_axis() -> None:
    assert pixels([[[[0], [128], [255]] * 3] * 8]) == (9, 8, 0, [b"\x00\x80\xff" * 3] * 8)


def test_colours() -> None:
    assert pixels([[[[1.0, 0.0, 0.0], [0.0, 0.2, 1.0]] * 4] * 10]) == (8, 10, 2, [b"\xff\0\0\0\x33\xff" * 4] * 10)


def test_a_large_image_is_drawn_smaller_and_keeps_its_scale() -> None:
    # The only bright pixel is one that is not drawn: the others are still of 255, not of 1.
    rows = [[1.0] * 400 for _ in range(200)]
    rows[1][1] = 200.0
    width, height, _, lines = pixels([rows])
    assert (width, height) == (134, 67)
    assert set(b"".join(lines)) == {1}


@pytest.mark.parametrize(
    "value",
    [
        [[1.0, 2.0]],
        [[[0.0] * 28] * 7],
        [[[0.0] * 7] * 28],
        [[[0.0] * 513] * 8],
        [[[0.0] * 28] * 28] * 2,
        [[[-1.0] * 28] * 28],
        [[[256.0] * 28] * 28],
        [[[float("nan")] * 28] * 28],
        [[[True] * 28] * 28],
        [[["a"] * 28] * 28],
        [[[[0.0, 0.0]] * 28] * 28],
        [[[[0.0]] * 27 + [0.0]] * 28],
        [[[0.0] * 27 + [[0.0]]] * 28],
        [[[[[0.0]]] * 28] * 28],
        [[[0.0] * 28] * 27 + [[0.0] * 27]],
        [[]],
        [{"b64": "aaaa"}],
        "text",
        None,
    ],
)
def test_what_is_no_image_is_not_drawn(value: Any) -> None:
    assert find_picture({"x": value}) is None
