import csv
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_rows import (
    BOOL,
    FLOAT,
    INT32,
    INT64,
    STRING,
    UINT8,
    UINT64,
    Memory,
    assert_same,
    read,
    read_one,
    reasons,
    signature,
)

from lading.batch.formats.csv_numbers import NumberFields
from lading.batch.formats.csv_records import cut_records, split_record
from lading.batch.formats.csv_rows import CsvRows
from lading.batch.formats.lines import Overlong
from lading.batch.options import BatchOptions
from lading.errors import InvalidData, InvalidInput

ROWS = BatchOptions(batch_size=100)
KEYED = BatchOptions(batch_size=100, key_field="id")
TABLE = signature(age=(FLOAT, (None,)), sex=(STRING, (None,)), children=(INT64, (None, 1)), home=(BOOL, (None,)))
IMAGE = signature(image=(FLOAT, (None, 2, 2)))


def test_columns_of_the_inputs_names() -> None:
    content = (
        "sex,Unused,age,id,children,home\r\n"
        'f,,1.5,007,3,true\r\n"m, ""x""\né",z,nan,"8",-1,0\r\n\r\nf,z,-inf, 9 ,0,FALSE'
    )
    decoded = read_one(CsvRows(TABLE, KEYED), content.encode())
    assert list(decoded.inputs) == ["age", "sex", "children", "home"]
    np.testing.assert_array_equal(decoded.inputs["age"], np.array([1.5, np.nan, -np.inf], np.float32))
    assert decoded.inputs["sex"].tolist() == [b"f", 'm, "x"\né'.encode(), b"f"]
    np.testing.assert_array_equal(decoded.inputs["children"], [[3], [-1], [0]])
    assert decoded.inputs["home"].tolist() == [True, False, False]
    assert decoded.carried == {"id": ["007", "8", " 9 "]}  # text, as it stands there
    assert list(decoded.rows) == [2, 3, 5]  # records, the header and blank lines among them
    assert decoded.bad == []


@pytest.mark.parametrize(
    "header",
    ["image_0,image_1,image_2,image_3", "image.0,image.1,image.2,image.3", "image[0],image[1],image[2],image[3]"],
)
def test_numbered_columns(header: str) -> None:
    decoded = read_one(CsvRows(IMAGE, ROWS), f"label,{header}\n9,1,2,3,4\n".encode())
    np.testing.assert_array_equal(decoded.inputs["image"], [[[1, 2], [3, 4]]])


def test_numbered_columns_go_by_their_numbers() -> None:
    decoded = read_one(CsvRows(IMAGE, ROWS), b"image_3,image_1,image_0,image_2\n4,2,1,3\n")
    np.testing.assert_array_equal(decoded.inputs["image"], [[[1, 2], [3, 4]]])


def test_a_column_of_lists() -> None:
    decoded = read_one(CsvRows(IMAGE, ROWS), b'image\n"[1,2,3,4]"\n"[[5,6],[7,8]]"\n"[1,2]"\nx\n')
    np.testing.assert_array_equal(decoded.inputs["image"], [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    assert reasons(decoded) == {
        4: "expected for a row the shape [2, 2], received [2]",
        5: 'column "image": JSON Parse error: Invalid value. at offset: 0',
    }


def test_all_columns_are_the_only_input() -> None:
    decoded = read_one(CsvRows(IMAGE, KEYED), b"pixel1,pixel2,id,pixel3,pixel4\n1,2,a,3,4\n")
    np.testing.assert_array_equal(decoded.inputs["image"], [[[1, 2], [3, 4]]])
    assert decoded.carried == {"id": ["a"]}
    decoded = read_one(CsvRows(signature(x=(FLOAT, (None, None))), ROWS), b"a,b,c\n1,2,3\n")
    assert decoded.inputs["x"].shape == (1, 3)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "a,b",
            (
                'expected for the input "image" a column of this name with lists, or columns image_0 to image_3, '
                "or 4 columns in all, received a, b"
            ),
        ),
        (
            "image_0,image_1",
            'expected for the input "image" 4 columns, numbered from 0, received 2: image_0 to image_1',
        ),
        ("image,image", "expected each column once, received image more than once"),
    ],
)
def test_a_header_without_the_inputs_is_refused(header: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(CsvRows(IMAGE, ROWS), f"{header}\n1,2\n".encode())
    assert str(caught.value) == f"memory: {message}"


def test_a_header_without_the_carried_columns_is_refused() -> None:
    with pytest.raises(InvalidInput, match="memory: expected the column id, which is to be carried to the output"):
        read(CsvRows(IMAGE, KEYED), b"a,b,c,d\n")
    with pytest.raises(InvalidInput, match='expected for the input "sex" a column of this name, received age, id'):
        read(CsvRows(TABLE, KEYED), b"age,id\n")


def test_a_header_that_cannot_be_read() -> None:
    with pytest.raises(InvalidData, match='memory: expected a header: column "1": expected text in UTF-8'):
        read(CsvRows(IMAGE, ROWS), "image\n".encode("utf-16"))
    with pytest.raises(InvalidData, match="expected a header: expected a quotation mark that ends a field"):
        read(CsvRows(IMAGE, ROWS), b'"image\n1\n')


def test_an_empty_file_has_no_rows() -> None:
    assert read(CsvRows(IMAGE, ROWS), b"\n\n") == ([], [])
    assert read(CsvRows(IMAGE, ROWS), b"image\n") == ([], [])


def test_bad_rows() -> None:
    lines = (
        "1,f,1,1", ",f,1,1", "x,f,1,1", "1_0,f,1,1", "1e400,f,1,1", "1,f,1.0,1", "1,f,9223372036854775808,1", "1,f,,1",
        "1,f,1,2", "1,f,1", "1,f,1,1,", '1,"f"g,1,1', '2,f"g,1,1',
    )  # fmt: skip
    decoded = read_one(CsvRows(TABLE, ROWS), "\n".join(["age,sex,children,home", *lines]).encode())
    assert decoded.inputs["sex"].tolist() == [b"f", b'f"g']
    assert reasons(decoded) == {
        3: 'column "age": expected a number, received ""',
        4: 'column "age": expected a number, received "x"',
        5: 'column "age": expected a number, received "1_0"',
        6: 'column "age": expected a number within float32, received "1e400"',
        7: 'column "children": expected an integer, received "1.0"',
        8: 'column "children": expected an integer within int64, received "9223372036854775808"',
        9: 'column "children": expected an integer, received ""',
        10: 'column "home": expected true or false, received "2"',
        11: "expected 4 fields, as the header has, received 3",
        12: "expected 4 fields, as the header has, received 5",
        13: "expected a comma behind the closing quotation mark of field 2, or an end of it",
    }
    assert decoded.bad[0].text == ",f,1,1"


def test_small_integers_do_not_wrap() -> None:
    decoded = read_one(CsvRows(signature(x=(UINT8, (None, 2))), ROWS), b"a,b\n255,0\n256,0\n1,-1\n")
    assert decoded.inputs["x"].tolist() == [[255, 0]]
    assert reasons(decoded)[3] == 'column "a": expected an integer within uint8, received "256"'


def test_text_that_is_not_utf8_is_a_bad_row() -> None:
    decoded = read_one(CsvRows(signature(x=(STRING, (None,))), KEYED), b"x,id\n\xff,1\na,\xfe\nb,2\n")
    assert decoded.inputs["x"].tolist() == [b"b"]
    assert reasons(decoded)[2] == 'column "x": expected text in UTF-8, received "\\xff"'
    assert decoded.bad[0].text == "\\xff,1"


def test_records_beyond_the_limit_and_without_an_end() -> None:
    options = BatchOptions(batch_size=10, max_line_bytes=12)
    model = signature(x=(STRING, (None,)))
    content = b'x\n"a\nb"\n"' + b"c\n" * 20 + b'"\n' + b"d" * 20 + b'\nok\n"e\n' + b"f" * 30 + b'\n"open\n'
    decoded = read_one(CsvRows(model, options), content)
    assert decoded.inputs["x"].tolist() == [b"a\nb", b"ok"]
    assert list(decoded.rows) == [2, 5]
    found = reasons(decoded)
    assert found[3] == "expected a record of at most 12 bytes, received 42"
    assert found[4] == "expected a line of at most 12 bytes, received 20"
    assert found[6].startswith("expected a record of at most 12 bytes")
    assert found[7] == "expected a quotation mark that ends a field, received the end of the file"


def test_any_block_goes_on_as_the_whole_file_does() -> None:
    format = CsvRows(signature(x=(STRING, (None,)), y=(FLOAT, (None,))), BatchOptions(batch_size=3, max_line_bytes=30))
    content = b"\xef\xbb\xbf\n x,y\n" + b'"a\nb",1\n\nx,2\r\n' * 5 + b"y" * 40 + b"\nz,3"
    blocks = list(format.blocks(Memory(content)))
    assert blocks[0].first_row == 3
    for index, block in enumerate(blocks):
        again = list(format.blocks(Memory(content, piece=5), block.start, block.first_row))
        assert again == blocks[index:]
        assert_same(format.decode(again[0]), format.decode(block))
    assert blocks[-1].end == len(content)


def test_records_of_numbers_are_read_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    whole = NumberFields.read

    def counted(self: NumberFields, record: bytes, index: int) -> Any:
        nonlocal count
        carried = whole(self, record, index)
        count += carried is not None
        return carried

    monkeypatch.setattr(NumberFields, "read", counted)
    decoded = read_one(CsvRows(IMAGE, KEYED), b"id,p1,p2,p3,p4\nMr. X,1,2.5, 3,4e1\r\n" * 1)
    np.testing.assert_array_equal(decoded.inputs["image"], [[[1, 2.5], [3, 40]]])
    assert decoded.carried == {"id": ["Mr. X"]}
    assert count == 1
    model = signature(a=(INT32, (None,)), b=(UINT8, (None, 1)))
    decoded = read_one(CsvRows(model, KEYED), b"x,b,a,id\n1,2,3,k\r\n")
    assert (decoded.inputs["a"].tolist(), decoded.inputs["b"].tolist(), decoded.carried) == ([3], [[2]], {"id": ["k"]})
    assert count == 2


FIELDS = st.text('ab,"\n\r é', max_size=8)


@given(st.lists(st.lists(FIELDS, min_size=1, max_size=4), max_size=6), st.booleans(), st.integers(1, 9))
def test_records_are_read_as_they_were_written(rows: list[list[str]], quoted: bool, length: int) -> None:
    text = io.StringIO()
    newline, quoting = ("\n", csv.QUOTE_ALL) if quoted else ("\r\n", csv.QUOTE_MINIMAL)
    csv.writer(text, lineterminator=newline, quoting=quoting).writerows(rows)
    content = text.getvalue().encode()
    pieces = (content[at : at + length] for at in range(0, len(content), length))
    records = list(cut_records(pieces, 10_000))
    assert sum(taken for _, taken in records) == len(content)
    found = [[field.decode() for field in split_record(record)] for record, _ in records if isinstance(record, bytes)]
    assert found == rows
    assert not any(isinstance(record, Overlong) for record, _ in records)


CELL_TEXTS = """
    0 1 -1 -0 007 +5 255 256 2147483648 9223372036854775807 9223372036854775808 18446744073709551616 1.0 0.1 1. .5 1e3
    1e39 1e400 nan NaN -inf Infinity 1_0 x [1] ] [ true 0x1 \u0663
"""
CELLS = st.sampled_from([*CELL_TEXTS.split(), "", " 1 ", '"1"', '"1,2"', "1\t", "{}", '"', "1,2"]) | st.integers(
    -300, 300
).map(str)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=4, max_size=4), min_size=1, max_size=6),
    st.sampled_from([FLOAT, 2, INT32, UINT8, INT64, UINT64]),
    st.sampled_from(["a,b,c,d", "id,a,b,c", "a,b,c,id", "a,id,b,c", "x_1,x_0,id,x_2", "id,x,y,z"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_both_ways_give_the_same(rows: list[list[str]], data_type: int, header: str, newline: str) -> None:
    shape: tuple[int | None, ...] = (None,) if ",x," in header else (None, None)
    model, options = signature(x=(data_type, shape)), KEYED if "id" in header else ROWS
    content = newline.join([header, *(",".join(row) for row in rows), "1,2,3,4"]).encode()
    for block in CsvRows(model, options).blocks(Memory(content)):
        assert_same(CsvRows(model, options).decode(block), CsvRows(model, options, numbers=False).decode(block))
