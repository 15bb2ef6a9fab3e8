"""What the tests of text formats share: files in memory, and signatures."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lading.batch.formats.base import Block, Decoded, InputFormat
from lading.predict.signature import Signature, TensorSpec, numpy_type


class Memory:
    """A file in memory, read in pieces of a given length."""

    name = "memory"

    def __init__(self, content: bytes, piece: int = 1 << 20) -> None:
        self._content = content
        self._piece = piece

    def stream(self, start: int = 0) -> Iterator[bytes]:
        for at in range(start, len(self._content), self._piece):
            yield self._content[at : at + self._piece]

    def read_at(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length]

    @property
    def size(self) -> int:
        return len(self._content)

    @property
    def consumed(self) -> int:
        return len(self._content)


FLOAT, INT32, UINT8, STRING, INT64, BOOL, UINT64 = 1, 3, 4, 7, 9, 10, 23


def signature(**inputs: tuple[int, tuple[int | None, ...] | None]) -> Signature:
    """Of a model with these inputs, each a data type and a shape."""
    specs = {
        name: TensorSpec(name, numpy_type(data_type), shape, f"{name}:0", data_type)
        for name, (data_type, shape) in inputs.items()
    }
    return Signature("serving_default", "tensorflow/serving/predict", specs, {})


def read(format: InputFormat, content: bytes) -> tuple[list[Block], list[Decoded]]:
    """All blocks of a file, and what they hold."""
    blocks = list(format.blocks(Memory(content)))
    return blocks, [format.decode(block) for block in blocks]


def read_one(format: InputFormat, content: bytes) -> Decoded:
    """The only block of a small file."""
    _, (decoded,) = read(format, content)
    return decoded


def reasons(decoded: Decoded) -> dict[int, str]:
    """Why rows are bad, by number."""
    return {bad.row: bad.reason for bad in decoded.bad}


def assert_same(left: Decoded, right: Decoded) -> None:
    """Two ways of reading give the same."""
    assert list(left.rows) == list(right.rows)
    assert list(left.bad) == list(right.bad)
    assert repr(left.carried) == repr(right.carried)  # tells 1 from 1.0 and True, and takes NaN for the same
    assert left.inputs.keys() == right.inputs.keys()
    for name, array in left.inputs.items():
        other: Any = right.inputs[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(array, other)
        assert array.flags.c_contiguous
