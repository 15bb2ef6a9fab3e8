"""Rows from Parquet files that pyarrow wrote."""

import datetime
import decimal
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from parquet_files import IMAGE, X, file_of, reader
from text_rows import BOOL, FLOAT, INT32, INT64, STRING, UINT8, read, read_one, reasons, signature

from lading.batch.formats.base import open_input
from lading.batch.formats.parquet_rows import ParquetRows
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32(), 4),
        pa.list_(pa.float32()),
        pa.large_list(pa.float64()),
        pa.list_(pa.int16()),
        pa.list_(pa.float16()),
        pa.list_(pa.decimal128(9, 2)),
        pa.list_(pa.list_(pa.float32(), 2), 2),
        pa.list_(pa.list_(pa.float32())),
        pa.list_(pa.list_(pa.uint8()), 2),
        pa.fixed_shape_tensor(pa.float32(), [2, 2]),
    ],
    ids=str,
)
def test_lists_of_numbers(kind: pa.DataType) -> None:
    values = np.arange(28).reshape(7, 2, 2)
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    is_nested = pa.types.is_nested(storage.value_type)
    rows = values.tolist() if is_nested else values.reshape(7, 4).tolist()
    if pa.types.is_decimal(storage.value_type):
        rows = [[decimal.Decimal(value) for value in row] for row in rows]
    elif pa.types.is_float16(storage.value_type):
        rows = [[np.float16(value) for value in row] for row in rows]
    column = pa.array(rows, storage)
    table = pa.table({"image": kind.wrap_array(column) if storage is not kind else column, "other": [None] * 7})
    _, decoded = read(reader(batch_size=3), file_of(table, row_group_size=2))
    assert not any(one.bad for one in decoded)
    arrays = [one.inputs["image"] for one in decoded]
    assert [len(array) for array in arrays] == [3, 3, 1]
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays)
    assert np.concatenate(arrays).tolist() == values.tolist()
    assert [row for one in decoded for row in one.rows] == list(range(1, 8))


def test_scalars_of_every_kind() -> None:
    found = signature(
        f=(FLOAT, (None,)), i=(INT32, (None, 1)), b=(BOOL, (None,)), s=(STRING, (None,)), raw=(STRING, (None,))
    )
    table = pa.table(
        {
            "raw": pa.array([b"\xff", b""], pa.binary()),
            "s": pa.array(["é", "é"], pa.string()).dictionary_encode(),
            "b": [True, False],
            "i": pa.array([1, -2], pa.int64()).dictionary_encode(),
            "f": [0.5, 1e300],
        }
    )
    decoded = read_one(reader(found), file_of(table))
    assert not decoded.bad
    assert list(decoded.inputs) == ["f", "i", "b", "s", "raw"]
    assert decoded.inputs["f"].tolist() == [0.5, float("inf")]
    assert decoded.inputs["i"].tolist() == [[1], [-2]]
    assert decoded.inputs["b"].tolist() == [True, False]
    assert decoded.inputs["s"].tolist() == ["é".encode()] * 2
    assert decoded.inputs["raw"].tolist() == [b"\xff", b""]


def test_strings_in_lists_and_dictionaries_that_differ() -> None:
    found = signature(s=(STRING, (None, 2)))
    groups = [pa.table({"s": pa.array([[f"{n}", "x"]] * 5, pa.list_(pa.string()))}) for n in range(4)]
    _, decoded = read(reader(found, batch_size=7), file_of(pa.concat_tables(groups), row_group_size=5))
    assert np.concatenate([one.inputs["s"] for one in decoded])[:, 0].tolist() == [
        b"%d" % n for n in range(4) for _ in range(5)
    ]
    one = signature(s=(STRING, (None,)))
    kind = pa.dictionary(pa.int32(), pa.string())
    tables = [pa.table({"s": pa.array([f"{n}"] * 5).cast(kind)}) for n in range(4)]
    _, decoded = read(reader(one, batch_size=7), file_of(pa.concat_tables(tables), row_group_size=5))
    assert np.concatenate([part.inputs["s"] for part in decoded]).tolist() == [
        b"%d" % n for n in range(4) for _ in range(5)
    ]


def test_a_column_for_each_element() -> None:
    numbered = {f"image_{index}": [float(index), float(index) + 10] for index in range(4)}
    decoded = read_one(reader(), file_of({**dict(reversed(numbered.items())), "id": [1, 2]}))
    assert decoded.inputs["image"].tolist() == [[[0, 1], [2, 3]], [[10, 11], [12, 13]]]
    for names in ("abcd", [f"image.{index}" for index in range(4)]):
        named = dict(zip(names, numbered.values(), strict=True))
        decoded = read_one(reader(key_field="id"), file_of({"id": ["p", "q"], **named}))
        assert decoded.inputs["image"].tolist() == [[[0, 1], [2, 3]], [[10, 11], [12, 13]]]
        assert decoded.carried == {"id": ["p", "q"]}
    decoded = read_one(reader(), file_of({**numbered, "image_2": [None, 5.0]}))
    assert reasons(decoded) == {1: 'column "image_2": expected a value, received null'}
    assert decoded.inputs["image"].tolist() == [[[10, 11], [5, 13]]]


def test_the_only_column_is_the_only_input() -> None:
    decoded = read_one(reader(key_field="id"), file_of({"pixels": [[1.0] * 4], "id": [5]}))
    assert decoded.inputs["image"].shape == (1, 2, 2)
    with pytest.raises(InvalidInput, match='memory: expected for the input "image" a column of this name'):
        read_one(reader(), file_of({"pixels": [[1.0] * 4], "id": [5]}))


@pytest.mark.parametrize(
    ("values", "bad"),
    [
        ([[1.0] * 4, None, [2.0] * 4], {2: "null"}),
        ([[1.0] * 4, [1.0, None, 3.0, 4.0], [2.0] * 4], {2: "null"}),
        ([[1.0] * 4, [1.0] * 3, [2.0] * 4, []], {2: "[3]", 4: "[0]"}),
        (
            [[[1.0] * 2] * 2, [[1.0] * 4], [[2.0] * 2] * 2, [[1.0], [2.0, 3.0, 4.0]], [None, [1.0] * 2]],
            {2: "[1, 4]", 4: "one length", 5: "null"},
        ),
        ([None, [1.0] * 4, [2.0] * 4, None], {1: "null", 4: "null"}),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_bad(values: list[Any], bad: dict[int, str]) -> None:
    table = {"image": values, "id": [f"k{index}" for index in range(len(values))]}
    decoded = read_one(reader(key_field="id"), file_of(table))
    assert list(reasons(decoded)) == list(bad)
    assert all(part in reasons(decoded)[row] and '"image"' in reasons(decoded)[row] for row, part in bad.items())
    good = [index for index in range(len(values)) if index + 1 not in bad]
    assert list(decoded.rows) == [index + 1 for index in good]
    assert decoded.carried["id"] == [f"k{index}" for index in good]
    assert decoded.inputs["image"][:, 0, 0].tolist() == [1.0, 2.0]
    assert [json.loads(reader(key_field="id").show(row))["id"] for row in decoded.originals] == decoded.carried["id"]
    assert json.loads(decoded.bad[0].text) == {
        "id": table["id"][decoded.bad[0].row - 1],
        "image": values[decoded.bad[0].row - 1],
    }


def test_numbers_out_of_range_are_bad_rows() -> None:
    found = signature(x=(UINT8, (None,)), y=(INT64, (None,)))
    decoded = read_one(reader(found), file_of({"x": [1, 256, 3, -1], "y": pa.array([1, 2, 2**64 - 1, 4], pa.uint64())}))
    assert decoded.inputs["x"].tolist() == [1]
    assert [reason.split(":")[0] for reason in reasons(decoded).values()] == ['column "x"', 'column "y"', 'column "x"']


def test_rows_of_several_shapes() -> None:
    found = signature(x=(FLOAT, (None, None)))
    content = file_of({"x": [[1.0, 2.0], [3.0, 4.0], [5.0]]})
    decoded = read_one(reader(found), content)
    assert decoded.inputs["x"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert "a batch size of 1 takes any" in reasons(decoded)[3]
    _, each = read(reader(found, batch_size=1), content)
    assert [one.inputs["x"].shape for one in each] == [(1, 2), (1, 2), (1, 1)]


def test_carried_columns_are_json_values() -> None:
    table = pa.table(
        {
            "x": [1.0, 2.0],
            "time": [datetime.datetime(2024, 5, 1, 12, 30), None],
            "day": [datetime.date(2024, 5, 1)] * 2,
            "price": [decimal.Decimal("1.50"), decimal.Decimal("2.25")],
            "short": pa.array([0.1, None], pa.float32()),
            "raw": [b"\xff", b"ok"],
            "tags": pa.array([["a", None], []], pa.list_(pa.string())),
            "deep": [{"a": [b"x"], "b": 1}, {"a": None, "b": None}],
            "cat": pa.array(["u", "v"]).dictionary_encode(),
            "big": pa.array([2**64 - 1, 0], pa.uint64()),
        }
    )
    names = tuple(table.column_names[1:])
    decoded = read_one(reader(X, passthrough=(*names, "x")), file_of(table))
    assert json.loads(json.dumps(decoded.carried)) == {
        "time": ["2024-05-01T12:30:00", None],
        "day": ["2024-05-01"] * 2,
        "price": ["1.50", "2.25"],
        "short": [0.1, None],
        "raw": [{"b64": "/w=="}, "ok"],
        "tags": [["a", None], []],
        "deep": [{"a": ["x"], "b": 1}, {"a": None, "b": None}],
        "cat": ["u", "v"],
        "big": [2**64 - 1, 0],
        "x": [1.0, 2.0],
    }


def test_files_that_do_not_fit_are_refused() -> None:
    good = {"x": [1.0, 2.0]}
    for columns, problem in (
        ({"x": ["1.0"]}, 'memory: the column "x" is of type string, which the input "x" of type DT_FLOAT cannot take'),
        ({"x": [True]}, "of type bool"),
        ({"x": [{"a": 1.0}]}, "of type struct"),
        ({"a": [1.0], "b": [1.0]}, 'expected for the input "x" a column of this name'),
    ):
        with pytest.raises(InvalidInput, match=problem):
            read_one(reader(X), file_of(columns))
    with pytest.raises(InvalidInput, match="of type double"):
        read_one(reader(signature(x=(INT32, (None,)))), file_of(good))
    with pytest.raises(InvalidInput, match="expected the column id"):
        read_one(reader(X, key_field="id"), file_of(good))
    with pytest.raises(InvalidInput, match="more than once"):
        read_one(reader(X), file_of(pa.table([[1.0], [2.0]], names=["x", "x"])))
    with pytest.raises(InvalidInput, match="the key field 'x' is an input"):
        reader(X, key_field="x")


def test_the_format_is_opened_by_name() -> None:
    assert isinstance(open_input("parquet", IMAGE, BatchOptions(batch_size=4)), ParquetRows)
