"""Reads TFRecord files, whole and as streams.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details (a length and its checksum,
the data and its checksum; CRC-32C, masked as in tensorflow/core/lib/hash/crc32c.h).
"""

import functools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lading.errors import InvalidData

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed: RFC 3720, appendix B.4
_MASK_DELTA = 0xA282EAD8
_HEAD = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_PIECE_BYTES = 1 << 20


class Record(NamedTuple):
    """A record of a stream."""

    start: int
    """Offset of its first byte in the file."""
    end: int
    """Offset behind it; where the next one starts."""
    data: bytes | None
    """None if it is longer than what may be kept; its checksum is not looked at then."""
    is_intact: bool
    """Whether its data has the checksum that stands behind it."""


def read_records(path: Path) -> Iterator[bytes]:
    """The records of an uncompressed file, in order.

    Raises:
        InvalidData: a record is cut off or its checksum is wrong; names the file, the record and the byte.
    """
    with path.open("rb") as file:
        pieces = iter(lambda: file.read(_PIECE_BYTES), b"")
        for number, record in enumerate(stream_records(pieces, name=str(path)), 1):
            if record.data is None or not record.is_intact:
                where = f"{path}, record {number} at byte {record.start}"
                raise InvalidData(f"{where}: the checksum of its data is wrong: the file is damaged")
            yield record.data


def stream_records(
    pieces: Iterator[bytes], *, name: str, start: int = 0, number: int = 1, most_bytes: int | None = None
) -> Iterator[Record]:
    """The records of a stream, in order; no more of it is held than one record.

    Args:
        pieces: The file's bytes from ``start`` on, in pieces of any length.
        name: Of the file, for errors.
        start: The offset of a record.
        number: Of the record there.
        most_bytes: Longer records are skipped in constant memory.

    Raises:
        InvalidData: a record is cut off, or the checksum of a length is wrong, so that it is not known where the next
            record starts; names the file, the record and the byte.
    """
    source = _Pieces(pieces)
    while head := source.take(_HEAD.size):
        where = f"{name}, record {number} at byte {start}"
        if len(head) < _HEAD.size:
            raise InvalidData(f"{where}: the file ends within the record")
        length, checksum = _HEAD.unpack(head)
        if masked_crc32c(head[:8]) != checksum:
            raise InvalidData(f"{where}: the checksum of its length is wrong: not a TFRecord file, or damaged")
        end = start + _HEAD.size + length + _CHECKSUM.size
        if most_bytes is not None and length > most_bytes:
            is_whole, record = source.skip(length + _CHECKSUM.size), Record(start, end, None, True)
        else:
            body = source.take(length + _CHECKSUM.size)
            is_whole, data = len(body) == length + _CHECKSUM.size, body[:length]
            is_intact = is_whole and masked_crc32c(data) == _CHECKSUM.unpack_from(body, length)[0]
            record = Record(start, end, data, is_intact)
        if not is_whole:
            raise InvalidData(f"{where}: the file ends within the record")
        yield record
        start, number = end, number + 1


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord files store it."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """The CRC-32C of the data: by google-crc32c where it is installed, else far slower, in Python."""
    return _fastest()(data)


def table_crc32c(data: bytes) -> int:
    """The CRC-32C of the data, by nothing but Python."""
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@functools.cache
def _fastest() -> Callable[[bytes], int]:
    try:
        import google_crc32c
    except ImportError:
        return table_crc32c
    value: Callable[[bytes], int] = google_crc32c.value
    return value


class _Pieces:
    """Exact lengths out of bytes that come in pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._at = 0

    def take(self, length: int) -> bytes:
        """The next bytes; fewer at the end."""
        end = self._at + length
        if end <= len(self._held):
            taken = self._held[self._at : end]
            self._at = end
            return taken
        parts, missing = [self._held[self._at :]], end - len(self._held)
        self._held, self._at = b"", 0
        while missing > 0 and (piece := next(self._pieces, b"")):
            if len(piece) > missing:
                self._held, self._at = piece, missing
            parts.append(piece[:missing])
            missing -= len(piece)
        return b"".join(parts)

    def skip(self, length: int) -> bool:
        """Leave the next bytes out; False if there are fewer."""
        while length:
            skipped = len(self.take(min(length, _PIECE_BYTES)))
            if not skipped:
                return False
            length -= skipped
        return True


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(_entry(byte) for byte in range(256))
