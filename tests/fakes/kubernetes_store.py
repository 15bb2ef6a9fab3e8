"""The objects of a cluster, written as the API server writes them: versions, owners of fields, checks."""

import itertools
import json
import threading
import time
import uuid
from typing import Any

from fakes.kubernetes_apply import ApplyConflict, Owners, apply, changed, managed_fields
from fakes.kubernetes_controllers import stamp
from fakes.kubernetes_rules import completed, problems
from fakes.kubernetes_schema import patch_problems, schema_of, type_problems
from fakes.service import Refused

Object = dict[str, Any]
KINDS = {
    "services": ("v1", "Service", "svc"),
    "pods": ("v1", "Pod", "po"),
    "secrets": ("v1", "Secret", ""),
    "deployments": ("apps/v1", "Deployment", "deploy"),
    "horizontalpodautoscalers": ("autoscaling/v2", "HorizontalPodAutoscaler", "hpa"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget", "pdb"),
    "endpointslices": ("discovery.k8s.io/v1", "EndpointSlice", ""),
    "httproutes": ("gateway.networking.k8s.io/v1", "HTTPRoute", ""),
    "gateways": ("gateway.networking.k8s.io/v1", "Gateway", "gtw"),
}


class ObjectStore:
    """Objects of one namespace."""

    namespace = "models"

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.owners: dict[tuple[str, str], Owners] = {}
        self.lock = threading.RLock()
        self.versions = itertools.count(1000)

    def put(self, plural: str, name: str, body: Object, *, namespace: str = "") -> None:
        """Store an object as somebody else would."""
        api_version, kind, _ = KINDS[plural]
        made = {"apiVersion": api_version, "kind": kind, **body}
        made["metadata"] = {"name": name, "namespace": namespace or self.namespace, **body.get("metadata", {})}
        with self.lock:
            self.store(plural, made, manager="kubectl")

    def all(self, plural: str) -> list[Object]:
        with self.lock:
            return [copied(body) for body in self.view(plural)]

    def view(self, plural: str) -> list[Object]:
        """The objects themselves, only to be read, and under the lock."""
        return [self.objects[key] for key in sorted(self.objects) if key[0] == plural]

    def drop(self, plural: str, name: str) -> None:
        self.objects.pop((plural, name), None)
        self.owners.pop((plural, name), None)

    def store(self, plural: str, body: Object, *, manager: str = "", owners: Owners | None = None) -> None:
        """Write an object unless it is as it was; ``manager`` wrote it other than by applying."""
        name = body["metadata"]["name"]
        before = self.objects.get((plural, name))
        metadata = body["metadata"]
        metadata.setdefault("namespace", self.namespace)
        if before is None:
            metadata |= {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": stamp(time.time())}
        elif _content(before) == _content(body) and owners is None:
            return
        elif before.get("spec") != body.get("spec"):
            metadata["generation"] = before["metadata"]["generation"] + 1
        if owners is not None:
            self.owners[plural, name] = owners
        else:
            own = self.owners.setdefault((plural, name), {})
            changed(before or {}, body, schema_of(KINDS[plural][1]), own, manager)
        if before is None or {**before["metadata"], "resourceVersion": 0} != {**metadata, "resourceVersion": 0} or (
            _content(before) != _content(body)
        ):  # fmt: skip
            metadata["resourceVersion"] = str(next(self.versions))
            self.objects[plural, name] = copied(body)

    def apply(self, plural: str, name: str, query: dict[str, str], config: Object) -> tuple[int, Any, dict[str, str]]:
        api_version, kind, _ = KINDS[plural]
        schema, metadata = schema_of(kind), config.get("metadata", {})
        if config.get("apiVersion") != api_version or config.get("kind") != kind:
            raise Refused(400, f"invalid object type: {config.get('apiVersion')}, Kind={config.get('kind')}")
        if metadata.get("name") != name:
            raise Refused(400, f"the name of the object ({metadata.get('name')}) does not match the name on the URL "
                          f"({name})")  # fmt: skip
        if not query.get("fieldManager"):
            raise Refused(
                422, "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            )
        if found := patch_problems(config, schema):
            what = f"/{name}; {api_version if '/' in api_version else f'/{api_version}'}, Kind={kind}"
            raise Refused(500, f"failed to create typed patch object ({what}): {found[0]}")
        before = self.objects.get((plural, name))
        self._check_version(plural, name, metadata, before)
        live = copied(before) if before else {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}
        owners = {who: set(paths) for who, paths in self.owners.get((plural, name), {}).items()}
        try:
            force = query.get("force") == "true"
            body = apply(live, config, schema, owners=owners, manager=query["fieldManager"], force=force)
        except ApplyConflict as error:
            raise Refused(409, str(error)) from error
        body = completed(body)
        self.check(body, before)
        if query.get("dryRun") == "All":
            return (200 if before else 201), body, {}
        self.store(plural, body, owners=owners)
        return (200 if before else 201), self.objects[plural, name], {}

    def _check_version(self, plural: str, name: str, metadata: Object, before: Object | None) -> None:
        resource = f'Operation cannot be fulfilled on {qualified(plural)} "{name}"'
        if before is None:
            if "uid" in metadata:
                raise Refused(409, f"{resource}: uid mismatch: the provided object specified uid {metadata['uid']}, "
                              "and no existing object was found")  # fmt: skip
            return
        if (
            metadata.get("resourceVersion", before["metadata"]["resourceVersion"])
            != before["metadata"]["resourceVersion"]
        ):
            raise Refused(409, f"{resource}: the object has been modified; please apply your changes to the latest "
                          "version and try again")  # fmt: skip

    def check(self, body: Object, before: Object | None) -> None:
        kind, name = body["kind"], body["metadata"]["name"]
        found = type_problems({k: v for k, v in body.items() if k in ("spec", "metadata")}, schema_of(kind))
        if found := found or problems(body, before):
            group = body["apiVersion"].rpartition("/")[0]
            text = found[0] if len(found) == 1 else f"[{', '.join(found)}]"
            raise Refused(422, f'{kind}{group and f".{group}"} "{name}" is invalid: {text}')

    def shown(self, plural: str, body: Object) -> Object:
        """An object with who owns what."""
        owners = managed_fields(self.owners[plural, body["metadata"]["name"]], body["apiVersion"])
        return {**copied(body), "metadata": {**copied(body["metadata"]), "managedFields": owners}}


def qualified(plural: str) -> str:
    """A resource as messages name it: ``deployments.apps``."""
    group = KINDS[plural][0].rpartition("/")[0]
    return f"{plural}.{group}" if group else plural


def copied(body: Any) -> Any:
    return json.loads(json.dumps(body))  # several times as fast as copy.deepcopy


def _content(body: Object) -> Object:
    ignored = ("resourceVersion", "managedFields", "generation")
    return {**body, "metadata": {k: v for k, v in body["metadata"].items() if k not in ignored}}
