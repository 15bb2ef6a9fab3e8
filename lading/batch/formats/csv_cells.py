"""Fields of CSV as values of a model's types."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.batch.formats.row_shapes import nested_shape, row_shape
from lading.errors import InvalidInstance
from lading.predict.json_value import parse_value
from lading.predict.jsonvalues import to_array
from lading.predict.signature import TensorSpec

Array = npt.NDArray[Any]

_TRUTHS = {b"true": True, b"false": False, b"1": True, b"0": False}
_WORDS = {"f": "a number", "i": "an integer", "u": "an integer", "b": "true or false", "O": "text in UTF-8"}
_SHOWN = 60


def to_text(cell: bytes, column: str) -> str:
    """A cell as text.

    Raises:
        InvalidInstance: it is not UTF-8.
    """
    try:
        return cell.decode()
    except UnicodeDecodeError as error:
        raise _wrong(cell, column, "text in UTF-8") from error


def to_scalar(cell: bytes, dtype: "np.dtype[Any]", column: str) -> Any:
    """A cell as a value of a type.

    Args:
        cell: Numbers as Python reads them, without ``_``: also ``nan``, ``inf``; integers are digits only. A boolean
            is ``true``, ``false``, ``1`` or ``0``; a string all of the cell.
        dtype: Of kind ``f``, ``i``, ``u``, ``b`` or ``O``.
        column: Its name, for messages.

    Raises:
        InvalidInstance: it is none, for instance empty, or beyond the type's range.
    """
    kind = dtype.kind
    if kind == "O":
        to_text(cell, column)
        return cell
    try:
        if kind == "b":
            return _TRUTHS[cell.strip().lower()]
        if b"_" in cell:
            raise ValueError
        if kind != "f":
            return within(int(cell), dtype)
        number = float(cell)
        if math.isinf(number) and b"n" not in cell and b"N" not in cell:
            raise OverflowError
        return number
    except (ValueError, KeyError):
        raise _wrong(cell, column, _WORDS[kind]) from None
    except OverflowError:
        raise _wrong(cell, column, f"{_WORDS[kind]} within {dtype}") from None


def to_row(cells: Sequence[bytes], dtype: "np.dtype[Any]", columns: Sequence[str]) -> Array:
    """Cells as a list of values of a type; see ``to_scalar``."""
    if dtype.kind == "f" and b"_" not in b"".join(cells):
        try:
            row = np.array(list(map(float, cells)))
        except ValueError:
            pass
        else:
            if not np.isinf(row).any():
                return row
    values = [to_scalar(cell, dtype, column) for cell, column in zip(cells, columns, strict=True)]
    row = np.empty(len(values), dtype if dtype.kind != "f" else np.float64)
    row[:] = values
    return row


def to_list(cell: bytes, spec: TensorSpec, column: str) -> Array:
    """A cell that holds a list in JSON, in the declared shape if it can have it.

    Raises:
        InvalidInstance: it is no JSON, or of another type.
    """
    try:
        array = to_array(parse_value(cell), spec)
    except InvalidInstance as error:
        raise InvalidInstance(f'column "{column}": {error}') from error
    shape = nested_shape(row_shape(spec), array.shape)
    return array if shape is None else array.reshape(shape)


def within(values: Any, dtype: "np.dtype[Any]") -> Any:
    """Integers, one or an array of them, if they are in a type's range.

    TensorFlow Serving lets small types wrap around; that is no rule for CSV.

    Raises:
        OverflowError: they are not.
    """
    limits = np.iinfo(dtype)
    least, greatest = (values, values) if isinstance(values, int) else (int(values.min()), int(values.max()))
    if least < limits.min or greatest > limits.max:
        raise OverflowError(f"beyond {dtype}")
    return values


def _wrong(cell: bytes, column: str, expected: str) -> InvalidInstance:
    text = cell[:_SHOWN].decode("utf-8", "backslashreplace")
    return InvalidInstance(
        f'column "{column}": expected {expected}, received "{text}{"…" if len(cell) > _SHOWN else ""}"'
    )
