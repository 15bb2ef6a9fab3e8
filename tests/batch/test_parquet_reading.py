"""Parquet files as they are read: damaged, in pieces, and no more of them than is needed."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_files import X, file_of, reader
from text_rows import FLOAT, STRING, Memory, signature

from lading.batch.formats.base import MOST_BLOCK_BYTES
from lading.errors import InvalidData, StorageError


def test_files_that_are_damaged_are_refused() -> None:
    whole = file_of({"x": np.random.default_rng(0).random(1000)}, write_page_checksum=True, compression="none")
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 0xFF
    for content, problem in (
        (b"", "memory: not a Parquet file, or a damaged one"),
        (b"id,x\n1,2\n", "memory: not a Parquet file"),
        (whole[:-20], "memory: not a Parquet file"),
        (bytes(altered), "memory: not a Parquet file, or a damaged one"),
        (gzip.compress(whole), "received a gzip file. Parquet compresses its pages itself"),
    ):
        with pytest.raises(InvalidData, match=problem):
            list(reader(X).blocks(Memory(content)))


class Failing(Memory):
    """A file whose storage fails behind its footer."""

    def read_at(self, offset: int, length: int) -> bytes:
        if 4 <= offset < 1000:
            raise StorageError("the bucket does not answer")
        return super().read_at(offset, length)


def test_faults_of_the_storage_come_out_as_they_are() -> None:
    content = file_of({"x": np.random.default_rng(0).random(100_000)})
    with pytest.raises(StorageError, match="the bucket does not answer"):
        list(reader(X).blocks(Failing(content)))


def test_blocks_derive_from_rows_alone() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(0, 60_000, 400)
    table = pa.table({"x": rng.random(400), "s": [b"x" * size for size in sizes]})
    found = signature(x=(FLOAT, (None,)), s=(STRING, (None,)))
    cuts = []
    for group, options in (
        (400, {}),
        (7, {}),
        (133, {"use_dictionary": False, "compression": "none", "data_page_size": 1000}),
    ):
        content = file_of(table, row_group_size=group, **options)
        blocks = list(reader(found, batch_size=150).blocks(Memory(content)))
        cuts.append([(block.start, block.end, block.first_row, block.next_row, block.size) for block in blocks])
        for at in (1, len(cuts[0]) - 1):
            rest = list(reader(found, batch_size=150).blocks(Memory(content), cuts[0][at][0], cuts[0][at][2]))
            assert [(one.start, one.end, one.first_row, one.next_row, one.size) for one in rest] == cuts[0][at:]
            assert reader(found).decode(rest[0]).inputs["x"].tolist() == pytest.approx(
                table["x"].to_numpy()[rest[0].start : rest[0].end]
            )
    assert cuts[0] == cuts[1] == cuts[2]
    assert all(size < MOST_BLOCK_BYTES + 60_000 for *_, size in cuts[0])
    assert {end - start for start, end, *_ in cuts[0]} != {150}
    assert (cuts[0][0][0], cuts[0][-1][1]) == (0, 400)
    assert not list(reader(found).blocks(Memory(file_of(table)), 400, 401))
    assert not list(reader(X).blocks(Memory(file_of({"x": pa.array([], pa.float32())}))))


def test_how_much_of_a_file_was_read_is_known_within_it() -> None:
    content = file_of({"x": np.arange(1000.0), "other": [b"x" * 900] * 1000}, row_group_size=300)
    blocks = list(reader(X, batch_size=250).blocks(Memory(content)))
    assert [block.consumed for block in blocks] == [len(content) * part // 4 for part in (1, 2, 3, 4)]
    assert [block.consumed for block in reader(X, batch_size=250).blocks(Memory(content), 750, 751)] == [len(content)]


def test_only_what_is_needed_is_read() -> None:
    class Counting(Memory):
        read = 0

        def read_at(self, offset: int, length: int) -> bytes:
            Counting.read += length
            return super().read_at(offset, length)

    content = file_of({"x": np.arange(1000.0), "other": [b"x" * 9000] * 1000}, use_dictionary=False, compression="none")
    assert sum(len(block.rows) for block in reader(X).blocks(Counting(content))) == 1000
    assert Counting.read < len(content) / 10


_MEASURE = """
import re, sys
from pathlib import Path
sys.path[:0] = {path!r}
from parquet_files import IMAGE, X, file_of, reader
from text_rows import FLOAT, Memory, signature
from lading.batch.formats.parquet_rows import ParquetRows
from lading.batch.options import BatchOptions

class File(Memory):
    def __init__(self, path):
        self.file = open(path, "rb")
        self.length = self.file.seek(0, 2)

    def read_at(self, offset, length):
        self.file.seek(offset)
        return self.file.read(length)

    size = property(lambda self: self.length)

found = ParquetRows(signature(x=(FLOAT, (None, 784))), BatchOptions(batch_size=256))
file = File({file!r})
rows = sum(len(found.decode(block).rows) for block in found.blocks(file))
file.file.close()
print(rows, re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    peaks = []
    for rows in (2_000, 60_000):
        column = pa.FixedSizeListArray.from_arrays(rng.random(rows * 784, np.float32), 784)
        path = tmp_path / f"{rows}.parquet"
        pq.write_table(pa.table({"x": column}), path, row_group_size=rows, compression="none")  # one group: 188 MB
        script = _MEASURE.format(path=[str(Path(__file__).parent)], file=str(path))
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        found, peak = map(int, done.stdout.split())
        assert found == rows
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 40_000  # KiB
