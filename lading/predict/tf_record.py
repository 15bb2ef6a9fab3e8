"""Reads TFRecord files.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details (a length and its checksum,
the data and its checksum; CRC-32C, masked as in tensorflow/core/lib/hash/crc32c.h).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from lading.errors import InvalidData

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed: RFC 3720, appendix B.4
_MASK_DELTA = 0xA282EAD8


def read_records(path: Path) -> Iterator[bytes]:
    """The records of an uncompressed file, in order.

    Raises:
        InvalidData: a record is cut off or its checksum is wrong; names the file, the record and the byte.
    """
    with path.open("rb") as file:
        number = 0
        while head := file.read(12):
            number, start = number + 1, file.tell() - len(head)
            where = f"{path}, record {number} at byte {start}"
            if len(head) < 12:
                raise InvalidData(f"{where}: the file ends within the record")
            length, checksum = struct.unpack("<QI", head)
            if masked_crc32c(head[:8]) != checksum:
                raise InvalidData(f"{where}: the checksum of its length is wrong: not a TFRecord file, or damaged")
            if length > path.stat().st_size:  # before so many bytes are asked for
                raise InvalidData(f"{where}: the file ends within the record")
            data, tail = file.read(length), file.read(4)
            if len(tail) < 4:
                raise InvalidData(f"{where}: the file ends within the record")
            if masked_crc32c(data) != struct.unpack("<I", tail)[0]:
                raise InvalidData(f"{where}: the checksum of its data is wrong: the file is damaged")
            yield data


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord files store it."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """The CRC-32C of the data."""
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(_entry(byte) for byte in range(256))
