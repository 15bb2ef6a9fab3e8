"""A caller's value becomes an array as a signature declares it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lading.errors import InvalidInstance
from lading.predict.signature import DT_STRING, TensorSpec, type_name


def fit(value: npt.ArrayLike, spec: TensorSpec) -> npt.NDArray[Any]:
    """The value as a C-contiguous array of the declared type.

    Raises:
        InvalidInstance: it has another type, or values that the declared type has not.
    """
    if spec.dtype is None:
        raise InvalidInstance(f'input "{spec.name}" is of type {type_name(spec.data_type)}, which no request can hold')
    array = np.asarray(value)
    if array.dtype == spec.dtype and spec.data_type != DT_STRING:
        return array if array.flags.c_contiguous else array.copy()
    if spec.data_type == DT_STRING:
        return _strings(array, spec)
    fits = np.can_cast(array.dtype, spec.dtype, "same_kind") and (array.dtype.kind == "b") == (spec.dtype.kind == "b")
    # A list without elements is float64 to numpy, whatever it is meant to be.
    if not fits and array.size:
        raise InvalidInstance(f'input "{spec.name}" expects {spec.dtype}, received {array.dtype}')
    with np.errstate(over="ignore"):
        cast = array.astype(spec.dtype, order="C")
    if spec.dtype.kind in "iu" and not np.array_equal(cast, array):
        raise InvalidInstance(f'input "{spec.name}" has values beyond the range of {spec.dtype}')
    return cast


def _strings(array: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[Any]:
    if array.dtype.kind not in "OSU" and array.size:
        raise InvalidInstance(f'input "{spec.name}" expects strings, received {array.dtype}')
    flat = np.empty(array.size, object)
    for index, element in enumerate(array.ravel().tolist()):
        if isinstance(element, str):
            element = element.encode()
        if not isinstance(element, bytes):
            raise InvalidInstance(f'input "{spec.name}" expects strings, received {type(element).__name__}')
        flat[index] = element
    return flat.reshape(array.shape)
