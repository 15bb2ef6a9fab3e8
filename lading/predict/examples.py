"""Serialized ``tf.Example`` messages, from gRPC's Input and from JSON.

Rules and texts: InputToSerializedExampleTensor (tensorflow_serving/servables/tensorflow/util.cc) and
FillClassifyRegressRequestFromJson (tensorflow_serving/util/json_tensor.cc).
"""

from collections.abc import Mapping
from typing import Any

from lading.errors import InvalidInstance
from lading.predict.jsonvalues import excerpt, is_base64, to_bytes
from lading.predict.protos import message

_INT64 = range(-(2**63), 2**63)
_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}
_TYPES = {type(None): "Null", list: "Array", dict: "Object", str: "String", int: "Number", float: "Number"}


def examples_from_input(proto: Any) -> list[bytes]:
    """The examples of a ``tensorflow.serving.Input``; a context is put in front of each, so that its own features win.

    Raises:
        InvalidInstance: there are none.
    """
    with_context = proto.WhichOneof("kind") == "example_list_with_context"
    held = proto.example_list_with_context if with_context else proto.example_list
    context = held.context.SerializeToString() if with_context else b""
    found = [context + example.SerializeToString() for example in held.examples]
    if not found:
        raise InvalidInstance("Input is empty.")
    return found


def examples_from_json(members: Mapping[str, Any]) -> list[bytes]:
    """The examples of a ``:classify`` or ``:regress`` body.

    Args:
        members: Of the JSON object: ``examples`` and perhaps ``context``. An ``int`` is a number that was written
            without a point and exponent, and becomes an int64; a ``float`` one with.

    Returns:
        One serialized example for each, the context in front.

    Raises:
        InvalidInstance: with TensorFlow Serving's text.
    """
    context = _example(members["context"]) if "context" in members else b""
    if "examples" not in members:
        # TensorFlow Serving says "classify" for both methods.
        raise _malformed(members, "When method is classify, key 'examples' is expected and was not found")
    examples = members["examples"]
    if not isinstance(examples, list):
        raise _malformed(members, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _malformed(members, "'examples' value is an empty array")
    return [context + _example(value) for value in examples]


def _example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise InvalidInstance(f"Example must be JSON object but got JSON {_type(value)}")
    example = message("tensorflow.Example")()
    features = example.features.feature
    for name, content in value.items():
        try:
            feature = features[name]  # made here, so that an empty list is a feature without a kind
        except UnicodeError as error:
            raise InvalidInstance(f"Feature: {name!r} is not UTF-8") from error
        for element in content if isinstance(content, list) else [content]:
            _add(feature, element, name)
    # Deterministic: features in the order of their names, so that the same request is the same bytes.
    return bytes(example.SerializeToString(deterministic=True))


def _add(feature: Any, element: Any, name: str) -> None:
    kind = _kind(element)
    if kind is None:
        raise InvalidInstance(f"Feature: {name} has element with unexpected JSON type: {_type(element)}")
    held = feature.WhichOneof("kind")
    if held not in (None, kind):
        raise InvalidInstance(f"Unexpected element type in feature: {name} expecting type: {_KINDS[held]}")
    if kind == "bytes_list":
        element = to_bytes(element)
    elif kind == "int64_list" and element not in _INT64:
        raise InvalidInstance(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    getattr(feature, kind).value.append(int(element) if kind == "int64_list" else element)


def _kind(element: Any) -> str | None:
    if isinstance(element, str) or is_base64(element):
        return "bytes_list"
    if isinstance(element, float):
        return "float_list"
    return "int64_list" if isinstance(element, int) else None


def _malformed(members: Mapping[str, Any], what: str) -> InvalidInstance:
    return InvalidInstance(f"JSON Value: {excerpt(dict(members))} {what}")


def _type(value: Any) -> str:
    return str(value) if isinstance(value, bool) else _TYPES.get(type(value), type(value).__name__)
