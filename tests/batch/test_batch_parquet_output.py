"""Predictions as Parquet, read again by pyarrow."""

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from output_files import BOOL, COMPLEX, DOUBLE, FLOAT, HALF, INT64, STRING, UINT8, file_of, signature, strings

from lading.batch.formats.base import RowErrors, open_output
from lading.batch.formats.parquet_output import ParquetOutput
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput
from lading.predict.signature import Signature

VECTOR = signature(y=(FLOAT, (None, 3)))


def writer(found: Signature = VECTOR, **options: object) -> ParquetOutput:
    return ParquetOutput(found, BatchOptions(output_format="parquet", **options))  # type: ignore[arg-type]


def table(content: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(content))


def carried(*blocks: list[Any]) -> pa.ChunkedArray:
    """The column that values become which come in several blocks."""
    rows = [({"y": np.zeros((len(values), 3), np.float32)}, {"id": values}) for values in blocks]
    return table(file_of(writer(key_field="id"), *rows))["id"]


EVERY = {
    "score": (FLOAT, (None,), np.float32([0.1, math.nan]), "float", pytest.approx(0.1)),
    "wide": (DOUBLE, (None, 2), np.float64([[1, math.inf], [3, 4]]), "fixed<double>[2]", [1.0, math.inf]),
    "half": (HALF, (None,), np.float16([0.5, 1]), "halffloat", 0.5),
    "pixel": (UINT8, (None, 1, 2), np.uint8([[[1, 2]], [[3, 255]]]), "fixed<fixed<uint8>[2]>[1]", [[1, 2]]),
    "ok": (BOOL, (None, 1), np.array([[True], [False]]), "fixed<bool>[1]", [True]),
    "ragged": (INT64, (None, None), np.int64([[1], [2**62]]), "list<int64>", [1]),
    "mixed": (INT64, (None, None, 2), np.int64([[[1, 2]], [[3, 4]]]), "list<fixed<int64>[2]>", [[1, 2]]),
    "none": (FLOAT, (None, 0), np.zeros((2, 0), np.float32), "list<float>", []),
    "text": (STRING, (None,), strings(["é".encode(), b""]), "string", "é"),
    "words": (STRING, (None, 2), strings([[b"a", b"b"], [b"c", b""]]), "fixed<string>[2]", ["a", "b"]),
    "raw_bytes": (STRING, (None,), strings([b"\xff\0", b""]), "binary", b"\xff\0"),
    "any": (FLOAT, None, np.float32([[0.1], [2]]), "string", "[0.1]"),
}
"""Outputs: data type, shape, the values of two rows; and what comes out: the type of the column, the first value."""


def test_columns_have_the_types_of_the_signature() -> None:
    found = signature(**{name: (data_type, shape) for name, (data_type, shape, *_) in EVERY.items()})
    outputs = {name: values for name, (_, _, values, *_) in EVERY.items()}
    longer = {**outputs, "ragged": np.int64([[7, 8, 9]] * 2), "mixed": np.int64([[[1, 2], [3, 4]]] * 2)}
    read = table(file_of(writer(found), (outputs, {}), (longer, {})))
    kinds = {field.name: str(field.type).replace("fixed_size_list", "fixed") for field in read.schema}
    assert {name: kind.replace("element: ", "") for name, kind in kinds.items()} == {
        name: kind for name, (*_, kind, _) in EVERY.items()
    }
    rows = read.to_pylist()
    assert len(rows) == 4
    assert rows[0] == {name: first for name, (*_, first) in EVERY.items()}
    assert math.isnan(rows[1]["score"])
    assert (rows[2]["ragged"], rows[3]["mixed"]) == ([7, 8, 9], [[1, 2], [3, 4]])


def test_carried_columns_have_the_type_of_all_their_values() -> None:
    for blocks, kind, values in (
        (([1, 2], [2**62]), pa.int64(), [1, 2, 2**62]),
        (([1, None], [3]), pa.int64(), [1, None, 3]),
        (([1], [2.5, None]), pa.float64(), [1.0, 2.5, None]),
        (([2**60 + 1], [math.inf]), pa.float64(), [float(2**60), math.inf]),
        (([True], [None, False]), pa.bool_(), [True, None, False]),
        ((["a", ""], ["é\0", None]), pa.string(), ["a", "", "é\0", None]),
        (([None], [None]), pa.string(), [None, None]),
        (([1, 2.0], ["x"]), pa.string(), ["1", "2.0", "x"]),
        (([True], [1]), pa.string(), ["true", "1"]),
        (([2**64], [1]), pa.string(), [str(2**64), "1"]),
        (([[1, "a"]], [{"b64": "/w=="}]), pa.string(), ['[1,"a"]', '{"b64":"/w=="}']),
    ):
        column = carried(*blocks)  # type: ignore[arg-type]
        assert (column.type, column.to_pylist()) == (kind, values)
    assert math.isnan(carried([math.nan]).to_pylist()[0])


def test_carried_columns_stand_first_and_clash_with_no_output() -> None:
    found = writer(key_field="id", passthrough=("b",))
    read = table(file_of(found, ({"y": np.zeros((1, 3), np.float32)}, {"id": ["k"], "b": [1]})))
    assert read.column_names == ["id", "b", "y"]
    with pytest.raises(InvalidInput, match="'y' cannot be carried"):
        writer(passthrough=("y",))


def test_a_file_without_rows_has_its_columns() -> None:
    read = table(file_of(writer(key_field="id")))
    assert (read.num_rows, read.column_names) == (0, ["id", "y"])
    read = table(file_of(writer(), ({"y": np.zeros((0, 3), np.float32)}, {})))
    assert (read.num_rows, str(read.schema.field("y").type)) == (0, "fixed_size_list<element: float>[3]")


def test_the_same_rows_are_the_same_bytes() -> None:
    block = {"y": np.random.default_rng(0).random((1000, 3), np.float32)}, {"id": list(range(1000))}
    found = writer(key_field="id")
    assert file_of(found, block, block) == file_of(writer(key_field="id"), block, block)
    assert table(file_of(found, block, block)).num_rows == 2000


def test_parts_are_joined_group_by_group() -> None:
    found = signature(y=(FLOAT, (None, 1 << 10)))
    output = writer(found)
    part = output.encode({"y": np.random.default_rng(0).random((1 << 10, 1 << 10), np.float32)}, {})  # 4 MiB
    taken = 0

    def parts() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(20):
            taken += 1
            yield part

    content, seen, last = io.BytesIO(), [], 0
    for piece in output.join(parts()):
        content.write(piece)
        if content.tell() - last > 1 << 20:
            last = content.tell()
            seen.append(taken)
    assert seen[0] <= 9  # the first pieces are there long before the last part is read
    file = pq.ParquetFile(content)
    assert (file.metadata.num_rows, file.num_row_groups) == (20 << 10, 3)


def test_rows_that_cannot_be_written() -> None:
    found = writer(signature(a=(STRING, (None,)), b=(STRING, (None, 2))), key_field="id")
    outputs = {
        "a": strings([b"x", b"\xff", b"y", b"z"]),
        "b": strings([[b"", b"\xff"], [b"x", b"x"], [b"", b""], [b"", b""]]),
    }
    with pytest.raises(RowErrors) as raised:
        found.encode(outputs, {"id": ["", "", "\udc00", ""]})
    assert list(raised.value.reasons) == [0, 1, 2]
    assert 'output "b" holds bytes that are not UTF-8' in raised.value.reasons[0]


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(InvalidInput, match="DT_COMPLEX64"):
        writer(signature(y=(COMPLEX, (None,))))
    with pytest.raises(InvalidInput, match=r"rows of the shape \[2\], the signature says \[3\]"):
        writer().encode({"y": np.zeros((2, 2), np.float32)}, {})


def test_the_format_is_opened_by_name() -> None:
    found = open_output(VECTOR, BatchOptions(output_format="parquet"))
    assert isinstance(found, ParquetOutput)
    assert (found.suffix, found.plain, found.head()) == (".parquet", False, b"")
