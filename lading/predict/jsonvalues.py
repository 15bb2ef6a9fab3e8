"""Turns nested lists of JSON into arrays and back. The error texts are TensorFlow Serving's (util/json_tensor.cc)."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.errors import EngineError, InvalidInstance
from lading.predict.signature import DT_STRING, Signature, TensorSpec, type_name

Array = npt.NDArray[Any]

_KINDS = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}
"""For each kind of dtype the kinds of numbers that it accepts, as numpy infers them from JSON."""


def to_inputs(values: Mapping[str, Any], signature: Signature) -> dict[str, Array]:
    """The arrays of named values, for instance of a golden request.

    Args:
        values: For each input nested lists, batch axis included.
        signature: What is called.

    Raises:
        InvalidInstance: an input is missing or unknown, or its value does not fit its type.
    """
    unknown = values.keys() - signature.inputs.keys()
    if unknown:
        raise InvalidInstance(f"Request does not have named input: {', '.join(sorted(unknown))}")
    return to_named_arrays(values, signature)


def to_named_arrays(values: Mapping[str, Any], signature: Signature) -> dict[str, Array]:
    """As ``to_inputs``, but values that the signature does not know are ignored, as in the columnar form."""
    for name in signature.inputs:
        if name not in values:
            raise InvalidInstance(f"Missing named input: {name} in 'inputs' object.")
    return {name: to_array(values[name], spec) for name, spec in signature.inputs.items()}


def to_array(value: Any, spec: TensorSpec) -> Array:
    """The array of a JSON value.

    Args:
        value: A number, string, ``{"b64": …}`` or boolean, or nested lists of them, all of one shape.
        spec: Of which input.

    Raises:
        InvalidInstance: a wrong type, an integer out of range, or lists of different lengths.
    """
    if spec.data_type == DT_STRING:
        return _string_array(value)
    if spec.dtype is None or spec.dtype.kind not in _KINDS:
        raise InvalidInstance(f"JSON values of type {_short_name(spec)} are not supported")
    try:
        array = np.array(value)
    except (ValueError, OverflowError) as error:
        raise InvalidInstance(f"Encountered list at unexpected size: {error}") from error
    # A list without numbers is float64 to numpy, whatever it is meant to be.
    if array.dtype.kind not in _KINDS[spec.dtype.kind] and (array.size or array.dtype.kind == "O"):
        raise InvalidInstance(f"JSON Value: {_excerpt(value)} is not of expected type: {_short_name(spec)}")
    if spec.dtype.kind in "iu" and array.size:
        limits = np.iinfo(spec.dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise InvalidInstance(f"JSON Value: {_excerpt(value)} is not of expected type: {_short_name(spec)}")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as in TensorFlow Serving
        return array.astype(spec.dtype, copy=False)


def to_lists(array: Array, name: str) -> Any:
    """The JSON form of an output: nested lists; strings as text, or ``{"b64": …}`` if the name ends in ``_bytes``.

    Numbers become what ``json`` prints shortest for their own precision: 0.1 stays 0.1 for float32.

    Raises:
        InvalidInstance: complex numbers have no JSON form.
        EngineError: a string is not UTF-8.
    """
    if array.dtype.kind == "O":
        flat = np.empty(array.size, object)
        flat[:] = [_text(item, name) for item in array.ravel().tolist()]
        return flat.reshape(array.shape).tolist()
    if array.dtype.kind == "c":
        raise InvalidInstance(f"Failed to write JSON value for tensor type: {array.dtype}")
    if array.dtype in (np.float32, np.float16):
        return array.astype("U").astype(np.float64).tolist()
    return array.tolist()


def is_base64(value: Any) -> bool:
    """Whether a JSON value is binary data: an object with the single member ``b64`` whose value is a string."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _string_array(value: Any) -> Array:
    flat: list[bytes] = []
    shape = _walk(value, flat)
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(shape)


def _walk(value: Any, flat: list[bytes]) -> tuple[int, ...]:
    """Append the strings of nested lists in order; the lists' shape."""
    if not isinstance(value, list):
        flat.append(_bytes(value))
        return ()
    shapes = [_walk(item, flat) for item in value]
    for shape in shapes:
        if shape != shapes[0]:
            raise InvalidInstance(
                f"Encountered list at unexpected size: {list(shape)} expected size: {list(shapes[0])}"
            )
    return (len(value), *(shapes[0] if shapes else ()))


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not is_base64(value):
        raise InvalidInstance(f"JSON Value: {_excerpt(value)} is not of expected type: string")
    try:
        return base64.b64decode("".join(value["b64"].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInstance(f"Unable to base64 decode: {error}") from error


def _text(item: bytes, name: str) -> Any:
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(item).decode()}
    try:
        return item.decode()
    except UnicodeDecodeError as error:
        raise EngineError(
            f'output "{name}" holds bytes that are not UTF-8, which JSON cannot carry: '
            "give it a name that ends in _bytes, so that it is sent as base64"
        ) from error


def _short_name(spec: TensorSpec) -> str:
    return type_name(spec.data_type).removeprefix("DT_").lower()


def _excerpt(value: Any, most: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}…"
