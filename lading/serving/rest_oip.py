"""The Open Inference Protocol over REST, with KServe's binary tensor extension.

Source: inference_rest.md of the protocol; binary_tensor_data_extension.md of KServe. What both protocols' forms have in
common with gRPC is in ``lading.predict.oip``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lading import __version__
from lading.errors import InvalidInstance, LadingError
from lading.predict import oip
from lading.predict.document import WIDE, Document
from lading.serving.answers import Answer, Request, as_json, failure, refusal
from lading.serving.errors import Code
from lading.serving.models import Models, Served
from lading.serving.routes import Route

Array = npt.NDArray[Any]

HEADER_LENGTH = "inference-header-content-length"
OCTETS = "application/octet-stream"


def server() -> Answer:
    """Answer who serves."""
    return as_json({"name": oip.SERVER_NAME, "version": __version__, "extensions": list(oip.EXTENSIONS)})


def model(models: Models, route: Route) -> Answer:
    """Answer with a model's versions, inputs and outputs; ``parameters`` says what computes, and every signature."""
    try:
        served = models.find(route.model, route.version)
        versions = [found.version for found in models.statuses(route.model) if found.state == "AVAILABLE"]
    except LadingError as error:
        return failure(error)
    about = oip.model_metadata(served.name, versions, served.model.signatures)
    about["parameters"] = {"engine": served.model.engine, "signatures": ",".join(served.model.signatures)}
    return as_json(about)


def model_ready(models: Models, route: Route) -> Answer:
    """Answer whether a model answers."""
    try:
        models.statuses(route.model, route.version)
    except LadingError as error:
        return failure(error)
    if not models.is_ready(route.model, route.version):
        return refusal(Code.UNAVAILABLE, f"Model with name {route.model} is not ready.")
    return as_json({"name": route.model, "ready": True})


def infer(models: Models, route: Route, request: Request) -> Answer:
    """Answer ``…/infer``."""
    try:
        head, raw = _split(request)
        document = Document(head)
        return models.use(lambda served: _infer(served, document, raw), route.model, route.version)
    except LadingError as error:
        return failure(error)


def _split(request: Request) -> tuple[bytes, memoryview]:
    """The JSON and what follows it."""
    if request.header_length is None:
        if (request.content_type or "").startswith(OCTETS):
            raise InvalidInstance(f"expected the header {HEADER_LENGTH} with content-type {OCTETS}")
        return request.body, memoryview(b"")
    if not (request.header_length.isascii() and request.header_length.isdigit()):
        raise InvalidInstance(f"expected {HEADER_LENGTH} as a number of bytes, received {request.header_length!r}")
    length = int(request.header_length)
    if length > len(request.body):
        raise InvalidInstance(f"{HEADER_LENGTH} is {length}, but the body has {len(request.body)} bytes")
    return request.body[:length], memoryview(request.body)[length:]


def _infer(served: Served, document: Document, raw: memoryview) -> Answer:
    parameters = _object(document.get("parameters", None), "parameters")
    signature = oip.choose_signature(parameters.get(oip.SIGNATURE_PARAMETER), served.model.signatures)
    inputs = _inputs(document, raw)
    outputs = served.predict(inputs, signature=signature.name)
    wanted = _list(document.get("outputs", None), "outputs")
    names = [_text(item, "name", "an output") for item in wanted]
    chosen = oip.choose_outputs(outputs, names)
    default = parameters.get("binary_data_output", False) is True
    asked = [_object(item.get("parameters"), "parameters").get("binary_data", default) is True for item in wanted]
    binary = dict(zip(names, asked, strict=True))
    return _answer(served, document, chosen, {name: binary.get(name, default) for name in chosen})


def _inputs(document: Document, raw: memoryview) -> dict[str, Array]:
    given = document.get("inputs", None)
    if given is None or not hasattr(given, "__len__") or isinstance(given, str) or not len(given):
        raise InvalidInstance("expected inputs: a list of objects with name, shape, datatype and data")
    found: dict[str, Array] = {}
    at = 0
    for item in given:
        name = _text(item, "name", "an input")
        if name in found:
            raise InvalidInstance(f'the input "{name}" is given twice')
        size = _object(item.get("parameters", None), f'parameters of input "{name}"').get("binary_data_size")
        shape, datatype = _plain(item.get("shape", None)), _text(item, "datatype", f'input "{name}"')
        if size is None:
            found[name] = oip.from_json(
                _data(item.get("data", None), datatype), datatype=datatype, shape=shape, name=name
            )
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(raw) - at:
            raise InvalidInstance(
                f'input "{name}": binary_data_size is {size!r}, but {len(raw) - at} bytes are left behind the JSON'
            )
        found[name] = oip.from_raw(bytes(raw[at : at + size]), datatype=datatype, shape=shape, name=name)
        at += size
    if at != len(raw):
        raise InvalidInstance(f"{len(raw) - at} bytes are left behind the JSON that belong to no input")
    return found


def _data(data: Any, datatype: str) -> Any:
    """The data as an array where it is a flat list of numbers, else as lists."""
    kind = oip.DATATYPES[datatype].kind if datatype in oip.DATATYPES else ""
    if kind in "fiu" and kind and hasattr(data, "as_buffer"):
        wide = WIDE["u" if datatype == "UINT64" else kind if kind == "f" else "i"]
        try:
            array = np.frombuffer(data.as_buffer(of_type=wide[0]), wide[1])
        except (TypeError, ValueError):
            return _plain(data)  # the lists tell what is wrong
        # simdjson flattens nested lists, whatever their lengths.
        if len(data) == array.size and not (array.size and hasattr(data[0], "as_buffer")):
            return array
    return _plain(data)


def _plain(value: Any) -> Any:
    return value.as_list() if hasattr(value, "as_list") else value.as_dict() if hasattr(value, "as_dict") else value


def _object(value: Any, what: str) -> Mapping[str, Any]:
    value = _plain(value)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInstance(f"expected {what} to be an object")
    return value


def _list(value: Any, what: str) -> list[dict[str, Any]]:
    value = _plain(value)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidInstance(f"expected {what} to be a list of objects")
    return value


def _text(item: Any, key: str, what: str) -> str:
    value = item.get(key, None) if hasattr(item, "get") else None
    if not isinstance(value, str):
        raise InvalidInstance(f"expected {what} to be an object with a text as its {key}")
    return value


def _answer(served: Served, document: Document, outputs: Mapping[str, Array], binary: Mapping[str, bool]) -> Answer:
    tensors, raws = [], []
    for name, array in outputs.items():
        tensor: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": oip.datatype(array.dtype)}
        if binary[name]:
            raws.append(oip.to_raw(array))
            tensor["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            tensor["data"] = oip.to_flat(array, name)
        tensors.append(tensor)
    answer: dict[str, Any] = {"model_name": served.name, "model_version": str(served.version), "outputs": tensors}
    given = document.get("id", None)
    if isinstance(given, str):
        answer["id"] = given
    shown = as_json(answer)
    if any(binary.values()):
        length = len(shown.body)
        return Answer(b"".join([shown.body, *raws]), content_type=OCTETS, headers=((HEADER_LENGTH, str(length)),))
    return shown
