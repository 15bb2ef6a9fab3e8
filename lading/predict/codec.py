"""The bodies of TensorFlow Serving's ``:predict``: bytes in, arrays out, and back. No sockets.

Rules and error texts: tensorflow_serving/util/json_tensor.cc and g3doc/api_rest.md. Needs orjson, which only the extra
``lading[serving]`` brings; ``lading.predict.jsonvalues`` works without.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from lading.errors import InvalidInstance
from lading.predict.jsonvalues import is_base64, to_array, to_lists, to_named_arrays
from lading.predict.signature import Signature, TensorSpec

Array = npt.NDArray[Any]

DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class PredictRequest:
    """A request's JSON, before it is known which signature reads it."""

    signature_name: str
    members: Mapping[str, Any]


def parse(body: bytes) -> PredictRequest:
    """Read a body's JSON.

    Raises:
        InvalidInstance: it is not JSON, not an object, or names its signature with something that is no string.
    """
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInstance(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    if not isinstance(members, dict):
        raise InvalidInstance("JSON Parse error: the document Is not object")
    name = members.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidInstance("'signature_name' key must be a string value.")
    return PredictRequest(name or DEFAULT_SIGNATURE, members)


def find_signature(request: PredictRequest, signatures: Mapping[str, Signature]) -> Signature:
    """The signature that a request is for.

    Raises:
        InvalidInstance: there is none of this name, or it takes no inputs.
    """
    found = signatures.get(request.signature_name)
    if found is None:
        raise InvalidInstance(f'Serving signature name: "{request.signature_name}" not found in signature def')
    if not found.inputs:
        raise InvalidInstance(f"Failed to get input map for signature: {found.name}")
    return found


def decode(request: PredictRequest, signature: Signature) -> tuple[dict[str, Array], bool]:
    """The arrays of a request.

    Returns:
        For each input an array of its declared type, and whether the request was in row form (``instances``).

    Raises:
        InvalidInstance: names the instance and the input that do not fit.
    """
    rows, columns = "instances" in request.members, "inputs" in request.members
    if rows and columns:
        raise InvalidInstance("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if rows:
        return _decode_rows(request.members["instances"], signature), True
    if columns:
        return _decode_columns(request.members["inputs"], signature), False
    raise InvalidInstance("Missing 'inputs' or 'instances' key")


def encode(outputs: Mapping[str, Array], *, rows: bool) -> bytes:
    """The body of an answer.

    Args:
        outputs: As the model gave them; at least one.
        rows: True for ``predictions`` (one element for each index of axis 0), False for ``outputs``.

    Raises:
        InvalidInstance: outputs without a common axis 0 in row form, or of a type that JSON cannot carry.
        EngineError: a string output is not UTF-8.
    """
    if rows:
        _check_batch(outputs)
    # orjson reads numpy's memory, and writes the shortest digits of float32 as such. It writes NaN and infinity as
    # null.
    fast = all(_is_plain(array) for array in outputs.values())
    shown = {name: _plain(array) if fast else to_lists(array, name) for name, array in outputs.items()}
    if len(shown) == 1:
        (value,) = shown.values()
    elif rows:
        value = [dict(zip(shown, row, strict=True)) for row in zip(*shown.values(), strict=True)]
    else:
        value = shown
    answer = {"predictions" if rows else "outputs": value}
    if fast:
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def _decode_rows(instances: Any, signature: Signature) -> dict[str, Array]:
    if not isinstance(instances, list):
        raise InvalidInstance("Expecting 'instances' to be an list/array")
    if not instances:
        raise InvalidInstance("No values in 'instances' array")
    if not _is_object(instances[0]):
        if len(signature.inputs) != 1:
            raise InvalidInstance(
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                "tensorinfo_map"
            )
        for index, item in enumerate(instances):
            if isinstance(item, dict) and _is_object(item):
                raise InvalidInstance(f"Expecting value/list but got object at item {index} of input list")
        (spec,) = signature.inputs.values()
        return {spec.name: _column(instances, spec)}
    for index, item in enumerate(instances):
        _check_names(index, item, signature)
    return {name: _column([item[name] for item in instances], spec) for name, spec in signature.inputs.items()}


def _check_names(index: int, item: Any, signature: Signature) -> None:
    if not _is_object(item):
        raise InvalidInstance(f"Expecting object but got list at item {index} of input list")
    for name in item:
        if name not in signature.inputs:
            raise InvalidInstance(
                f"Failed to process element: {index} of 'instances' list. "
                f"JSON object: does not have named input: {name}"
            )
    if len(item) != len(signature.inputs):
        raise InvalidInstance(
            f"Failed to process element: {index} of 'instances' list. "
            f"JSON object: keys must be equal to: {','.join(signature.inputs)}"
        )


def _column(values: list[Any], spec: TensorSpec) -> Array:
    """One input of all instances; if they do not fit, the error names the first that does not."""
    try:
        return to_array(values, spec)
    except InvalidInstance as error:
        shape: tuple[int, ...] | None = None
        for index, value in enumerate(values):
            where = (
                f"Failed to process element: {index} key: {spec.name} of 'instances' list. Error: INVALID_ARGUMENT: "
            )
            try:
                came = to_array(value, spec).shape
            except InvalidInstance as inner:
                raise InvalidInstance(f"{where}{inner}") from error
            shape = came if shape is None else shape
            if int(np.prod(came)) != int(np.prod(shape)):
                raise InvalidInstance(
                    f"{where}Expecting tensor size: {int(np.prod(shape))} but got: {int(np.prod(came))}"
                ) from error
            if came != shape:
                raise InvalidInstance(f"{where}Expecting shape {_shape(shape)} but got: {_shape(came)}") from error
        raise


def _decode_columns(inputs: Any, signature: Signature) -> dict[str, Array]:
    if _is_object(inputs):
        return to_named_arrays(inputs, signature)
    if len(signature.inputs) != 1:
        raise InvalidInstance(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map"
        )
    (spec,) = signature.inputs.values()
    return {spec.name: to_array(inputs, spec)}


def _check_batch(outputs: Mapping[str, Array]) -> None:
    batch: int | None = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise InvalidInstance(f"Tensor name: {name} has no shape information")
        batch = array.shape[0] if batch is None else batch
        if array.shape[0] != batch:
            raise InvalidInstance(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} expecting: {batch}"
            )


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _is_plain(array: Array) -> bool:
    return array.dtype.kind in "iub" or (array.dtype.kind == "f" and bool(np.isfinite(array).all()))


def _plain(array: Array) -> Any:
    """What orjson can write: it knows contiguous arrays and numpy's scalars, and no arrays of rank 0."""
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
