"""What the API says of itself: its version, its groups and kinds, and the schema that ``kubectl apply`` wants to see.

Source: Kubernetes documentation, "API discovery" and "OpenAPI V3"; short names: the resources of Knative Serving.
"""

from collections.abc import Callable, Mapping

from lading.local.objects import API_VERSION, KINDS, REVISIONS, SERVICES, Object

_GROUP, _, _VERSION = API_VERSION.partition("/")
_SHORT_NAMES = {SERVICES: ["kservice", "ksvc"], REVISIONS: ["rev"]}
_VERBS = {
    SERVICES: ["create", "delete", "get", "list", "patch", "update", "watch"],
    REVISIONS: ["delete", "get", "list", "watch"],
}
_SCHEMA_PATH = f"/openapi/v3/apis/{API_VERSION}"
# Without `fieldValidation` here, `kubectl apply` asks for version 2 of the schema to check objects by itself.
_PATCH_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")


def document(path: str) -> Object | None:
    """The document at a path, or None when there is none."""
    make = _DOCUMENTS.get(path)
    return make() if make else None


def _version() -> Object:
    return {"major": "1", "minor": "32", "gitVersion": "v1.32.0+lading.local"}


def _groups() -> Object:
    version = {"groupVersion": API_VERSION, "version": _VERSION}
    group = {"name": _GROUP, "versions": [version], "preferredVersion": version}
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}


def _resources() -> Object:
    found = [
        {
            "name": plural,
            "singularName": kind.lower(),
            "namespaced": True,
            "kind": kind,
            "shortNames": _SHORT_NAMES[plural],
            "categories": ["all", "knative", "serving"],
            "verbs": _VERBS[plural],
        }
        for plural, kind in KINDS.items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API_VERSION, "resources": found}


def _schema() -> Object:
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _PATCH_PARAMETERS]
    paths = {
        f"/apis/{API_VERSION}/namespaces/{{namespace}}/{plural}/{{name}}": {
            "patch": {
                "x-kubernetes-group-version-kind": {"group": _GROUP, "version": _VERSION, "kind": kind},
                "x-kubernetes-action": "patch",
                "parameters": parameters,
                "requestBody": {"content": {"application/merge-patch+json": {"schema": {"type": "object"}}}},
                "responses": {"200": {"description": "OK"}},
            }
        }
        for plural, kind in KINDS.items()
    }
    info = {"title": "lading local", "version": _VERSION}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}


_DOCUMENTS: Mapping[str, Callable[[], Object]] = {
    "/version": _version,
    "/api": lambda: {"kind": "APIVersions", "versions": []},
    "/apis": _groups,
    f"/apis/{API_VERSION}": _resources,
    "/openapi/v3": lambda: {"paths": {f"apis/{API_VERSION}": {"serverRelativeURL": _SCHEMA_PATH}}},
    _SCHEMA_PATH: _schema,
}
