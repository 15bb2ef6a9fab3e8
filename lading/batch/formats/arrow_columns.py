"""Columns of Arrow as a model's inputs, and as JSON values."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lading.batch.formats.columns import text_or_base64
from lading.batch.formats.row_shapes import Misfit, Shape, nested_shape, row_shape, shown
from lading.errors import InvalidInput
from lading.predict.signature import TensorSpec, type_name

Array = npt.NDArray[Any]

_UNKNOWN_BYTES = 16
"""What a value of a type counts that is no number, string, list or struct."""


def check_type(arrow_type: pa.DataType, column: str, spec: TensorSpec, *, file: str) -> None:
    """Refuse a column whose values can never be those of an input.

    Raises:
        InvalidInput: names the file, the column, its type and the input's.
    """
    leaf, dtype = _leaf_type(arrow_type), spec.dtype
    kind = "" if dtype is None else dtype.kind
    fits = (
        (kind == "O" and _is_string(leaf))
        or (kind == "b" and pa.types.is_boolean(leaf))
        or (kind in "iu" and kind and pa.types.is_integer(leaf))
        or (kind == "f" and (pa.types.is_integer(leaf) or pa.types.is_floating(leaf) or pa.types.is_decimal(leaf)))
    )
    if not fits:
        raise InvalidInput(
            f'{file}: the column "{column}" is of type {arrow_type}, which the input "{spec.name}" of type '
            f"{type_name(spec.data_type)} cannot take"
        )


def read_column(array: pa.Array, column: str, spec: TensorSpec) -> Array:
    """The values of all rows.

    Args:
        array: A row each; numbers, strings, or lists of them.
        column: Its name, for errors.
        spec: Of the input.

    Returns:
        ``[rows, *shape]``, C-contiguous, which may be read-only.

    Raises:
        Misfit: a null, lists of several shapes, another shape than declared, or a number out of range.
    """
    rows, came = len(array), list[int]()
    array = _storage(array)
    while _is_list(array.type):
        _check_nulls(array, column)
        lengths = _lengths(array)
        size = int(lengths[0]) if len(lengths) else 0
        if len(lengths) and (lengths != size).any():
            raise Misfit(f'column "{column}": expected lists of one length, received some of {size} and others')
        came.append(size)
        array = _storage(array.flatten())
    shape = nested_shape(row_shape(spec), tuple(came))
    if shape is None:
        raise Misfit(f'column "{column}": expected the shape {shown(row_shape(spec))}, received {shown(tuple(came))}')
    return _values(array, column, spec).reshape(rows, *shape)


def read_columns(arrays: Mapping[str, pa.Array], shape: Shape, spec: TensorSpec) -> Array:
    """As ``read_column``, from a column for each element of a row.

    Args:
        arrays: By the names of the columns, in the order of the elements; at least one.
        shape: Of a row, of as many elements.
        spec: Of the input.
    """
    rows = len(next(iter(arrays.values())))
    found = np.empty((rows, len(arrays)), spec.dtype)
    for index, (column, array) in enumerate(arrays.items()):
        found[:, index] = _values(_storage(array), column, spec)
    return found.reshape(rows, *shape)


def row_bytes(array: pa.Array) -> "npt.NDArray[np.int64]":
    """About how many bytes each row takes: a function of its values, not of how they lie in memory."""
    array = _storage(array)
    kind = array.type
    if pa.types.is_dictionary(kind):
        sizes = row_bytes(array.dictionary)
        return sizes[pc.fill_null(array.indices, 0).to_numpy(zero_copy_only=False)] if len(sizes) else _all(array, 0)
    if _is_string(kind):
        return _filled(pc.binary_length(array))
    if _is_list(kind):
        lengths = _filled(pc.list_value_length(array))
        ends = np.cumsum(lengths)
        sums = np.concatenate([[0], np.cumsum(row_bytes(array.flatten()))])
        return np.asarray(sums[ends] - sums[ends - lengths], np.int64)
    if pa.types.is_struct(kind):
        return sum((row_bytes(array.field(index)) for index in range(kind.num_fields)), _all(array, 0))
    try:
        return _all(array, math.ceil(kind.bit_width / 8))
    except ValueError:  # of no fixed width
        return _all(array, _UNKNOWN_BYTES)


def json_values(array: pa.Array) -> list[Any]:
    """The values of JSON's types: text for what JSON has no type for, such as times."""
    array = _storage(array)
    values: list[Any] = array.to_pylist()
    plain = pa.types.is_integer(array.type) or pa.types.is_boolean(array.type) or pa.types.is_float64(array.type)
    return values if plain else [_json(value, array.type) for value in values]


def null_reason(column: str) -> str:
    """What is wrong with a row that has none where the model needs a value."""
    return f'column "{column}": expected a value, received null'


def _json(value: Any, kind: pa.DataType) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # 0.1, not 0.10000000149011612
        return value if pa.types.is_float64(kind) else float(str(kind.to_pandas_dtype()(value)))
    if isinstance(value, bytes):
        return text_or_base64(value)
    if pa.types.is_dictionary(kind):
        return _json(value, kind.value_type)
    if _is_list(kind):
        return [_json(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: _json(value[field.name], field.type) for field in kind}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _values(array: pa.Array, column: str, spec: TensorSpec) -> Array:
    """The values of an array without lists, as the input's type."""
    dtype = spec.dtype
    assert dtype is not None  # see check_type
    _check_nulls(array, column)
    if dtype.kind == "O":
        return _strings(array)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    values: Array = array.to_numpy(zero_copy_only=False)
    if dtype.kind in "iu" and values.size and not np.can_cast(values.dtype, dtype):
        least, greatest = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        low, high = int(values.min()), int(values.max())
        if low < least or high > greatest:
            wrong = low if low < least else high
            raise Misfit(f'column "{column}": expected {least} to {greatest} ({dtype}), received {wrong}')
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as in JSON
        return np.ascontiguousarray(values, dtype)


def _strings(array: pa.Array) -> Array:
    found = np.empty(len(array), object)
    if pa.types.is_dictionary(array.type):
        found[:] = _strings(array.dictionary)[array.indices.to_numpy(zero_copy_only=False)]
    elif pa.types.is_fixed_size_binary(array.type):
        found[:] = array.to_pylist()
    else:
        found[:] = array.cast(pa.large_binary()).to_pylist()
    return found


def _check_nulls(array: pa.Array, column: str) -> None:
    if array.null_count:
        raise Misfit(null_reason(column))


def _storage(array: pa.Array) -> pa.Array:
    """What lies below a type of an extension, such as a tensor."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _leaf_type(kind: pa.DataType) -> pa.DataType:
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif _is_list(kind) or pa.types.is_dictionary(kind):
            kind = kind.value_type
        else:
            return kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_string(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in (*tests, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def _lengths(array: pa.Array) -> "npt.NDArray[np.int64]":
    return _filled(pc.list_value_length(array))


def _filled(lengths: pa.Array) -> "npt.NDArray[np.int64]":
    """Lengths; 0 for null."""
    return np.asarray(pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False), np.int64)


def _all(array: pa.Array, size: int) -> "npt.NDArray[np.int64]":
    return np.full(len(array), size, np.int64)
