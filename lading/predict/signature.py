"""What a model's signatures say: names, types and shapes of what goes in and comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DEFAULT_SIGNATURE = "serving_default"
"""The one that is asked when a request names none: tensorflow/cc/saved_model/signature_constants.h."""
DT_STRING = 7
DT_BFLOAT16 = 14

_NUMPY_TYPES: dict[int, Any] = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    DT_STRING: object,
    8: np.complex64,
    9: np.int64,
    10: np.bool_,
    DT_BFLOAT16: np.float32,
    17: np.uint16,
    18: np.complex128,
    19: np.float16,
    22: np.uint32,
    23: np.uint64,
}
# The names of enum DataType in tensorflow/core/framework/types.proto, without DT_.
_NAMES = {
    0: "INVALID",
    1: "FLOAT",
    2: "DOUBLE",
    3: "INT32",
    4: "UINT8",
    5: "INT16",
    6: "INT8",
    7: "STRING",
    8: "COMPLEX64",
    9: "INT64",
    10: "BOOL",
    11: "QINT8",
    12: "QUINT8",
    13: "QINT32",
    14: "BFLOAT16",
    15: "QINT16",
    16: "QUINT16",
    17: "UINT16",
    18: "COMPLEX128",
    19: "HALF",
    20: "RESOURCE",
    21: "VARIANT",
    22: "UINT32",
    23: "UINT64",
}


def numpy_type(data_type: int) -> np.dtype[Any] | None:
    """The numpy dtype that carries a ``DataType``: object for strings, float32 for bfloat16, None if none does."""
    found = _NUMPY_TYPES.get(data_type)
    return None if found is None else np.dtype(found)


def type_name(data_type: int) -> str:
    """The name in ``types.proto``, for instance ``DT_FLOAT``."""
    return f"DT_{_NAMES[data_type]}" if data_type in _NAMES else str(data_type)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a signature."""

    name: str
    """Its name in the signature, as in requests."""
    dtype: np.dtype[Any] | None
    """object for strings (bytes), float32 for bfloat16; None for what numpy cannot hold (resources, variants)."""
    shape: tuple[int | None, ...] | None
    """As declared; None for a dimension that varies, and for an unknown rank. Not enforced, as in TF Serving."""
    tensor_name: str
    """The tensor in the graph, ``operation:index``."""
    data_type: int
    """TensorFlow's ``DataType`` (tensorflow/core/framework/types.proto)."""


@dataclass(frozen=True)
class Signature:
    """One way to call a model."""

    name: str
    method_name: str
    """``tensorflow/serving/predict`` and the like; empty for an initialiser."""
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    defaults: Mapping[str, bytes] = field(default_factory=dict)
    """A serialized ``tensorflow.TensorProto`` for each input that a gRPC request may leave out."""

    @property
    def is_callable(self) -> bool:
        """Whether it computes plain tensors from plain tensors.

        An initialiser has an operation for its output; sparse and composite tensors have no single one.
        """
        specs = (*self.inputs.values(), *self.outputs.values())
        return bool(self.outputs) and all(spec.dtype is not None and ":" in spec.tensor_name for spec in specs)
