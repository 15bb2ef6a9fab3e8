"""``/openapi.json``: every path of the server, with schemas and samples from the signatures of the loaded models.

Source: https://spec.openapis.org/oas/v3.1.0
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from lading import __version__
from lading.errors import LadingError
from lading.predict import Signature, oip
from lading.predict.signature import DEFAULT_SIGNATURE
from lading.serving import samples
from lading.serving.config import ServeConfig
from lading.serving.errors import CONTENT_TOO_LARGE, REQUEST_TIMEOUT, Code
from lading.serving.models import Models, Served
from lading.serving.schemas import (
    SHARED,
    Schema,
    described,
    has_json,
    infer_request,
    infer_response,
    object_of,
    predict_request,
    predict_response,
)

ABOUT = (
    "TensorFlow Serving's REST API, KServe's V1 protocol and the Open Inference Protocol (V2). Below /v1 a model's "
    "versions and labels are addressed as /v1/models/NAME/versions/N and /v1/models/NAME/labels/LABEL, below /v2 "
    "as /v2/models/NAME/versions/N. Below /v1 NaN and infinity are written as the bare words NaN, Infinity and "
    "-Infinity, as TensorFlow Serving does; elsewhere they are null. Declared shapes are not enforced: a request of "
    "another shape is answered if the model can compute it."
)
_STATES = ("UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END")

_TEXT: Schema = {"type": "string"}
_BOOL: Schema = {"type": "boolean"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
_EXPLAINED = {
    400: "The request is malformed, or does not fit the signature",
    404: "There is no such model or version",
    408: "The body did not arrive in time",
    413: "The body is longer than the server takes",
    429: "The model ran out of a resource",
    500: "The model failed",
    501: "The engine does not do this",
    503: "The server is overloaded or not ready; try again after Retry-After seconds",
    504: "The prediction was not made in time",
}

Json = dict[str, Any]


def document(models: Models, config: ServeConfig) -> Json:
    """The OpenAPI 3.1 document of the models that are loaded now; rebuild it when another version serves.

    Args:
        models: Those that have no version loaded are left out.
        config: The settings, which name Vertex AI's routes and the path of the metrics.
    """
    served = []
    for name in models.names():
        try:
            served.append(models.find(name))
        except LadingError:
            continue  # not loaded: /v1/models/NAME tells why
    paths = _server_paths(models, config)
    for each in served:
        paths |= _model_paths(each)
    if config.predict_route and served:
        paths[config.predict_route] = {"post": _predict(served[0], "vertex", vertex=True)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "lading", "version": __version__, "description": ABOUT},
        "paths": paths,
        "components": {"schemas": dict(SHARED)},
    }


def _server_paths(models: Models, config: ServeConfig) -> Json:
    ready = object_of(ready=_BOOL, live=_BOOL)
    live = object_of(live=_BOOL)
    names = object_of(models={"type": "array", "items": {"enum": models.names()}})
    server = object_of(name={"const": oip.SERVER_NAME}, version=_TEXT, extensions=_TEXTS)
    is_ready = _get("ready", "Whether every model is loaded and warm", ready, unready=ready)
    paths = {
        "/": _get("alive", "Whether the server runs", object_of(status={"const": "alive"})),
        "/v1/models": _get("list_v1", "The models' names", names),
        "/v2": _get("server", "Name, version and extensions of the server", server),
        "/v2/models": _get("list_v2", "The models' names", names),
        "/v2/health/live": _get("live", "Whether the server runs", live),
        "/v2/health/ready": is_ready,
        "/openapi.json": _get("openapi", "This document", {"type": "object"}),
    }
    if config.metrics_path:
        page = {"get": _operation("metrics", "Metrics in Prometheus' text format", {"text/plain": {"schema": _TEXT}})}
        paths |= {"/metrics": page}
        if config.metrics_path != "/metrics":
            paths[config.metrics_path] = {"get": {**page["get"], "operationId": "metrics_tensorflow_serving"}}
    if config.health_route:
        paths[config.health_route] = {"get": {**is_ready["get"], "operationId": "health_vertex"}}
    return paths


def _model_paths(served: Served) -> Json:
    name = quote(served.name, safe="")
    v1, v2 = f"/v1/models/{name}", f"/v2/models/{name}"
    ready = object_of(name={"const": served.name}, ready={"const": True})
    about = {
        v1: _get(f"status.{name}", f"The versions of {served.name}", _status(served), missing=True),
        f"{v1}/metadata": _get(f"metadata.{name}", f"Signatures of {served.name}", _metadata(served), missing=True),
        v2: _get(f"model.{name}", f"Inputs and outputs of {served.name}", _model(served), missing=True),
        f"{v2}/ready": _get(
            f"ready.{name}",
            f"Whether {served.name} is ready",
            ready,
            missing=True,
            unready={"$ref": "#/components/schemas/Error"},
        ),
    }
    signatures = served.model.signatures
    runs = {
        f"{v1}:predict": _predict(served, "predict"),
        f"{v1}:classify": _classify(served, "classify", _pairs()) if _has(signatures, "classes", "scores") else None,
        f"{v1}:regress": _classify(served, "regress", {"type": "number"}) if _has(signatures, "outputs") else None,
        f"{v2}/infer": _infer(served),
    }
    return {**about, **{path: {"post": operation} for path, operation in runs.items() if operation}}


def _predict(served: Served, verb: str, *, vertex: bool = False) -> Json | None:
    """Predictions through TensorFlow Serving's REST API, or (``vertex``, rows only) through Vertex AI's route."""
    signatures = described(served.model.signatures)
    requests = [form for each in signatures for form in predict_request(each, vertex=vertex)]
    if not requests:
        return None
    answers = [form for each in signatures for form in predict_response(each, vertex=vertex)]
    examples: Json = {}
    for name, values in _samples(served, signatures).items():
        named = {} if name == DEFAULT_SIGNATURE else {"signature_name": name}
        rows = samples.as_rows(values)
        if rows is not None:
            examples[f"{name}, rows"] = {"value": {**named, **rows}}
        if not vertex:
            examples[f"{name}, columns"] = {"value": {**named, **samples.as_columns(values)}}
    return _run(
        f"{verb}.{quote(served.name, safe='')}", f"Predict with {served.name}", _any(requests), _any(answers), examples
    )


def _infer(served: Served) -> Json | None:
    signatures = [
        each for each in described(served.model.signatures) if has_json([*each.inputs.values(), *each.outputs.values()])
    ]
    if not signatures:
        return None
    callable_ones = [each for each in served.model.signatures.values() if each.is_callable]
    default = DEFAULT_SIGNATURE if len(callable_ones) > 1 else callable_ones[0].name
    requests = [infer_request(each, is_default=each.name == default) for each in signatures]
    answers = [infer_response(served.name, each) for each in signatures]
    examples: Json = {}
    for name, values in _samples(served, signatures).items():
        chosen = {} if name == default else {"parameters": {oip.SIGNATURE_PARAMETER: name}}
        examples[name] = {"value": {**chosen, **samples.as_infer(values, served.model.signatures[name])}}
    name = quote(served.name, safe="")
    return _run(f"infer.{name}", f"Predict with {served.name}", _any(requests), _any(answers), examples)


def _classify(served: Served, verb: str, result: Schema) -> Json:
    values: list[Schema] = [{"type": "number"}, _BOOL, _TEXT, {"$ref": "#/components/schemas/Base64"}]
    feature = {"anyOf": [*values, *({"type": "array", "items": value} for value in values)]}
    example = {"type": "object", "additionalProperties": feature}
    request = object_of(examples={"type": "array", "items": example, "minItems": 1})
    request["properties"] |= {"context": example, "signature_name": _TEXT}
    answer = object_of(results={"type": "array", "items": result})
    return _run(f"{verb}.{quote(served.name, safe='')}", f"{verb.capitalize()} with {served.name}", request, answer, {})


def _samples(served: Served, signatures: list[Signature]) -> Mapping[str, samples.Values]:
    return samples.sample_values(served.model.path, {each.name: each for each in signatures})


def _has(signatures: Mapping[str, Signature], *outputs: str) -> bool:
    """Whether a signature takes examples and gives one of these outputs."""
    return any(
        list(each.inputs) == ["inputs"] and any(name in each.outputs for name in outputs)
        for each in signatures.values()
    )


def _pairs() -> Schema:
    pair = {"type": "array", "prefixItems": [_TEXT, {"type": "number"}], "minItems": 2, "maxItems": 2}
    return {"type": "array", "items": pair}


def _status(served: Served) -> Schema:
    code = {"enum": [code.name for code in Code]}
    version = object_of(
        version={"type": "string", "pattern": "^[0-9]+$"},
        state={"enum": list(_STATES)},
        status=object_of(error_code=code, error_message=_TEXT),
    )
    versions = {"type": "array", "items": version}
    return object_of(model_version_status=versions, name={"const": served.name}, ready=_BOOL)


def _metadata(served: Served) -> Schema:
    size = {"type": "string", "pattern": "^(-1|[0-9]+)$"}
    shape = object_of(
        dim={"type": "array", "items": object_of(size=size, name={"const": ""})}, unknown_rank={"type": "boolean"}
    )
    tensors = {"type": "object", "additionalProperties": object_of(dtype=_TEXT, tensor_shape=shape, name=_TEXT)}
    signature = object_of(inputs=tensors, outputs=tensors, method_name=_TEXT, defaults={"type": "object"})
    signatures = {"type": "object", "additionalProperties": signature}
    spec = object_of(name={"const": served.name}, signature_name={"const": ""}, version=_TEXT)
    return object_of(model_spec=spec, metadata=object_of(signature_def=object_of(signature_def=signatures)))


def _model(served: Served) -> Schema:
    size = {"type": "integer", "minimum": -1}
    tensor = object_of(name=_TEXT, datatype=_TEXT, shape={"type": "array", "items": size})
    tensors = {"type": "array", "items": tensor}
    parameters = object_of(engine=_TEXT, signatures=_TEXT)
    name, platform = {"const": served.name}, {"const": oip.PLATFORM}
    return object_of(
        name=name, versions=_TEXTS, platform=platform, inputs=tensors, outputs=tensors, parameters=parameters
    )


def _get(
    identifier: str, summary: str, schema: Schema, *, missing: bool = False, unready: Schema | None = None
) -> Json:
    operation = _operation(identifier, summary, {"application/json": {"schema": schema}})
    if missing:
        operation["responses"]["404"] = {"description": _EXPLAINED[404], "content": _ERROR}
    if unready is not None:
        content = {"application/json": {"schema": unready}}
        operation["responses"]["503"] = {"description": "Not ready", "content": content}
    return {"get": operation}


def _run(identifier: str, summary: str, request: Schema, answer: Schema, examples: Json) -> Json:
    operation = _operation(identifier, summary, {"application/json": {"schema": answer}})
    content: Json = {"schema": request, **({"examples": examples} if examples else {})}
    operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    # A TensorFlow operation may fail with any canonical code.
    for status in sorted({REQUEST_TIMEOUT, CONTENT_TOO_LARGE, *(code.http for code in Code if code is not Code.OK)}):
        explained = _EXPLAINED.get(status) or next(code.name for code in Code if code.http == status)
        operation["responses"][str(status)] = {"description": explained, "content": _ERROR}
    operation["responses"]["503"]["headers"] = {"retry-after": {"schema": {"type": "string"}}}
    return operation


def _operation(identifier: str, summary: str, content: Json) -> Json:
    return {
        "operationId": identifier,
        "summary": summary,
        "responses": {"200": {"description": "Done", "content": content}},
    }


def _any(schemas: list[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
