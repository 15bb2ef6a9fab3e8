"""Rows of a model's outputs, and of carried columns, as JSON text."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from lading.batch.formats.base import RowErrors
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput, InvalidInstance
from lading.predict.jsonvalues import to_lists
from lading.predict.signature import Signature, type_name

Array = npt.NDArray[Any]
T = TypeVar("T")

_GZIP_WINDOW = 31  # zlib's largest window, and a gzip header: without a time and a name, so the same bytes always
_GZIP_LEVEL = 1
"""zlib's default of 6 makes text of numbers hardly shorter and takes far longer."""


def check_outputs(signature: Signature) -> None:
    """Refuse outputs that no format can hold.

    Raises:
        InvalidInput: complex numbers.
    """
    for name, spec in signature.outputs.items():
        if spec.dtype is None or spec.dtype.kind not in "fiubO":
            raise InvalidInput(
                f'the output "{name}" is of type {type_name(spec.data_type)}, which no output format can hold: '
                "expected real numbers, booleans or strings"
            )


def check_rows(outputs: Mapping[str, Array], carried: Mapping[str, Sequence[Any]]) -> int:
    """How many rows there are.

    Raises:
        InvalidInput: an output does not have as many rows as the others, or the carried columns.
    """
    counts = [len(values) for values in carried.values()] + [len(array) for array in outputs.values() if array.ndim]
    for name, array in outputs.items():
        if not array.ndim or len(array) != counts[0]:
            raise InvalidInput(
                f'the output "{name}" has the shape {list(array.shape)}, expected one with a row for each row of the '
                f"input: [{counts[0] if counts else 'N'}, …]"
            )
    return counts[0] if counts else 0


def compressed(data: bytes, options: BatchOptions) -> bytes:
    """A part of a file as it is stored; members of gzip may follow each other (RFC 1952, section 2.2)."""
    return zlib.compress(data, _GZIP_LEVEL, _GZIP_WINDOW) if options.compression == "gzip" else data


def number_lines(array: Array) -> bytes:
    """The rows of an array of numbers or booleans as JSON, a line feed between them; ``NaN`` and ``Infinity`` as such.

    orjson reads numpy's memory and writes the shortest digits of each type, without a list for each row in Python.
    """
    if not len(array):
        return b""
    if 0 in array.shape[1:]:
        return b"\n".join([orjson.dumps(array[0].tolist())] * len(array))
    body = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    if array.dtype.kind == "f" and b"null" in body:
        body = _with_tokens(body, array)
    opening, closing = b"[" * (array.ndim - 1), b"]" * (array.ndim - 1)
    # So many brackets in a row stand only where a row ends and the next one begins.
    return body[1:-1].replace(closing + b"," + opening, closing + b"\n" + opening)


def output_rows(array: Array, name: str) -> list[bytes]:
    """Each row of an output as JSON text, as TensorFlow Serving writes it: b64 if the name ends in ``_bytes``.

    Raises:
        RowErrors: strings that are not UTF-8.
    """
    if array.dtype.kind == "O":
        return _string_rows(array, name)
    return number_lines(array).split(b"\n") if len(array) else []


def json_text(value: Any) -> bytes:
    """A JSON value as text, as short as can be; with ``NaN`` and ``Infinity``, and any integer."""
    try:
        text = orjson.dumps(value)
        if value is None or b"null" not in text:
            return text
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()  # null stands for NaN, too
    except (TypeError, UnicodeEncodeError):  # integers beyond 64 bits; half of a surrogate pair, which stays escaped
        return json.dumps(value, separators=(",", ":")).encode()


def carried_rows(values: Sequence[Any], name: str, text: Callable[[Any], bytes]) -> list[bytes]:
    """The values of a carried column, each as ``text`` writes it.

    Raises:
        RowErrors: text with half of a surrogate pair, which UTF-8 cannot hold.
    """
    found, reasons = [], {}
    for index, value in enumerate(values):
        try:
            found.append(text(value))
        except UnicodeEncodeError:
            reasons[index] = f"column {name!r}: expected Unicode text, received half of a surrogate pair"
    if reasons:
        raise RowErrors(reasons)
    return found


def not_utf8(name: str) -> str:
    """Why a string of an output cannot be written as text."""
    return f'output "{name}" holds bytes that are not UTF-8: give it a name that ends in _bytes, so that they may be'


def gather(makes: Sequence[Callable[[], T]]) -> list[T]:
    """The columns that each of these makes.

    Raises:
        RowErrors: of all columns together.
    """
    found, reasons = list[T](), dict[int, str]()
    for make in makes:
        try:
            found.append(make())
        except RowErrors as error:
            reasons = {**error.reasons, **reasons}
    if reasons:
        raise RowErrors(dict(sorted(reasons.items())))
    return found


def _string_rows(array: Array, name: str) -> list[bytes]:
    try:
        return [orjson.dumps(row) for row in to_lists(array, name)]
    except InvalidInstance:
        reasons = {}
        for index in range(len(array)):
            try:
                to_lists(array[index : index + 1], name)
            except InvalidInstance as error:
                reasons[index] = str(error)
        raise RowErrors(reasons) from None


def _with_tokens(body: bytes, array: Array) -> bytes:
    """A body of numbers in which ``null`` stands for what is not finite, in the array's order."""
    flat = array.ravel()
    odd = flat[~np.isfinite(flat)]
    tokens = [b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity" for value in odd.tolist()]
    parts = body.split(b"null")
    pairs = zip(parts, [*tokens, b""], strict=True)
    return b"".join(piece for pair in pairs for piece in pair)
