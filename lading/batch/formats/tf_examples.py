"""Reads the features of a serialized tf.Example.

Format: tensorflow/core/example/{example,feature}.proto: a map from names to lists of bytes, floats or int64s.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from lading.batch.formats.columns import text_or_base64
from lading.batch.formats.row_shapes import Declared, Misfit, row_shape, shown, values_shape
from lading.predict.jsonvalues import to_lists
from lading.predict.packed import read_packed
from lading.predict.protos import message
from lading.predict.signature import TensorSpec

Array = npt.NDArray[Any]

_FLOAT32 = np.dtype(np.float32)


def read_features(record: bytes) -> Mapping[str, Any]:
    """The features of an example by their names; of those of the same name the last, as protobuf reads maps.

    Raises:
        Misfit: it is not a tf.Example.
    """
    try:
        features: Mapping[str, Any] = message("tensorflow.Example").FromString(record).features.feature
    except DecodeError as error:
        raise Misfit("expected a serialized tf.Example, received other data") from error
    return features


def read_input(features: Mapping[str, Any], spec: TensorSpec) -> Array:
    """The values of the feature of an input's name, in the shape of a row.

    Raises:
        Misfit: there is none, it holds values of another kind or out of range, or too many or too few.
    """
    feature = _find(features, spec.name)
    kind = feature.WhichOneof("kind")
    values = _values(feature, kind, spec) if kind else np.empty(0, spec.dtype)
    declared = row_shape(spec)
    shape = values_shape(declared, len(values))
    if shape is None:
        raise Misfit(f'feature "{spec.name}": expected {_wanted(declared)}, received {len(values)}')
    return values.reshape(shape)


def read_carried(features: Mapping[str, Any], name: str) -> Any:
    """A feature as a JSON value: a list, or its element if it has a single one.

    Raises:
        Misfit: there is none.
    """
    feature = _find(features, name)
    kind = feature.WhichOneof("kind")
    values: list[Any] = list(getattr(feature, kind).value) if kind else []
    if kind == "bytes_list":
        values = [text_or_base64(value) for value in values]
    elif kind == "float_list":
        values = to_lists(np.array(values, np.float32), name)  # 0.1, not 0.10000000149011612
    return values[0] if len(values) == 1 else values


def _find(features: Mapping[str, Any], name: str) -> Any:
    if name not in features:  # to ask a map of messages for what is not there would make it
        raise Misfit(f'feature "{name}" is missing')
    return features[name]


def _values(feature: Any, kind: str, spec: TensorSpec) -> Array:
    dtype = spec.dtype
    assert dtype is not None  # the signature can be called
    if dtype.kind == "O" and kind == "bytes_list":
        strings = np.empty(len(feature.bytes_list.value), object)
        strings[:] = list(feature.bytes_list.value)
        return strings
    if dtype.kind == "f" and kind == "float_list":
        return read_packed(feature.float_list, "value", _FLOAT32).astype(dtype, copy=False)
    if dtype.kind in "fiub" and kind == "int64_list":
        values = feature.int64_list.value
        return _fitting(np.fromiter(values, np.int64, len(values)), spec, dtype)
    raise Misfit(f'feature "{spec.name}": expected {_kinds(dtype)}, received {kind}')


def _fitting(values: Array, spec: TensorSpec, dtype: "np.dtype[Any]") -> Array:
    """Integers as the type of an input."""
    if dtype.kind != "f" and dtype != np.int64 and values.size:
        least, greatest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        low, high = int(values.min()), int(values.max())
        if low < least or high > greatest:
            wrong = low if low < least else high
            raise Misfit(f'feature "{spec.name}": expected {least} to {greatest} ({dtype}), received {wrong}')
    return values.astype(dtype, copy=False)


def _kinds(dtype: "np.dtype[Any]") -> str:
    return {"O": "bytes_list", "f": "float_list or int64_list"}.get(dtype.kind, "int64_list")


def _wanted(declared: Declared) -> str:
    sizes: Sequence[int | None] = declared or ()
    if not sizes:
        return "one value"
    if None in sizes:
        return f"values for the shape {shown(declared)}"
    return f"{int(np.prod([size or 0 for size in sizes]))} values for the shape {shown(declared)}"
