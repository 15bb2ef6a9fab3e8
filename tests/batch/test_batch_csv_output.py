"""Predictions as CSV, read again by Python's own reader."""

import csv
import gzip
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from output_files import BOOL, COMPLEX, FLOAT, INT64, STRING, file_of, signature, strings

from lading.batch.formats.base import RowErrors, open_output
from lading.batch.formats.csv_output import CsvOutput
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput
from lading.predict.signature import Signature

VECTOR = signature(y=(FLOAT, (None, 3)))


def writer(found: Signature = VECTOR, **options: object) -> CsvOutput:
    return CsvOutput(found, BatchOptions(output_format="csv", **options))  # type: ignore[arg-type]


def rows(format: CsvOutput, outputs: Mapping[str, Any], carried: Mapping[str, Sequence[Any]]) -> list[dict[str, str]]:
    content = file_of(format, (outputs, carried)).decode()
    return list(csv.DictReader(io.StringIO(content, newline=""), strict=True))


def test_a_vector_is_a_column_for_each_element() -> None:
    block = {"y": np.float32([[0.1, 1e-8, 3.0], [math.nan, math.inf, -math.inf]])}
    assert file_of(writer(), (block, {}), (block, {})) == (
        b"y_0,y_1,y_2\n" + b"0.1,1e-8,3.0\nNaN,Infinity,-Infinity\n" * 2
    )


def test_every_kind_of_output() -> None:
    found = signature(
        score=(FLOAT, (None,)),
        one=(INT64, (None, 1)),
        ok=(BOOL, (None, 2)),
        text=(STRING, (None,)),
        words=(STRING, (None, 2)),
        raw_bytes=(STRING, (None,)),
        ragged=(FLOAT, (None, None)),
        deep=(INT64, (None, 2, 1)),
        any=(STRING, None),
        none=(FLOAT, (None, 0)),
    )
    outputs = {
        "score": np.float32([0.5, math.nan]),
        "one": np.int64([[2**62], [-1]]),
        "ok": np.array([[True, False], [False, True]]),
        "text": strings([b'a,"b"\r\nc', b""]),
        "words": strings([[b"x", b"y,z"], ["é".encode(), b""]]),
        "raw_bytes": strings([b"\xff\xfe", b""]),
        "ragged": np.float32([[1, 2], [3, 4]]),
        "deep": np.int64([[[1], [2]], [[3], [4]]]),
        "any": strings([[b"p"], [b"q"]]),
        "none": np.zeros((2, 0), np.float32),
    }
    first, second = rows(writer(found), outputs, {})
    assert list(first) == (
        ["score", "one_0", "ok_0", "ok_1", "text", "words_0", "words_1", "raw_bytes", "ragged", "deep", "any", "none"]
    )
    assert [first["score"], first["one_0"], first["ok_0"], first["ok_1"]] == ["0.5", str(2**62), "true", "false"]
    assert [first["text"], first["words_0"], first["words_1"]] == ['a,"b"\r\nc', "x", "y,z"]
    assert (first["raw_bytes"], second["raw_bytes"]) == ("//4=", "")
    assert [json.loads(first[name]) for name in ("ragged", "deep", "any", "none")] == [
        [1.0, 2.0],
        [[1], [2]],
        ["p"],
        [],
    ]
    assert (second["score"], second["text"], second["words_0"]) == ("NaN", "", "é")


def test_carried_columns_stand_first() -> None:
    found = writer(key_field="the, key", passthrough=("b",))
    keys = ["a", 7, None, "", True]
    others = [0.1, "x\ny", [1, None], {"b64": "AA=="}, math.nan]
    block = ({"y": np.zeros((5, 3), np.float32)}, {"the, key": keys, "b": others})
    lines = file_of(found, block)
    assert lines.startswith(b'"the, key",b,y_0,y_1,y_2\na,0.1,0.0,')
    read = list(csv.DictReader(io.StringIO(lines.decode(), newline=""), strict=True))
    assert [row["the, key"] for row in read] == ["a", "7", "", "", "true"]
    assert [row["b"] for row in read] == ["0.1", "x\ny", "[1,null]", '{"b64":"AA=="}', "NaN"]
    assert b'\n"","{""b64""' in lines  # an empty text differs from null
    assert b'\n,"[1,null]"' in lines


def test_rows_that_cannot_be_written() -> None:
    found = writer(signature(a=(STRING, (None,)), b=(STRING, (None, None))), key_field="id")
    outputs = {"a": strings([b"x", b"\xff", b"y"]), "b": strings([[b"\xff"], [b"x"], [b"x"]])}
    with pytest.raises(RowErrors) as raised:
        found.encode(outputs, {"id": ["", "", "\ud800"]})
    assert list(raised.value.reasons) == [0, 1, 2]
    assert "surrogate" in raised.value.reasons[2]


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(InvalidInput, match="DT_COMPLEX64"):
        writer(signature(y=(COMPLEX, (None,))))
    with pytest.raises(InvalidInput, match="two columns called 'y_1'"):
        writer(signature(y=(FLOAT, (None, 2)), y_1=(FLOAT, (None,))))
    with pytest.raises(InvalidInput, match="two columns called 'y_1'"):
        writer(passthrough=("y_1",))
    with pytest.raises(InvalidInput, match=r"rows of the shape \[2\], the signature says \[3\]"):
        writer().encode({"y": np.zeros((2, 2), np.float32)}, {})


def test_gzip_holds_the_header_too() -> None:
    packed = open_output(VECTOR, BatchOptions(output_format="csv", compression="gzip"))
    assert gzip.decompress(file_of(packed)) == b"y_0,y_1,y_2\n"
    assert gzip.decompress(file_of(packed, ({"y": np.ones((1, 3), np.float32)}, {}))).endswith(b"\n1.0,1.0,1.0\n")
    assert (packed.suffix, packed.plain) == (".csv", True)
