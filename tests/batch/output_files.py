"""What the tests of output formats share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lading.batch.formats.base import OutputFormat
from lading.predict.signature import Signature, TensorSpec, numpy_type

FLOAT, DOUBLE, INT32, UINT8, STRING, COMPLEX, INT64, BOOL, HALF = 1, 2, 3, 4, 7, 8, 9, 10, 19


def signature(**outputs: tuple[int, tuple[int | None, ...] | None]) -> Signature:
    """Of a model with these outputs, each a data type and a shape."""
    specs = {
        name: TensorSpec(name, numpy_type(data_type), shape, f"{name}:0", data_type)
        for name, (data_type, shape) in outputs.items()
    }
    return Signature("serving_default", "tensorflow/serving/predict", {}, specs)


def strings(values: Any) -> "np.ndarray[Any, Any]":
    """An array of bytes; a NUL at the end of one stays."""
    return np.array(values, object)


def file_of(format: OutputFormat, *blocks: tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]]) -> bytes:
    """The finished file."""
    parts = [
        format.encode({name: np.asarray(array) for name, array in outputs.items()}, carried)
        for outputs, carried in blocks
    ]
    return format.head() + b"".join(parts) if format.plain else b"".join(format.join(iter(parts)))
