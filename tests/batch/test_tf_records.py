"""Rows from TFRecord files."""

import base64
import struct
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from text_rows import BOOL, FLOAT, INT32, INT64, STRING, UINT8, UINT64, Memory, read, read_one, reasons, signature
from tf_record_files import Feature, example, file_of, frame

from lading.batch.formats.base import MOST_SHOWN, open_input
from lading.batch.formats.tf_records import TfRecords
from lading.batch.options import BatchOptions
from lading.errors import InvalidData, InvalidInput
from lading.predict.signature import Signature
from lading.predict.tf_record import masked_crc32c

IMAGE = signature(image=(FLOAT, (None, 2, 2)))


def reader(found: Signature = IMAGE, **options: object) -> TfRecords:
    return TfRecords(found, BatchOptions(**{"batch_size": 64, **options}))  # type: ignore[arg-type]


def field(number: int, content: bytes) -> bytes:
    """A field of bytes or a message, of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def test_examples_become_arrays_of_the_declared_shape() -> None:
    found = signature(
        image=(FLOAT, (None, 2, 2)),
        count=(INT32, (None,)),
        wide=(UINT64, (None, 2)),
        words=(STRING, (None, 2)),
        ok=(BOOL, (None,)),
    )
    one = example(image=[0.5, 1.5, 2.5, 3.5], count=[7], wide=[1, 2**62], words=[b"a", b"\xff\0"], ok=[1])
    two = example(image=[1, 2, 3, 4], count=[-7], wide=[3, 4], words=[b"", b"b"], ok=[0])
    decoded = read_one(reader(found), file_of(one, two))
    assert not decoded.bad
    assert list(decoded.inputs) == ["image", "count", "wide", "words", "ok"]
    assert decoded.inputs["image"].dtype == np.float32
    assert decoded.inputs["image"].tolist() == [[[0.5, 1.5], [2.5, 3.5]], [[1.0, 2.0], [3.0, 4.0]]]
    assert decoded.inputs["image"].flags.c_contiguous
    assert decoded.inputs["count"].tolist() == [7, -7]
    assert decoded.inputs["wide"].tolist() == [[1, 2**62], [3, 4]]
    assert decoded.inputs["words"].tolist() == [[b"a", b"\xff\0"], [b"", b"b"]]
    assert decoded.inputs["ok"].tolist() == [True, False]
    assert list(decoded.rows) == [1, 2]


def test_a_file_that_tensorflow_wrote() -> None:
    # tf.io.TFRecordWriter, and tf.train.Example with image [0.0, 0.25, 0.5, 0.75] (1.75 in the second), id b"a0" (a1).
    written = bytes.fromhex(
        "2f000000000000006d5d1d500a2d0a1d0a05696d616765121412120a10000000000000803e0000003f0000403f0a0c0a0269"
        "6412060a040a0261308483f7002f000000000000006d5d1d500a2d0a1d0a05696d616765121412120a10000000000000803e"
        "0000003f0000e03f0a0c0a02696412060a040a02613159310114"
    )
    decoded = read_one(reader(key_field="id"), written)
    assert decoded.inputs["image"].tolist() == [[[0.0, 0.25], [0.5, 0.75]], [[0.0, 0.25], [0.5, 1.75]]]
    assert (decoded.carried, decoded.bad) == ({"id": ["a0", "a1"]}, [])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1.0, 2.0], 'feature "image": expected 4 values for the shape [2, 2], received 2'),
        ([1.0] * 5, "received 5"),
        ([], "received 0"),
        (None, "received 0"),
        ([b"abcd"], 'feature "image": expected float_list or int64_list, received bytes_list'),
    ],
)
def test_a_feature_that_does_not_fit_is_a_bad_row(values: Feature, reason: str) -> None:
    good = example(image=[1.0, 2.0, 3.0, 4.0])
    decoded = read_one(reader(), file_of(good, example(image=values), good, example(other=[1.0])))
    assert list(decoded.rows) == [1, 3]
    assert decoded.inputs["image"].shape == (2, 2, 2)
    assert list(reasons(decoded)) == [2, 4]
    assert reason in reasons(decoded)[2]
    assert reasons(decoded)[4] == 'feature "image" is missing'
    assert decoded.bad[0].text == base64.b64encode(example(image=values)).decode()
    assert decoded.originals[1] == good


def test_integers_out_of_range_are_bad_rows() -> None:
    found = signature(x=(UINT8, (None,)))
    decoded = read_one(reader(found), file_of(*(example(x=[value]) for value in (0, 256, 255, -1)), example(x=[1.0])))
    assert decoded.inputs["x"].tolist() == [0, 255]
    assert reasons(decoded) == {
        2: 'feature "x": expected 0 to 255 (uint8), received 256',
        4: 'feature "x": expected 0 to 255 (uint8), received -1',
        5: 'feature "x": expected int64_list, received float_list',
    }
    decoded = read_one(reader(signature(x=(BOOL, (None,)))), file_of(example(x=[2]), example(x=[1])))
    assert reasons(decoded) == {1: 'feature "x": expected 0 to 1 (bool), received 2'}


def test_one_unknown_dimension_follows_from_the_count() -> None:
    found = signature(x=(INT64, (None, None, 2)))
    decoded = read_one(reader(found), file_of(*(example(x=list(range(n))) for n in (4, 4, 6, 3))))
    assert decoded.inputs["x"].shape == (2, 2, 2)
    assert "rows of one call have one shape" in reasons(decoded)[3]
    assert "expected values for the shape [?, 2], received 3" in reasons(decoded)[4]
    _, decoded_ones = read(reader(found, batch_size=1), file_of(*(example(x=list(range(n))) for n in (4, 6))))
    assert [decoded.inputs["x"].shape for decoded in decoded_ones] == [(1, 2, 2), (1, 3, 2)]
    with pytest.raises(InvalidInput, match="at most one unknown dimension"):
        reader(signature(x=(FLOAT, (None, None, None))))


def test_a_model_with_one_string_is_given_the_records() -> None:
    found = signature(inputs=(STRING, (None,)))
    records = [example(x=[1.0]), b"", b"no example \xff"]
    decoded = read_one(reader(found), file_of(*records))
    assert decoded.inputs["inputs"].tolist() == records
    # A key has to be read from an example.
    decoded = read_one(reader(found, key_field="id"), file_of(example(id=[b"a"]), *records))
    assert decoded.carried == {"id": ["a"]}
    assert reasons(decoded) == {
        2: 'feature "id" is missing',
        3: 'feature "id" is missing',
        4: "expected a serialized tf.Example, received other data",
    }


def test_carried_features_are_json_values() -> None:
    one = example(image=[1.0] * 4, id=[b"k\xc3\xa9y"], raw=[b"\xff"], n=[5], f=[0.1], many=[1, 2])
    two = example(image=[1.0] * 4, id=[7], raw=None, n=[2**62], f=[1.5, 2.0], many=[b"x"])
    found = reader(key_field="id", passthrough=("raw", "n", "f", "many", "image"))
    assert read_one(found, file_of(one, two)).carried == {
        "id": ["kéy", 7],
        "raw": [{"b64": "/w=="}, []],
        "n": [5, 2**62],
        "f": [0.1, [1.5, 2.0]],
        "many": [[1, 2], "x"],
        "image": [[1.0] * 4, [1.0] * 4],
    }
    with pytest.raises(InvalidInput, match="the key field 'image' is an input"):
        reader(key_field="image")


def test_odd_examples_do_not_break_anything() -> None:
    twice = example(image=[1.0] * 4) + example(image=[2.0] * 4)  # merged: the last of the same name counts
    floats = np.full(4, 3, "<f4").tobytes()
    each = b"".join(b"\x0d" + floats[at : at + 4] for at in range(0, 16, 4))  # with a tag each, as proto2 writes them
    unpacked = field(1, field(1, field(1, b"image") + field(2, field(2, each))))
    unknown = example(image=[4.0] * 4) + b"\xf8\x07\x01"
    behind = field(1, field(1, field(1, b"image") + field(2, field(2, field(1, floats) + b"\xf8\x07\x01"))))
    not_text = example(image=[5.0] * 4) + field(1, field(1, field(1, b"\xff") + field(2, b"")))
    decoded = read_one(reader(), file_of(twice, unpacked, unknown, behind, not_text, b"\xff" * 20, b""))
    assert decoded.inputs["image"][:, 0, 0].tolist() == [2.0, 3.0, 4.0, 3.0]
    assert reasons(decoded) == {
        5: "expected a serialized tf.Example, received other data",  # names are UTF-8
        6: "expected a serialized tf.Example, received other data",
        7: 'feature "image" is missing',
    }


def test_damaged_data_is_a_bad_row_and_a_damaged_length_ends_the_file() -> None:
    good = example(image=[1.0] * 4)
    damaged = bytearray(frame(good))
    damaged[20] ^= 1
    decoded = read_one(reader(), frame(good) + bytes(damaged) + frame(good))
    assert list(decoded.rows) == [1, 3]
    assert reasons(decoded) == {2: "the checksum of the record's data is wrong: the file is damaged here"}

    for end, problem in ((b"\1" * 30, "the checksum of its length is wrong"), (frame(good)[:-1], "ends within")):
        blocks = reader(batch_size=2).blocks(Memory(file_of(good, good) + end))
        assert len(next(blocks).rows) == 2
        with pytest.raises(InvalidData, match=problem) as raised:
            next(blocks)
        assert "memory, record 3 at byte " in str(raised.value)


def test_blocks_go_on_from_any_of_them() -> None:
    records = [example(image=[float(index)] * 4, pad=[b"x" * (index * 37 % 400)]) for index in range(50)]
    content = file_of(*records)
    for piece in (1, 13, 1 << 20):
        found = reader(batch_size=7)
        blocks = list(found.blocks(Memory(content, piece)))
        assert [len(block.rows) for block in blocks] == [7] * 7 + [1]
        assert (blocks[0].start, blocks[-1].end, blocks[-1].next_row) == (0, len(content), 51)
        for index, block in enumerate(blocks[:-1]):
            assert list(found.blocks(Memory(content, piece), block.end, block.next_row)) == blocks[index + 1 :]
    assert not list(found.blocks(Memory(b"")))


def test_blocks_end_by_size() -> None:
    big = example(image=[1.0] * 4, pad=[b"x" * (1 << 20)])
    blocks = list(reader().blocks(Memory(file_of(*[big] * 9))))
    assert [len(block.rows) for block in blocks] == [4, 4, 1]


class Endless(Memory):
    """A record of a GiB, and one behind it."""

    def __init__(self, tail: bytes) -> None:
        super().__init__(b"")
        self._tail = tail

    def stream(self, start: int = 0) -> Iterator[bytes]:
        length = struct.pack("<Q", 1 << 30)
        yield length + struct.pack("<I", masked_crc32c(length))
        piece = bytes(1 << 20)
        for _ in range(1 << 10):
            yield piece
        yield b"\0\0\0\0" + self._tail


def test_a_record_that_is_too_long_is_skipped_in_constant_memory() -> None:
    good = example(image=[1.0] * 4)
    tracemalloc.start()
    try:
        decoded = [reader().decode(block) for block in reader().blocks(Endless(frame(good)))]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    (only,) = decoded
    assert list(only.rows) == [2]
    assert "expected a record of at most 16777216 bytes, received 107374" in reasons(only)[1]


def test_what_is_shown_of_a_record_is_short() -> None:
    shown = reader().show(b"\xff" * (1 << 20))
    assert len(shown) == MOST_SHOWN
    assert base64.b64decode(shown) == b"\xff" * 3072


def test_the_format_is_opened_by_name() -> None:
    assert isinstance(open_input("tfrecord", IMAGE, BatchOptions(batch_size=4)), TfRecords)
