"""A request for each signature that can be sent as it is: the first of the model's golden requests, or zeros."""

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lading.errors import InvalidInput
from lading.predict import Signature, TensorSpec
from lading.predict.oip import datatype
from lading.serving.warm_up import GOLDEN
from lading.values import GoldenRequest

MOST_VALUES = 20_000
"""A larger request is not shown: it would fill the document with numbers."""

_MOST_TEXT = 1024 * 1024
"""So much of the golden requests is read: on the event loop, and the first is enough."""

Values = Mapping[str, Any]


def sample_values(model: Path, signatures: Mapping[str, Signature]) -> dict[str, Values]:
    """For each signature the value of each input, as nested lists with a batch of 1.

    Args:
        model: The SavedModel's directory.
        signatures: Those to be shown; left out if their request would be too large.
    """
    golden = _golden(model)
    found = {}
    for name, signature in signatures.items():
        values = golden.get(name)
        if values is None or values.keys() != signature.inputs.keys():
            values = {spec.name: _zeros(spec) for spec in signature.inputs.values() if _size(spec) <= MOST_VALUES}
        if values.keys() == signature.inputs.keys() and sum(map(_count, values.values())) <= MOST_VALUES:
            found[name] = values
    return found


def as_rows(values: Values) -> dict[str, Any] | None:
    """The body of a ``:predict`` in row form; None if an input has no rows."""
    if not all(isinstance(value, list) for value in values.values()) or len(set(map(len, values.values()))) != 1:
        return None
    if len(values) == 1:
        (value,) = values.values()
        return {"instances": value}
    return {"instances": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]}


def as_columns(values: Values) -> dict[str, Any]:
    """The body of a ``:predict`` in columnar form."""
    return {"inputs": dict(values)}


def as_infer(values: Values, signature: Signature) -> dict[str, Any]:
    """The body of an ``infer`` of the Open Inference Protocol."""
    return {
        "inputs": [
            {"name": name, "shape": _shape(value), "datatype": datatype(spec.dtype), "data": _flat(value)}
            for name, value in values.items()
            if (spec := signature.inputs[name]).dtype is not None
        ]
    }


def _golden(model: Path) -> dict[str, Values]:
    """The inputs of the first golden request of each signature."""
    found: dict[str, Values] = {}
    with suppress(FileNotFoundError, InvalidInput, UnicodeDecodeError), (model / GOLDEN).open(encoding="utf-8") as file:
        for line in file.readlines(_MOST_TEXT):
            for request in GoldenRequest.read_all(line):
                found.setdefault(request.signature, request.request)
    return found


def _size(spec: TensorSpec) -> int:
    return math.prod(size or 1 for size in spec.shape or ())


def _zeros(spec: TensorSpec) -> Any:
    kind = "O" if spec.dtype is None else spec.dtype.kind
    value: Any = {"f": 0.0, "b": False, "O": ""}.get(kind, 0)
    for size in reversed((1,) if spec.shape is None else spec.shape):
        value = [value] * (1 if size is None else size)
    return value


def _count(value: Any) -> int:
    return sum(map(_count, value)) if isinstance(value, list) else 1


def _shape(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _flat(value: Any) -> list[Any]:
    return [element for item in value for element in _flat(item)] if isinstance(value, list) else [value]
