"""The service's OpenAPI document."""

import dataclasses
from typing import Any

from lading import __version__
from lading.batch.options import COMPRESSIONS, INPUT_FORMATS, OUTPUT_FORMATS, BatchOptions
from lading.batch.service.runs import State

_TEXT = {"type": "string"}
_CHOICES = {
    "input_format": ("auto", *INPUT_FORMATS),
    "output_format": OUTPUT_FORMATS,
    "compression": COMPRESSIONS,
}
_TYPES: dict[type, dict[str, Any]] = {str: _TEXT, int: {"type": "integer"}, tuple: {"type": "array", "items": _TEXT}}


def document() -> dict[str, Any]:
    """OpenAPI 3.1. Source: https://spec.openapis.org/oas/v3.1.0."""
    run = {"$ref": "#/components/schemas/Batch"}
    id = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
    state = {"name": "state", "in": "query", "schema": {"enum": list(State)}}
    key = {"name": "Idempotency-Key", "in": "header", "schema": _TEXT}
    one = {"parameters": [id], "responses": {"200": _json("The run.", run), **_errors(404)}}
    cancel = {"parameters": [id], "responses": {"200": _json("It has ended.", run), "202": _json("It ends soon.", run)}}
    batches = {"type": "object", "properties": {"batches": {"type": "array", "items": run}}}
    accepted = _json("The run, which may have been there already.", run)
    accepted["headers"] = {"Location": {"description": "Of the run.", "schema": _TEXT}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "lading batch-service", "version": __version__},
        "paths": {
            "/": {"get": _embedded()},
            "/v1/batches": {
                "get": {
                    "summary": "The runs",
                    "parameters": [state],
                    "responses": {"200": _json("Newest first.", batches)},
                },
                "post": {
                    "summary": "Begin a run, or go on with one",
                    "parameters": [key],
                    "requestBody": {"required": True, **_json("", _body())},
                    "responses": {"202": accepted, **_errors(400, 403, 404, 409, 413, 503)},
                },
            },
            "/v1/batches/{id}": {
                "get": {"summary": "A run, with its report at the end", **one},
                "delete": {"summary": "Cancel a run", **cancel},
            },
            "/v1/batches/{id}:cancel": {"post": {"summary": "Cancel a run", **cancel}},
            "/v1/batches/{id}/events": {"get": _events(id)},
            **{path: {"get": _plain(path)} for path in ("/livez", "/readyz", "/healthz", "/metrics", "/openapi.json")},
            **{path: {"get": _plain(path)} for path in ("/v2/health/live", "/v2/health/ready")},
        },
        "components": {"schemas": {"Batch": _run(), "Error": _object({"error": _TEXT})}},
    }


def _embedded() -> dict[str, Any]:
    names = ("model", "input", "output")
    location = {"type": "string", "pattern": "^gs://[^/]+/"}
    texts = {"200": "predictions completed", "400": "a parameter is missing or malformed", "403": "not allowed"}
    texts |= {"413": "it would never fit", "500": "what failed", "503": "ask again"}
    return {
        "summary": "embedded-tf: predict, and answer at the end",
        "parameters": [{"name": name, "in": "query", "required": True, "schema": location} for name in names],
        "responses": {
            status: {"description": text, "content": {"text/plain": {"schema": _TEXT}}}
            for status, text in texts.items()
        },
    }


def _events(id: dict[str, Any]) -> dict[str, Any]:
    content = {"text/event-stream": {"schema": _TEXT}}
    told = {"description": "Events `progress` and `end`; the data is the run.", "content": content}
    return {"summary": "Follow a run", "parameters": [id], "responses": {"200": told, **_errors(404)}}


def _body() -> dict[str, Any]:
    options = {}
    for field in dataclasses.fields(BatchOptions):
        options[field.name] = dict(_TYPES[type(field.default)])
        if field.name in _CHOICES:
            options[field.name]["enum"] = list(_CHOICES[field.name])
    properties = {
        "model": {**_TEXT, "description": "A SavedModel, a base of versions, or an image by digest."},
        "input": {"oneOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
        "output": {**_TEXT, "description": "A directory."},
        "max_bad_rows": {"type": ["integer", "string"], "description": "A count, or a share as 1%."},
        "errors": _TEXT,
        "restart": {"type": "boolean"},
        **options,
    }
    return {
        "type": "object",
        "required": ["model", "input", "output"],
        "properties": properties,
        "additionalProperties": False,
    }


def _run() -> dict[str, Any]:
    when = {"type": ["string", "null"], "format": "date-time"}
    return _object(
        {
            "id": _TEXT,
            "state": {"enum": list(State)},
            "request": {"type": "object"},
            "created": when,
            "started": when,
            "ended": when,
            "memory_bytes": {"type": "object"},
            "progress": {"type": ["object", "null"]},
            "cancelling": {"type": "boolean"},
            "error": _TEXT,
            "report": {"type": "object"},
        }
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _plain(path: str) -> dict[str, Any]:
    found = {"summary": path.strip("/"), "responses": {"200": {"description": "Yes, or what was asked for."}}}
    if "ready" in path or path == "/healthz":
        found["responses"] = {**found["responses"], "503": {"description": "The service is ending."}}  # type: ignore[dict-item]
    return found


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    content = {"content": {"application/json": {"schema": schema}}}
    return {"description": description, **content} if description else content


def _errors(*statuses: int) -> dict[str, Any]:
    error = {"$ref": "#/components/schemas/Error"}
    return {str(status): _json("Why not.", error) for status in statuses}
