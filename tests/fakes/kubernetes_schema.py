"""The published schemas of the Kubernetes API, as the package kubernetes-validate brings them, and of the Gateway API.

They also say how server-side apply merges (``x-kubernetes-list-type`` and the like).
"""

import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

VERSION = "v1.30.0"
_GATEWAY: dict[str, Any] = {
    "type": "object",
    "properties": {"apiVersion": {}, "kind": {},
                   "metadata": {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
                   "spec": {"x-kubernetes-preserve-unknown-fields": True}, "status": {}},
}  # fmt: skip
FILES = {
    "Deployment": "deployment-apps-v1.json",
    "Service": "service-v1.json",
    "HorizontalPodAutoscaler": "horizontalpodautoscaler-autoscaling-v2.json",
    "PodDisruptionBudget": "poddisruptionbudget-policy-v1.json",
    "EndpointSlice": "endpointslice-discovery-v1.json",
    "Pod": "pod-v1.json",
    "Secret": "secret-v1.json",
}


@functools.cache
def _directory() -> Path:
    # The package itself takes seconds to import.
    found = importlib.util.find_spec("kubernetes_validate")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "kubernetes-json-schema" / f"{VERSION}-local-strict"


@functools.cache
def schema_of(kind: str) -> dict[str, Any]:
    if kind == "HTTPRoute":
        found: dict[str, Any] = json.loads((Path(__file__).parent / "schemas" / "httproute-v1.json").read_text())
        found["properties"]["metadata"] = _GATEWAY["properties"]["metadata"]
        return found
    if kind == "Gateway":
        return _GATEWAY
    body: dict[str, Any] = json.loads((_directory() / FILES[kind]).read_text())
    return body


@functools.cache
def _definitions() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_directory() / "_definitions.json").read_text())["$defs"]
    return found


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without the reference that it may be; what stands beside the reference is kept."""
    if "$ref" not in schema:
        return schema
    beside = {name: value for name, value in schema.items() if name.startswith("x-")}
    return {**_definitions()[schema["$ref"].rpartition("/")[2]], **beside}


def child(schema: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The schema of a field; None when there is no such field."""
    if name in schema.get("properties", {}):
        return resolved(schema["properties"][name])
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        return resolved(more)
    known = "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields")
    return None if known else {}


_TYPES: dict[str, Any] = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list,
                          "object": dict, "null": type(None)}  # fmt: skip


def patch_problems(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """Why server-side apply cannot take a patch, in its words: fields that are not declared, and items given twice."""
    if isinstance(value, list):
        items, keys = resolved(schema.get("items", {})), schema.get("x-kubernetes-list-map-keys", ())
        shown = [",".join(f"{key}={json.dumps(one.get(key))}" for key in keys) or str(i) for i, one in enumerate(value)]
        twice = [text for i, text in enumerate(shown) if text in shown[:i]]
        found = [f"{where}: duplicate entries for key [{text}]" for text in twice]
        inner_places = zip(value, shown, strict=True)
        return found + [text for one, at in inner_places for text in patch_problems(one, items, f"{where}[{at}]")]
    if not isinstance(value, dict):
        return []
    found = []
    for name, one in value.items():
        inner = child(schema, name)
        if inner is None:
            found.append(f"{where}.{name}: field not declared in schema")
        else:
            found += patch_problems(one, inner, f"{where}.{name}")
    return found


def type_problems(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """Values of another type than declared, and required fields that are missing."""
    given = schema.get("type")
    kinds = [given] if isinstance(given, str) else given or []
    wrong_boolean = isinstance(value, bool) and "boolean" not in kinds
    if kinds and (wrong_boolean or not any(isinstance(value, _TYPES[kind]) for kind in kinds)):
        return [f"{where}: Invalid value: {json.dumps(value)}: must be of type {' or '.join(map(str, kinds))}"]
    if isinstance(value, list):
        items = resolved(schema.get("items", {}))
        return [text for i, one in enumerate(value) for text in type_problems(one, items, f"{where}[{i}]")]
    if not isinstance(value, dict):
        return []
    found = [f"{where}.{name}: Required value" for name in schema.get("required", []) if name not in value]
    for name, one in value.items():
        found += type_problems(one, child(schema, name) or {}, f"{where}.{name}".lstrip("."))
    return found
