"""Turns nested lists of JSON into arrays and back. Rules and error texts: TensorFlow Serving's util/json_tensor.cc."""

import base64
import binascii
import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.errors import InvalidInstance, Unsupported
from lading.predict.signature import DT_STRING, Signature, TensorSpec, type_name

Array = npt.NDArray[Any]

_INT32 = (-(2**31), 2**31 - 1)
INTEGER_RANGES: Mapping[str, tuple[int, int]] = {
    # TensorFlow Serving reads the small types as int32, and what is beyond them wraps around.
    **dict.fromkeys(("int8", "int16", "int32", "uint8"), _INT32),
    "int64": (-(2**63), 2**63 - 1),
    "uint16": (0, 2**16 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
"""The least and the greatest integer that JSON may give for each dtype. TensorFlow Serving reads no uint16 at all."""
_JSON_TYPES = {str: "String", list: "Array", dict: "Object", type(None): "Null"}
_BASE64_PADDING = {0: "", 2: "==", 3: "="}

MOST_AXES = 32
"""numpy's before 2.0, which has twice as many."""
_BLOCK = 65536
"""So many numbers are turned into text at a time."""


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
        value: A number, string, ``{"b64": …}`` or boolean, or nested lists of them, all of one shape. Integers are
            ``int`` and all other numbers ``float``: an integer type takes no 1.0.
        spec: Of which input.

    Raises:
        InvalidInstance: a wrong type, an integer out of range, or lists of different lengths.
        Unsupported: a type that JSON cannot hold.
    """
    flat = _flatten(value)
    if flat is None:
        raise _misfit(value, spec, _first_shape(value), 0)
    shape, leaves = flat
    if len(shape) > MOST_AXES:
        raise InvalidInstance(f"{spec.name}: expected lists of at most {MOST_AXES} levels, received {len(shape)}")
    try:
        return _leaves_to_array(leaves, spec).reshape(shape)
    except (_Misfit, OverflowError) as error:
        raise _misfit(value, spec, shape, 0) from error


def to_lists(array: Array, name: str, *, raw: bool = False) -> Any:
    """The JSON form of an output: nested lists; strings as text, or ``{"b64": …}`` if the name ends in ``_bytes``.

    Numbers become what ``json`` prints shortest for their own precision: 0.1 stays 0.1 for float32.

    Args:
        array: The output.
        name: Its name.
        raw: Whether strings that are not UTF-8 become text with "surrogateescape", of which the bytes can be made
            again; else they are refused.

    Raises:
        InvalidInstance: complex numbers have no JSON form; a string is not UTF-8.
    """
    if array.dtype.kind == "O":
        flat = np.empty(array.size, object)
        flat[:] = [_text(item, name, raw=raw) for item in array.ravel().tolist()]
        return flat.reshape(array.shape).tolist()
    if array.dtype.kind == "c":
        raise InvalidInstance(f"Failed to write JSON value for tensor type: {array.dtype}")
    if array.dtype in (np.float32, np.float16):
        return _decimal(array).tolist()
    return array.tolist()


def _decimal(array: Array) -> Array:
    """The float64 that has the shortest digits of each number. In blocks: text takes 128 bytes for each."""
    flat, found = array.ravel(), np.empty(array.size, np.float64)
    for start in range(0, flat.size, _BLOCK):
        found[start : start + _BLOCK] = flat[start : start + _BLOCK].astype("U").astype(np.float64)
    return found.reshape(array.shape)


def is_base64(value: Any) -> bool:
    """Whether a JSON value is binary data: an object with the single member ``b64`` whose value is a string."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def to_bytes(value: Any) -> bytes:
    """The bytes of a JSON string, or of ``{"b64": …}``.

    Raises:
        InvalidInstance: the base64 is damaged. Accepted is what absl::Base64Unescape accepts: the standard alphabet,
            white space anywhere, padding right or left out.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    text = "".join(value["b64"].split())
    unpadded = text.rstrip("=")
    padding = _BASE64_PADDING.get(len(unpadded) % 4)
    if padding is None or text[len(unpadded) :] not in ("", padding):
        raise InvalidInstance("Unable to base64 decode")
    try:
        return base64.b64decode(unpadded + padding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInstance("Unable to base64 decode") from error


def excerpt(value: Any, most: int = 60) -> str:
    """The beginning of a JSON value, for an error text."""
    text = ""
    for part in json.JSONEncoder(ensure_ascii=False).iterencode(value):  # no more of it than is shown
        text += part
        if len(text) > most:
            return f"{text[:most]}…"
    return text


class _Misfit(Exception):
    """A value does not fit; which one and why is found out by another walk."""


def _flatten(value: Any) -> tuple[tuple[int, ...], list[Any]] | None:
    """The shape of nested lists and what they hold, in order; None if they have no single shape."""
    if not isinstance(value, list):
        return (), [value]
    shape = [len(value)]
    while value and isinstance(value[0], list):
        if set(map(type, value)) != {list} or len(set(map(len, value))) != 1:
            return None
        shape.append(len(value[0]))
        value = list(itertools.chain.from_iterable(value))
    return None if list in set(map(type, value)) else (tuple(shape), value)


def _leaves_to_array(leaves: list[Any], spec: TensorSpec) -> Array:
    kinds = set(map(type, leaves))
    if spec.data_type == DT_STRING:
        if not all(kind is str or kind is dict for kind in kinds) or not all(
            is_base64(leaf) for leaf in leaves if type(leaf) is dict
        ):
            raise _Misfit
        array = np.empty(len(leaves), object)
        array[:] = [to_bytes(leaf) for leaf in leaves]
        return array
    dtype = spec.dtype
    if dtype is None or dtype.kind not in "fiub":
        raise _Misfit
    if not kinds <= ({int, float} if dtype.kind == "f" else {bool} if dtype.kind == "b" else {int}):
        raise _Misfit
    if dtype.kind == "b":
        return np.array(leaves, dtype)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond float32 is infinite, as in TensorFlow Serving
            return np.array(leaves, np.float64).astype(dtype)
    return fit_integers(np.array(leaves, np.uint64 if dtype == np.uint64 else np.int64), dtype)


def fit_integers(array: Array, dtype: np.dtype[Any]) -> Array:
    """Integers of 64 bits as a narrower type, by TensorFlow Serving's rules.

    Raises:
        OverflowError: one is beyond what JSON may give for this type.
    """
    if array.size and dtype.itemsize < 8:
        least, greatest = INTEGER_RANGES[dtype.name]
        if array.min() < least or array.max() > greatest:
            raise OverflowError(f"beyond {dtype}")
    return array.astype(dtype, copy=False)


def _first_shape(value: Any) -> tuple[int, ...]:
    """The lengths of the first list at each level."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _misfit(value: Any, spec: TensorSpec, shape: tuple[int, ...], level: int) -> InvalidInstance:
    """What is wrong first with a value of which something is wrong, in TensorFlow Serving's words."""
    open_ = [iter([value])]
    while open_:
        for item in open_[-1]:
            wrong = _misfit_here(item, spec, shape, level + len(open_) - 1)
            if wrong is not None:
                return wrong
            if isinstance(item, list):
                open_.append(iter(item))
                break
        else:
            open_.pop()
    return InvalidInstance(f"{spec.name} does not fit {_short_name(spec)}")


def _misfit_here(value: Any, spec: TensorSpec, shape: tuple[int, ...], level: int) -> InvalidInstance | None:
    if isinstance(value, list):
        if level >= len(shape):
            return InvalidInstance(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(value) != shape[level]:
            return InvalidInstance(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
            )
        return None
    if level != len(shape):
        return InvalidInstance(
            f"JSON Value: {excerpt(value)} found at incorrect level: {level + 1} in the JSON DOM. "
            f"Expected at level: {len(shape)}"
        )
    if spec.data_type != DT_STRING and (spec.dtype is None or spec.dtype.kind not in "fiub"):
        return Unsupported(f"Conversion of JSON Value: {excerpt(value)} to type: {_short_name(spec)}")
    try:
        _leaves_to_array([value], spec)
    except InvalidInstance as error:
        return error
    except (_Misfit, OverflowError):
        if spec.data_type == DT_STRING and isinstance(value, dict):
            return InvalidInstance(f"JSON Value: {excerpt(value)} not formatted correctly for base64 data")
        return InvalidInstance(
            f"JSON Value: {excerpt(value)} Type: {_json_type(value)} is not of expected type: {_short_name(spec)}"
        )
    return None


def _json_type(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    if isinstance(value, bool):
        return str(value)
    return _JSON_TYPES.get(type(value), "Number")


def _text(item: bytes, name: str, *, raw: bool) -> Any:
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(item).decode()}
    try:
        return item.decode(errors="surrogateescape" if raw else "strict")
    except UnicodeDecodeError as error:
        raise InvalidInstance(
            f'output "{name}" holds bytes that are not UTF-8, which JSON cannot carry: '
            "give it a name that ends in _bytes, so that it is sent as base64"
        ) from error


def _short_name(spec: TensorSpec) -> str:
    return type_name(spec.data_type).removeprefix("DT_").lower()
