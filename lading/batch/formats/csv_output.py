"""Predictions as CSV: RFC 4180, but lines end in a line feed alone, as most programs write and expect them."""

import base64
import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from lading.batch.formats.base import RowErrors
from lading.batch.formats.output_rows import (
    carried_rows,
    check_outputs,
    check_rows,
    compressed,
    gather,
    json_text,
    not_utf8,
    number_lines,
    output_rows,
)
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput
from lading.predict.signature import Signature, TensorSpec

Array = npt.NDArray[Any]

_SPECIAL = re.compile(rb'[",\r\n]|^$')
"""What has to stand in quotes; an empty text, too, so that it differs from null."""


@dataclass(frozen=True)
class _Output:
    """How an output becomes columns."""

    name: str
    row: tuple[int, ...] | None
    """The shape of its rows, ``()`` or ``(n,)``; None for one column of JSON."""

    @property
    def headers(self) -> list[str]:
        return [f"{self.name}_{index}" for index in range(self.row[0])] if self.row else [self.name]


class CsvOutput:
    """Writes a header, and a line for each row: the carried columns, then the outputs in the signature's order.

    An output with one value a row is a column; one with n values, if n is declared, is the columns NAME_0 … NAME_{n-1};
    any other is a column of JSON. Numbers have the shortest digits of their type, ``NaN`` and ``Infinity`` are such
    words. Strings whose output's name ends in ``_bytes`` are base64. Null is an empty field, an empty string ``""``.

    Raises:
        InvalidInput: an output of complex numbers, or two columns of the same name.
    """

    suffix = ".csv"
    plain = True

    def __init__(self, signature: Signature, options: BatchOptions) -> None:
        check_outputs(signature)
        self._options = options
        self._outputs = [_Output(name, _columns(spec)) for name, spec in signature.outputs.items()]
        self._headers = [*options.carried, *(header for output in self._outputs for header in output.headers)]
        twice = [name for name, count in Counter(self._headers).items() if count > 1]
        if twice:
            raise InvalidInput(
                f"the output would have two columns called {twice[0]!r}: rename the column that is carried, or use "
                "the output format jsonl"
            )

    def head(self) -> bytes:
        """The names of the columns."""
        return compressed(b",".join(_quoted(name.encode()) for name in self._headers) + b"\n", self._options)

    def encode(self, outputs: Mapping[str, Array], carried: Mapping[str, Sequence[Any]]) -> bytes:
        """See ``OutputFormat``.

        Raises:
            RowErrors: strings that are not UTF-8, of outputs whose names do not end in ``_bytes``; carried text that
                is not Unicode.
            InvalidInput: an output without a row for each row, or of another shape than declared.
        """
        if not check_rows(outputs, carried):
            return b""
        makes = [functools.partial(carried_rows, carried[name], name, _field) for name in self._options.carried]
        fields = [functools.partial(_output_fields, output, outputs[output.name]) for output in self._outputs]
        columns = gather([*makes, *fields])
        lines = columns[0] if len(columns) == 1 else [b",".join(row) for row in zip(*columns, strict=True)]
        return compressed(b"\n".join(lines) + b"\n", self._options)

    def join(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """The parts themselves."""
        return parts


def _columns(spec: TensorSpec) -> tuple[int, ...] | None:
    row = None if spec.shape is None else spec.shape[1:]
    if row == ():
        return ()
    return (row[0],) if row and len(row) == 1 and row[0] else None


def _output_fields(output: _Output, array: Array) -> list[bytes]:
    """The fields of an output in each row, commas between them."""
    if output.row is None:
        return [_quoted(text) for text in output_rows(array, output.name)]
    if array.shape[1:] != output.row:
        raise InvalidInput(
            f'the output "{output.name}" has rows of the shape {list(array.shape[1:])}, the signature says '
            f"{list(output.row)}: use the output format jsonl"
        )
    if array.dtype.kind == "O":
        return _string_fields(array, output.name)
    lines = number_lines(array)
    return (lines[1:-1].replace(b"]\n[", b"\n") if output.row else lines).split(b"\n")


def _string_fields(array: Array, name: str) -> list[bytes]:
    fields, reasons = [], {}
    for index, row in enumerate(array.reshape(len(array), -1).tolist()):
        try:
            fields.append(b",".join(_quoted(_text(value, name)) for value in row))
        except UnicodeDecodeError:
            reasons[index] = not_utf8(name)
    if reasons:
        raise RowErrors(reasons)
    return fields


def _text(value: bytes, name: str) -> bytes:
    if name.endswith("_bytes"):
        return base64.b64encode(value)
    value.decode()
    return value


def _field(value: Any) -> bytes:
    if value is None:
        return b""
    return _quoted(value.encode()) if isinstance(value, str) else _quoted(json_text(value))


def _quoted(text: bytes) -> bytes:
    return b'"' + text.replace(b'"', b'""') + b'"' if _SPECIAL.search(text) else text
