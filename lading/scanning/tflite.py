"""Which operations a LiteRT model holds: the engine ``litert`` runs that file, not the SavedModel's graph.

Format: tensorflow/compiler/mlir/lite/schema/schema.fbs (Model.operator_codes) in FlatBuffers
(https://flatbuffers.dev/internals).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lading.errors import InvalidModel
from lading.results import ScanFinding
from lading.scanning import op_groups
from lading.scanning.plain import plain

SUFFIX = ".tflite"
_FLEX = "Flex"
"""Before the name of an operation of TensorFlow that the converter left as it was."""
_MOST_CODES = 10_000
_OPERATOR_CODES, _CUSTOM_CODE = 1, 1
"""Numbers of the fields in Model and in OperatorCode."""


def judge_litert(path: Path, name: str, *, engine: str) -> Iterator[ScanFinding]:
    """Operations of a LiteRT model that are not LiteRT's own.

    Args:
        path: The file.
        name: Its path in the model.
        engine: What is to run the model.

    Raises:
        InvalidModel: it is no LiteRT model.
    """
    for code in sorted(set(_custom_codes(path))):
        group, _ = op_groups.group_of(code.removeprefix(_FLEX)) if code.startswith(_FLEX) else (None, None)
        reaches = group is not None and group is not op_groups.CUSTOM
        yield ScanFinding(
            "litert/custom-op",
            group.severity if group and reaches else "high" if engine == "litert" else "medium",
            plain(name),
            f"{plain(code)} is no operation of LiteRT: it needs a library that lading does not load"
            + (f"; {group.can}" if group and reaches else ""),
            "Convert the model with `lading convert`, which leaves no such operation.",
        )


def _custom_codes(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        content = _FlatBuffer(file, path)
        if content.read(4, 4) != b"TFL3":
            raise InvalidModel(f"{path}: expected a LiteRT model, found a file without its mark (TFL3)")
        model = content.number(0)
        at = content.field(model, _OPERATOR_CODES)
        if not at:
            return
        vector = at + content.number(at)
        count = content.number(vector)
        if count > _MOST_CODES:
            raise InvalidModel(f"{path}: expected a LiteRT model, found one with {count} kinds of operations")
        for index in range(count):
            place = vector + 4 + 4 * index
            code = place + content.number(place)
            text = content.field(code, _CUSTOM_CODE)
            if text:
                string = text + content.number(text)
                yield content.read(string + 4, min(content.number(string), 200)).decode(errors="replace")


class _FlatBuffer:
    """A file of which little is read."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path

    def read(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        content = self._file.read(size)
        if len(content) != size:
            raise InvalidModel(f"{self._path}: expected a LiteRT model, found a file that ends too early")
        return content

    def number(self, at: int) -> int:
        return int(struct.unpack("<I", self.read(at, 4))[0])

    def field(self, table: int, number: int) -> int:
        """Where a field of a table is; 0 if it is not there."""
        vtable = table - struct.unpack("<i", self.read(table, 4))[0]
        if vtable < 0:
            raise InvalidModel(f"{self._path}: expected a LiteRT model, found a table outside of the file")
        size = struct.unpack("<H", self.read(vtable, 2))[0]
        place = 4 + 2 * number
        offset = struct.unpack("<H", self.read(vtable + place, 2))[0] if place + 2 <= size else 0
        return table + offset if offset else 0
