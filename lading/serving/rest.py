"""TensorFlow Serving's REST API: a request's line and body in, an answer out. No sockets.

Paths and texts: tensorflow_serving/model_servers/http_rest_api_{util,handler}.cc. The status answer also says what
KServe's V1 protocol says (``name``, ``ready``). Health: the Open Inference Protocol.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson

from lading.errors import InvalidInstance, LadingError, NotFound
from lading.predict import Model, Signature, TensorSpec, codec
from lading.predict.signature import type_name
from lading.serving.errors import Code, code_of
from lading.serving.models import Models

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+))?"
_PREDICT = re.compile(_MODEL + ":predict")
_STATUS = re.compile(_MODEL + "(?P<metadata>/metadata)?")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; its body is JSON."""

    status: int
    body: bytes


def failure(status: int, message: str) -> Answer:
    """An error in TensorFlow Serving's form."""
    return Answer(status, orjson.dumps({"error": message}))


def predict(models: Models, path: str, body: bytes) -> Answer:
    """Answer ``POST /v1/models/M[/versions/N]:predict``."""
    matched = _PREDICT.fullmatch(path)
    if matched is None:
        return malformed("POST", path)
    try:
        request = codec.parse(body)  # before the model is looked up, as TensorFlow Serving does
        model = models.find(*_name_and_version(matched)).model
        signature = codec.find_signature(request, model.signatures)
        inputs, rows = codec.decode(request, signature)
        outputs = model.predict(inputs, signature=signature.name)
        return Answer(200, codec.encode(outputs, rows=rows))
    except LadingError as error:
        return failure(code_of(error).http, str(error))


def read(models: Models, path: str) -> Answer:
    """Answer a GET: model status, metadata, and health; whoever can ask finds every model loaded and warm."""
    if path in ("/", "/v2/health/live"):
        return _json({"status": "alive"} if path == "/" else {"live": True})
    if path == "/v2/health/ready":
        # The protocol's text calls the member "live", KServe "ready": both are sent.
        return _json({"ready": True, "live": True})
    matched = _STATUS.fullmatch(path)
    if matched is None:
        return malformed("GET", path)
    try:
        name, version = _name_and_version(matched)
        model = models.find(name, version).model
    except NotFound as error:
        if matched["metadata"]:
            return failure(Code.NOT_FOUND.http, str(error))
        what = "any versions of" if matched["version"] is None else f"version {int(matched['version'])} of"
        return failure(Code.NOT_FOUND.http, f"Could not find {what} model {unquote(matched['name'])}")
    except InvalidInstance as error:
        return failure(Code.INVALID_ARGUMENT.http, str(error))
    return _json(_metadata(name, model) if matched["metadata"] else _status(name, model))


def malformed(method: str, path: str) -> Answer:
    """What a path or method without meaning gets: 400 below ``/v1/``, as TensorFlow Serving has it, else 404."""
    if path.startswith("/v1/"):
        return failure(Code.INVALID_ARGUMENT.http, f"Malformed request: {method} {path}")
    return failure(Code.NOT_FOUND.http, f"Not found: {method} {path}")


def _name_and_version(matched: re.Match[str]) -> tuple[str, int | None]:
    version = None if matched["version"] is None else int(matched["version"])
    if version is not None and version >= 2**63:
        raise InvalidInstance(f"Failed to convert version: {matched['version']}")
    return unquote(matched["name"]), version


def _json(value: Any) -> Answer:
    return Answer(200, orjson.dumps(value))


def _status(name: str, model: Model) -> dict[str, Any]:
    state = {
        "version": str(model.version),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return {"model_version_status": [state], "name": name, "ready": True}


def _metadata(name: str, model: Model) -> dict[str, Any]:
    # The doubled key is right: a SignatureDefMap has one member, which has the name of the member that holds the map.
    signatures = {key: _signature(signature) for key, signature in model.signatures.items()}
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(model.version)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _signature(signature: Signature) -> dict[str, Any]:
    return {
        "inputs": {name: _tensor(spec) for name, spec in signature.inputs.items()},
        "outputs": {name: _tensor(spec) for name, spec in signature.outputs.items()},
        "method_name": signature.method_name,
        "defaults": {},
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    sizes = [{"size": str(-1 if size is None else size), "name": ""} for size in spec.shape or ()]
    return {
        "dtype": type_name(spec.data_type),
        "tensor_shape": {"dim": sizes, "unknown_rank": spec.shape is None},
        "name": spec.tensor_name,
    }
