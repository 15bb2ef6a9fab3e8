"""Reads TFRecord files, bit by bit."""

import struct
import subprocess
import sys
from pathlib import Path

import google_crc32c
import pytest

from lading.errors import InvalidData
from lading.predict.tf_record import crc32c, masked_crc32c, read_records, table_crc32c


def frame(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked_crc32c(head)) + data + struct.pack("<I", masked_crc32c(data))


def test_the_checksum_is_the_one_of_the_specification() -> None:
    for checksum in (crc32c, table_crc32c):
        assert checksum(b"123456789") == 0xE3069283  # the check value of CRC-32/ISCSI
        assert checksum(b"") == 0
        data = bytes(range(256)) * 7
        assert checksum(data) == google_crc32c.value(data)


def test_it_works_without_google_crc32c() -> None:
    script = "import sys; sys.modules['google_crc32c'] = None; from lading.predict.tf_record import crc32c"
    words = [sys.executable, "-c", f"{script}; print(crc32c(b'123456789'))"]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert int(found.stdout) == 0xE3069283


def test_a_file_that_tensorflow_wrote(tmp_path: Path) -> None:
    # tf.io.TFRecordWriter, b"lading" and b"".
    written = "06000000000000007369d5376c6164696e670cb9fd28000000000000000029039807d8ea82a2"
    (tmp_path / "records").write_bytes(bytes.fromhex(written))
    assert list(read_records(tmp_path / "records")) == [b"lading", b""]


def test_records_in_order(tmp_path: Path) -> None:
    file = tmp_path / "records"
    file.write_bytes(frame(b"one") + frame(b"") + frame(b"three" * 1000))
    assert list(read_records(file)) == [b"one", b"", b"three" * 1000]
    file.write_bytes(b"")
    assert list(read_records(file)) == []


@pytest.mark.parametrize(
    ("alter", "problem"),
    [
        (lambda text: text[:5], "record 1 at byte 0: the file ends within the record"),
        (lambda text: text[:-2], "record 2 at byte 19: the file ends within the record"),
        (lambda text: text[:-8], "record 2 at byte 19: the file ends within the record"),
        (lambda text: b"x" + text[1:], "record 1 at byte 0: the checksum of its length is wrong"),
        (lambda text: text[:31] + b"x" + text[32:], "record 2 at byte 19: the checksum of its data is wrong"),
        (lambda text: b"plain text, and a good deal of it", "not a TFRecord file"),
        (lambda _: frame(b"x" * 9)[:12], "record 1 at byte 0: the file ends"),
        (
            lambda _: struct.pack("<QI", 1 << 60, masked_crc32c(struct.pack("<Q", 1 << 60))),
            "record 1 at byte 0: the file ends within the record",
        ),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, alter, problem: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "records"
    file.write_bytes(alter(frame(b"one") + frame(b"two")))
    with pytest.raises(InvalidData) as raised:
        list(read_records(file))
    assert f"{file}, " in str(raised.value)
    assert problem in str(raised.value)
