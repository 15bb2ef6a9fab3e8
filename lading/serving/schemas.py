"""JSON Schemas of what signatures take and give, for the OpenAPI document.

Dialect: JSON Schema 2020-12, which OpenAPI 3.1 uses. What a request's schema permits is never answered with an internal
error; that nested lists agree in their lengths, and that several inputs agree in their first dimension, is beyond what
a schema can say.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lading.predict import Signature, TensorSpec
from lading.predict.oip import SIGNATURE_PARAMETER, datatype
from lading.predict.signature import DEFAULT_SIGNATURE, type_name

Schema = dict[str, Any]

MOST_RANKS = 5
"""For an input of unknown rank the schema has so many alternatives, from a bare value on."""

BASE64: Schema = {"$ref": "#/components/schemas/Base64"}
SHARED: Mapping[str, Schema] = {
    "Error": {
        "type": "object",
        "properties": {"error": {"type": "string"}},
        "required": ["error"],
        "additionalProperties": False,
    },
    "Base64": {
        "type": "object",
        "description": "Binary data.",
        "properties": {
            "b64": {
                "type": "string",
                "contentEncoding": "base64",
                "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
            }
        },
        "required": ["b64"],
        "additionalProperties": False,
    },
    "Float": {
        # Not {"type": "number"}: no type of JSON Schema has these words.
        "not": {"type": ["string", "boolean", "array", "object", "null"]},
        "description": "A number, or one of the bare words NaN, Infinity and -Infinity, which are no strict JSON.",
    },
    **{
        f"Any{name}": {
            "anyOf": [element, {"type": "array", "items": {"$ref": f"#/components/schemas/Any{name}"}}],
            "description": "A value, or nested lists of values, of any shape.",
        }
        for name, element in {
            "Float": {"$ref": "#/components/schemas/Float"},
            "Number": {"type": ["number", "null"]},
            "Integer": {"type": "integer"},
            "Boolean": {"type": "boolean"},
            "String": {"anyOf": [{"type": "string"}, BASE64]},
        }.items()
    },
}
"""The components that the other schemas refer to."""

_KINDS = {"f": "Float", "i": "Integer", "u": "Integer", "b": "Boolean", "O": "String"}


def has_json(specs: Iterable[TensorSpec]) -> bool:
    """Whether JSON can hold all of these tensors: numbers that are not complex, booleans, strings."""
    return all(spec.dtype is not None and spec.dtype.kind in _KINDS for spec in specs)


def described(signatures: Mapping[str, Signature]) -> list[Signature]:
    """The signatures that can be called with JSON."""
    return [
        signature
        for signature in signatures.values()
        if signature.is_callable and signature.inputs and has_json([*signature.inputs.values()])
    ]


def predict_request(signature: Signature, *, vertex: bool = False) -> list[Schema]:
    """The forms of a ``:predict`` body for a signature: rows, if its inputs have any, and columns, but on Vertex AI."""
    forms = []
    specs = signature.inputs
    if all(spec.shape is None or spec.shape for spec in specs.values()):
        items = [_members({name: _row(spec) for name, spec in specs.items()})]
        if len(specs) == 1:
            items.insert(0, _row(*specs.values()))
        sizes = {spec.shape[0] for spec in specs.values() if spec.shape}
        size = next((size for size in sizes if size is not None), None)
        # The first element decides for all: there are no lists of both.
        rows = {"anyOf": [_array(item, size, least=1) for item in items]}
        forms.append(_request("instances", rows, signature, other="inputs"))
    if not vertex:
        whole = {name: _nested(_element(spec), spec.shape) for name, spec in specs.items()}
        values = [_members(whole, more=True)]
        if len(specs) == 1:
            values.insert(0, *whole.values())
        forms.append(_request("inputs", {"anyOf": values}, signature, other="instances"))
    return forms


def predict_response(signature: Signature, *, vertex: bool = False) -> list[Schema]:
    """The forms of a ``:predict`` answer of one signature; none if JSON cannot hold its outputs."""
    specs = signature.outputs
    if not has_json(specs.values()):
        return []
    rows = {name: _output(spec, rows=True, strict=vertex) for name, spec in specs.items()}
    whole = {name: _output(spec, strict=vertex) for name, spec in specs.items()}
    alone = len(specs) == 1
    forms = [_members({"predictions": _array(next(iter(rows.values())) if alone else _members(rows), None)})]
    if not vertex:
        forms.append(_members({"outputs": next(iter(whole.values())) if alone else _members(whole)}))
    return forms


def infer_request(signature: Signature, *, is_default: bool) -> Schema:
    """The body of an Open Inference Protocol's ``infer`` for one signature."""
    chosen = {SIGNATURE_PARAMETER: {"enum": [signature.name]}, "binary_data_output": {"const": False}}
    parameters: Schema = {"type": "object", "properties": chosen}
    if not is_default:
        parameters["required"] = [SIGNATURE_PARAMETER]
    tensors = [_tensor(spec) for spec in signature.inputs.values()]
    inputs = _array(tensors[0], 1) if len(tensors) == 1 else _tuple(tensors)
    output = _members({"name": {"enum": list(signature.outputs)}})
    return {
        "title": signature.name,
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "parameters": parameters,
            "inputs": inputs,
            "outputs": _array(output, None),
        },
        "required": ["inputs", *([] if is_default else ["parameters"])],
    }


def infer_response(name: str, signature: Signature) -> Schema:
    """The answer of ``infer`` in JSON."""
    outputs = [
        _members(
            {
                "name": {"const": spec.name},
                "shape": _array({"type": "integer", "minimum": 0}, None),
                "datatype": {"const": _datatype(spec)},
                "data": _array(_shown(spec), None),
            }
        )
        for spec in signature.outputs.values()
    ]
    shown = {"model_name": {"const": name}, "model_version": {"type": "string"}}
    schema = _members({**shown, "outputs": _array({"anyOf": outputs}, None)})
    schema["properties"]["id"] = {"type": "string"}
    return {"title": signature.name, **schema}


def object_of(**members: Schema) -> Schema:
    """An object with exactly these members."""
    return _members(members)


def _request(key: str, value: Schema, signature: Signature, *, other: str) -> Schema:
    name: Schema = {"const": signature.name}
    required = [key]
    if signature.name == DEFAULT_SIGNATURE:
        name = {"enum": [signature.name, ""]}
    else:
        required.append("signature_name")
    # Members without meaning are ignored, but for the one that would be a second form.
    properties = {"signature_name": name, key: value, other: False}
    return {"title": f"{signature.name}, {key}", "type": "object", "properties": properties, "required": required}


def _row(spec: TensorSpec) -> Schema:
    """One element of ``instances``, or its member: the tensor without its first dimension."""
    if spec.shape is None:
        return _nested(_element(spec), None)
    return _nested(_element(spec), spec.shape[1:])


def _element(spec: TensorSpec) -> Schema:
    """One value of an input."""
    dtype = spec.dtype
    if dtype is None or dtype.kind == "O":  # strings
        return {"anyOf": [{"type": "string"}, BASE64]}
    if dtype.kind == "b":
        return {"type": "boolean"}
    if dtype.kind == "f":
        greatest = float(np.finfo(dtype).max)
        return {"type": "number", "format": _format(dtype), "minimum": -greatest, "maximum": greatest}
    limits = np.iinfo(dtype)
    return {"type": "integer", "format": _format(dtype), "minimum": int(limits.min), "maximum": int(limits.max)}


def _format(dtype: "np.dtype[Any]") -> str:
    """OpenAPI's registered formats, https://spec.openapis.org/registry/format/; they are numpy's names but for two."""
    return {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)


def _datatype(spec: TensorSpec) -> str:
    """The Open Inference Protocol's."""
    return "BYTES" if spec.dtype is None else datatype(spec.dtype)


def _shown(spec: TensorSpec, *, strict: bool = True) -> Schema:
    """One value of an output; ``strict``: NaN and infinity are null."""
    kind = _kind(spec)
    if kind == "f" and not strict:
        return {"$ref": "#/components/schemas/Float"}
    types = {"f": ["number", "null"], "b": "boolean", "O": "string"}
    return {"type": types.get(kind, "integer")}


def _output(spec: TensorSpec, *, strict: bool, rows: bool = False) -> Schema:
    """An output, or one row of it, as declared; or of any shape: shapes follow from the request's, which may be odd."""
    kind = _kind(spec)
    name = "Number" if kind == "f" and strict else _KINDS[kind]
    any_shape = {"$ref": f"#/components/schemas/Any{name}"}
    shape = spec.shape[1:] if rows and spec.shape else spec.shape
    if shape is None:
        return {"description": _about(spec), **any_shape}
    element = BASE64 if kind == "O" and spec.name.endswith("_bytes") else _shown(spec, strict=strict)
    return {"description": _about(spec), "anyOf": [_nested(element, shape, least=0), any_shape]}


def _kind(spec: TensorSpec) -> str:
    return "O" if spec.dtype is None else spec.dtype.kind


def _tensor(spec: TensorSpec) -> Schema:
    """An input of the Open Inference Protocol, in JSON."""
    element = _element(spec)
    sizes = [{"type": "integer", "minimum": 1} if size is None else {"const": size} for size in spec.shape or ()]
    some = {"type": "integer", "minimum": 0}
    flat = _array(element, None, least=1)
    nested = [_nested(element, spec.shape)] if spec.shape is not None and len(spec.shape) > 1 else []
    schema = _members(
        {
            "name": {"const": spec.name},
            "datatype": {"const": _datatype(spec)},
            "shape": _array(some, None) if spec.shape is None else _tuple(sizes),
            "data": {"description": "Row-major, flat or nested.", "anyOf": [flat, *nested]},
        }
    )
    return {"description": _about(spec), **schema}


def _nested(element: Schema, shape: tuple[int | None, ...] | None, *, least: int = 1) -> Schema:
    """Lists of this shape, None for a dimension that varies; of every rank up to ``MOST_RANKS`` if it is unknown."""
    if shape is None:
        return {"anyOf": [_nested(element, (None,) * rank, least=least) for rank in range(MOST_RANKS)]}
    for size in reversed(shape):
        element = _array(element, size, least=least)
    return element


def _array(items: Schema, size: int | None, *, least: int = 0) -> Schema:
    array: Schema = {"type": "array", "items": items}
    if size is not None:
        return {**array, "minItems": size, "maxItems": size}
    return {**array, "minItems": least} if least else array


def _tuple(items: list[Schema]) -> Schema:
    if not items:
        return {"type": "array", "maxItems": 0}
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _members(members: Mapping[str, Schema], *, more: bool = False) -> Schema:
    schema: Schema = {"type": "object", "properties": dict(members), "required": list(members)}
    return schema if more else {**schema, "additionalProperties": False}


def _about(spec: TensorSpec) -> str:
    shape = "of any rank" if spec.shape is None else [-1 if size is None else size for size in spec.shape]
    return f"{type_name(spec.data_type)} {shape}"
