"""Predictions as JSON Lines."""

import gzip
import json
import math

import numpy as np
import pytest
from output_files import BOOL, COMPLEX, DOUBLE, FLOAT, HALF, INT32, INT64, STRING, UINT8, file_of, signature, strings

from lading.batch.formats.base import RowErrors, open_output
from lading.batch.formats.json_output import JsonOutput
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput
from lading.predict.codec import encode
from lading.predict.signature import Signature

VECTOR = signature(y=(FLOAT, (None, 3)))


def writer(found: Signature = VECTOR, **options: object) -> JsonOutput:
    return JsonOutput(found, BatchOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "array"),
    [
        (FLOAT, np.float32([[0.1, 1e-8, 3.0], [-0.0, 3.4e38, 2.5]])),
        (FLOAT, np.float32([0.1, 7.0, 1e20])),
        (DOUBLE, np.float64([[0.1], [1 / 3]])),
        (HALF, np.float16([0.5, 65504.0])),
        (INT64, np.int64([[2**63 - 1, -(2**63)], [0, 1]])),
        (UINT8, np.arange(24, dtype=np.uint8).reshape(2, 3, 4)),
        (INT32, np.arange(24, dtype=np.int32).reshape(2, 3, 2, 2)),
        (INT32, np.arange(24, dtype=np.int32).reshape(4, 6)[:, ::2]),
        (INT32, np.arange(24, dtype=np.int32).reshape(4, 1, 1, 6)),
        (BOOL, np.array([[True, False], [False, False]])),
        (FLOAT, np.zeros((3, 0), np.float32)),
        (FLOAT, np.zeros((2, 0, 3), np.float32)),
        (FLOAT, np.zeros((2, 3, 0), np.float32)),
        (FLOAT, np.float32([[math.nan, 1.0], [math.inf, -math.inf], [2.0, math.nan]])),
        (STRING, strings([b"null", "é,\n]\"".encode(), b""])),
        (STRING, strings([[b"a", b"b"], [b"c", b"[1]"]])),
    ],
)  # fmt: skip
def test_a_line_is_an_element_of_predictions(kind: int, array: np.ndarray) -> None:  # type: ignore[type-arg]
    found = writer(signature(y=(kind, (None, *array.shape[1:]))))
    lines = found.encode({"y": array}, {}).decode().splitlines()
    assert len(lines) == len(array)
    served = json.loads(encode({"y": array}, rows=True))["predictions"]
    assert repr([json.loads(line) for line in lines]) == repr(served)


def test_numbers_are_as_short_as_can_be() -> None:
    content = writer().encode({"y": np.float32([[0.1, 1e-8, 3.0], [math.nan, math.inf, -math.inf]])}, {})
    assert content == b"[0.1,1e-8,3.0]\n[NaN,Infinity,-Infinity]\n"


def test_several_outputs_are_an_object_in_the_order_of_the_signature() -> None:
    found = writer(signature(**{"b%b": (INT32, (None,)), "a": (STRING, (None,)), "raw_bytes": (STRING, (None, 1))}))
    outputs = {"raw_bytes": strings([[b"\xff"], [b""]]), "a": strings([b"x", b"y"]), "b%b": np.int32([1, 2])}
    assert found.encode(outputs, {}).decode().splitlines() == [
        '{"b%b":1,"a":"x","raw_bytes":[{"b64":"/w=="}]}',
        '{"b%b":2,"a":"y","raw_bytes":[{"b64":""}]}',
    ]


def test_carried_columns_stand_beside_the_prediction() -> None:
    found = writer(key_field="kéy", passthrough=("%d",))
    values = ["a\n", 2**70, math.nan, None]
    others = [{"b64": "AA=="}, [1.5, math.inf, None], "\ud800", True]
    content = found.encode({"y": np.float32([[1, 2, 3]] * 4)}, {"kéy": values, "%d": others})
    lines = [json.loads(line) for line in content.splitlines()]
    assert repr([line["kéy"] for line in lines]) == repr(values)
    assert repr([line["%d"] for line in lines]) == repr(others)
    assert all(list(line) == ["kéy", "%d", "prediction"] for line in lines)
    assert all(line["prediction"] == [1.0, 2.0, 3.0] for line in lines)
    two = writer(signature(y=(FLOAT, (None,)), z=(FLOAT, (None,))), key_field="id")
    assert two.encode({"y": np.float32([1]), "z": np.float32([2])}, {"id": [7]}) == (
        b'{"id":7,"prediction":{"y":1.0,"z":2.0}}\n'
    )
    with pytest.raises(InvalidInput, match="'prediction' cannot be carried"):
        writer(passthrough=("prediction",))


def test_text_that_is_not_utf8_is_an_error_of_its_row() -> None:
    found = writer(signature(a=(STRING, (None,)), b=(STRING, (None, 2))))
    with pytest.raises(RowErrors) as raised:
        outputs = {"a": strings([b"x", b"\xff", b"x"]), "b": strings([[b"", b""], [b"", b""], [b"", b"\xff"]])}
        found.encode(outputs, {})
    assert list(raised.value.reasons) == [1, 2]
    assert 'output "a" holds bytes that are not UTF-8' in raised.value.reasons[1]
    assert found.encode({"a": strings([b"x"]), "b": strings([[b"", b""]])}, {}) == b'{"a":"x","b":["",""]}\n'


def test_no_rows_are_no_lines() -> None:
    assert writer().encode({"y": np.zeros((0, 3), np.float32)}, {}) == b""
    assert writer().encode({}, {}) == b""
    assert writer().head() == b""
    packed = writer(compression="gzip")
    assert gzip.decompress(file_of(packed)) == b""


def test_gzip_is_the_same_every_time() -> None:
    found = writer(compression="gzip")
    block = {"y": np.ones((100, 3), np.float32)}
    content = file_of(found, (block, {}), (block, {}))
    assert gzip.decompress(content) == b"[1.0,1.0,1.0]\n" * 200
    assert len(content) < 300
    assert content[:10] == bytes.fromhex("1f8b0800000000000403")  # no time, no name
    assert content == file_of(found, (block, {}), (block, {}))


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(InvalidInput, match='the output "y" is of type DT_COMPLEX64'):
        writer(signature(y=(COMPLEX, (None,))))
    with pytest.raises(InvalidInput, match=r'the output "y" has the shape \[2, 3\], .*\[3, …\]'):
        writer(key_field="id").encode({"y": np.zeros((2, 3), np.float32)}, {"id": [1, 2, 3]})
    with pytest.raises(InvalidInput, match=r'the output "y" has the shape \[\]'):
        writer().encode({"y": np.float32(1)}, {})


def test_the_format_is_opened_by_name() -> None:
    found = open_output(VECTOR, BatchOptions())
    assert isinstance(found, JsonOutput)
    assert (found.suffix, found.plain) == (".jsonl", True)
    assert list(found.join(iter([b"a", b"b"]))) == [b"a", b"b"]
