"""What gcloud asks beside services and revisions: the regions, and who may call a service.

Source: Cloud Run Admin API v1 (projects.locations, projects.locations.services.getIamPolicy and setIamPolicy,
testIamPermissions); Service
Usage API v1 (services.get).
"""

import base64
import re
from collections.abc import Mapping
from typing import Any

from lading.errors import Conflict, InvalidInput
from lading.local.objects import API_VERSION, SERVICES, Key, Object
from lading.local.refusals import Refused
from lading.local.store import Store

REGION = "local"
"""The one region that the local target has."""
HOST = "lading.local"
"""Requests of gcloud go to names below this, through the local target as their proxy."""

_LOCATIONS = re.compile(r"/v1/projects/([^/]+)/locations")
_SERVICES = re.compile(r"/v1/projects/([^/]+)/locations/[^/]+/services")
_POLICY = re.compile(r"/v1/projects/([^/]+)/locations/[^/]+/services/([^/:]+):(get|set|test)Iam(?:Policy|Permissions)")
_ENABLED = re.compile(r"/v1/(projects/[^/]+/services/[^/:]+)")
_POLICIES = "policies"


def answer(store: Store, method: str, path: str, body: Any) -> Object:
    """Answer a request.

    Raises:
        LadingError: there is no such path or service, or the policy was changed meanwhile.
    """
    if method == "GET" and (found := _LOCATIONS.fullmatch(path)):
        name = f"projects/{found[1]}/locations/{REGION}"
        return {"locations": [{"name": name, "locationId": REGION, "displayName": "this machine"}]}
    if method == "GET" and (found := _SERVICES.fullmatch(path)):
        items = store.list(SERVICES, found[1])
        return {"apiVersion": API_VERSION, "kind": "ServiceList", "metadata": {}, "items": items}
    if method == "GET" and (found := _ENABLED.fullmatch(path)):
        return {"name": found[1], "state": "ENABLED"}
    found = _POLICY.fullmatch(path)
    if not found:
        raise Refused(f"no such path: {path}", code=404, reason="NotFound")
    key, verb = Key(found[1], found[2]), found[3]
    if verb == "test":  # gcloud asks before there is a service
        return {"permissions": _at(body, "permissions") or []}
    with store.lock:
        store.get(SERVICES, key)
        if (verb, method) == ("set", "POST"):
            _set_policy(store, key, _at(body, "policy"))
        return _policy(store, key)


def forget(store: Store, key: Key) -> None:
    """Remove what belonged to a service that is deleted."""
    store.delete(_POLICIES, key)


def _policy(store: Store, key: Key) -> Object:
    found = store.find(_POLICIES, key)
    if found is None:
        return {"version": 1, "etag": _etag("0")}
    return {**found["spec"], "etag": _etag(found["metadata"]["resourceVersion"])}


def _etag(version: str) -> str:
    return base64.b64encode(version.encode()).decode()  # the field is of bytes, which JSON has as base64


def _set_policy(store: Store, key: Key, policy: Any) -> None:
    """Keep a policy. It opens and closes nothing: whoever is on this machine may call a service here."""
    if not isinstance(policy, dict):
        raise InvalidInput(f"policy: expected an object, received {policy!r}")
    known = _policy(store, key)["etag"]
    if policy.get("etag", known) != known:
        raise Conflict("the policy was changed meanwhile: read it, and apply your changes to that", status=409)
    spec = {name: value for name, value in policy.items() if name != "etag"}
    body = {"metadata": {"namespace": key.namespace, "name": key.name}, "spec": spec}
    if store.find(_POLICIES, key):
        store.update(_POLICIES, body)
    else:
        store.create(_POLICIES, body)


def _at(body: Any, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else None
