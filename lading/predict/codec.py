"""The bodies of TensorFlow Serving's ``:predict``: bytes in, arrays out, and back. No sockets.

Rules and error texts: tensorflow_serving/util/json_tensor.cc and g3doc/api_rest.md. Needs simdjson and orjson, which
only the extra ``lading[serving]`` brings; ``lading.predict.jsonvalues`` works without.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from lading.errors import InvalidInstance, Unsupported
from lading.predict.document import Document
from lading.predict.jsonvalues import excerpt, is_base64, to_array, to_lists, to_named_arrays
from lading.predict.signature import DEFAULT_SIGNATURE, Signature

Array = npt.NDArray[Any]


def parse(body: bytes) -> Document:
    """Read a body's JSON, before it is known which signature reads it.

    Raises:
        InvalidInstance: it is not JSON, not an object, or names its signature with something that is no string.
    """
    document = Document(body)
    signature_name(document)
    return document


def signature_name(document: Document) -> str:
    """The signature that a request names, else the default one."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidInstance(
            f"JSON Value: {excerpt(document.members)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name or DEFAULT_SIGNATURE


def find_signature(document: Document, signatures: Mapping[str, Signature], *, named: object = None) -> Signature:
    """The signature that a request is for.

    Args:
        document: The request, which may name a signature.
        signatures: Those of the model.
        named: Instead of the request's name, if it is text.

    Raises:
        InvalidInstance: there is none of this name, or it takes no inputs.
    """
    name = named if isinstance(named, str) and named else signature_name(document)
    found = signatures.get(name)
    if found is None:
        raise InvalidInstance(f'Serving signature name: "{name}" not found in signature def')
    if not found.inputs:
        raise InvalidInstance(f"Failed to get input map for signature: {found.name}")
    return found


def decode(document: Document, signature: Signature) -> tuple[dict[str, Array], bool]:
    """The arrays of a request.

    Returns:
        For each input, in the signature's order, an array of its declared type, C-contiguous; and whether the request
        was in row form (``instances``).

    Raises:
        InvalidInstance: names the instance and the input that do not fit.
        Unsupported: in columnar form, an input of a type that JSON cannot hold.
    """
    rows = "instances" in document
    if rows and "inputs" in document:
        raise _wrong(document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if not rows and "inputs" not in document:
        raise InvalidInstance("Missing 'inputs' or 'instances' key")
    if len(signature.inputs) == 1:
        # Nearly every request is of this form: one input, numbers only.
        (spec,) = signature.inputs.values()
        array = document.numbers("instances" if rows else "inputs", spec.dtype)
        if array is not None:
            return {spec.name: array}, rows
    if rows:
        instances = document.members["instances"]
        if not isinstance(instances, list):
            raise _wrong(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise _wrong(document, "No values in 'instances' array")
        return _decode_rows(instances, signature), True
    return _decode_columns(document.members["inputs"], signature), False


def encode(outputs: Mapping[str, Array], *, rows: bool, strict: bool = False) -> bytes:
    """The body of an answer.

    Args:
        outputs: As the model gave them; at least one.
        rows: True for ``predictions`` (one element for each index of axis 0), False for ``outputs``.
        strict: NaN and infinity are written as null, and strings that are not UTF-8 are refused; else they are written
            as ``NaN`` and ``Infinity``, and as the bytes that they are, which is no JSON but what TensorFlow Serving
            writes.

    Raises:
        InvalidInstance: outputs without a common axis 0 in row form, or of a type that JSON cannot carry.
    """
    if rows:
        _check_batch(outputs)
    # orjson reads numpy's memory, and writes the shortest digits of float32 as such. For NaN and infinity it writes
    # null, which an answer of numbers holds for no other reason.
    shown = {name: _plain(array) for name, array in outputs.items() if array.dtype.kind in "iubf"}
    if len(shown) == len(outputs):
        body = orjson.dumps(_answer(shown, rows=rows), option=orjson.OPT_SERIALIZE_NUMPY)
        if strict or b"null" not in body:
            return body
    shown = {name: to_lists(array, name, raw=not strict) for name, array in outputs.items()}
    return orjson.dumps(_answer(shown, rows=rows)) if strict else dumps(_answer(shown, rows=rows))


def _answer(shown: Mapping[str, Any], *, rows: bool) -> dict[str, Any]:
    """The answer around outputs; the name of a single one is left out."""
    if len(shown) == 1:
        (value,) = shown.values()
    elif rows:
        value = [dict(zip(shown, row, strict=True)) for row in zip(*shown.values(), strict=True)]
    else:
        value = shown
    return {"predictions" if rows else "outputs": value}


def dumps(value: Any) -> bytes:
    """JSON as TensorFlow Serving writes it: with ``NaN`` and ``Infinity``, and what is not UTF-8 as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogateescape")


def _wrong(document: Document, what: str) -> InvalidInstance:
    return InvalidInstance(f"JSON Value: {excerpt(document.members)} {what}")


def _decode_rows(instances: list[Any], signature: Signature) -> dict[str, Array]:
    objects = _is_object(instances[0])
    if not objects and len(signature.inputs) != 1:
        raise InvalidInstance(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    try:
        if not objects:
            (spec,) = signature.inputs.values()
            return {spec.name: to_array(instances, spec)}
        if all(isinstance(item, dict) and item.keys() == signature.inputs.keys() for item in instances):
            return {name: to_array([item[name] for item in instances], spec) for name, spec in signature.inputs.items()}
    except InvalidInstance as error:
        raise _first_wrong(instances, signature, objects=objects) from error
    raise _first_wrong(instances, signature, objects=objects)


def _first_wrong(instances: list[Any], signature: Signature, *, objects: bool) -> InvalidInstance:
    """What is wrong with the first instance that does not fit, as TensorFlow Serving finds it: one after the other."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, item in enumerate(instances):
        if objects and not _is_object(item):
            return InvalidInstance(f"Expecting object but got list at item {index} of input list")
        if not objects and _is_object(item):
            return InvalidInstance(f"Expecting value/list but got object at item {index} of input list")
        named = item if objects else {next(iter(signature.inputs)): item}
        for name, value in named.items():
            try:
                _check_item(name, value, signature, shapes)
            except InvalidInstance as error:
                code = "UNIMPLEMENTED" if isinstance(error, Unsupported) else "INVALID_ARGUMENT"
                return InvalidInstance(
                    f"Failed to process element: {index} key: {name} of 'instances' list. Error: {code}: {error}"
                )
        if named.keys() != signature.inputs.keys():
            return InvalidInstance(
                f"Failed to process element: {index} of 'instances' list. JSON object: {excerpt(item)} "
                f"keys must be equal to: {','.join(sorted(signature.inputs))}"
            )
    return InvalidInstance("the instances do not fit the signature")


def _check_item(name: str, value: Any, signature: Signature, shapes: dict[str, tuple[int, ...]]) -> None:
    if name not in signature.inputs:
        raise InvalidInstance(f"JSON object: does not have named input: {name}")
    came = to_array(value, signature.inputs[name]).shape
    shape = shapes.setdefault(name, came)
    if int(np.prod(came)) != int(np.prod(shape)):
        raise InvalidInstance(f"Expecting tensor size: {int(np.prod(shape))} but got: {int(np.prod(came))}")
    if came != shape:
        raise InvalidInstance(f"Expecting shape {_shape(shape)} but got: {_shape(came)}")


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


def _plain(array: Array) -> Any:
    """What orjson can write: it knows contiguous arrays and numpy's scalars, and no arrays of rank 0."""
    if array.ndim == 0:
        return array[()]
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
