"""What the API server writes into objects by itself, and what it refuses: the few rules that lading could break.

pkg/apis/*/validation of Kubernetes v1.30.
"""

import copy
import itertools
import re
from typing import Any

Object = dict[str, Any]
_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_SCALE = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_ADDRESSES = itertools.count(1)


def completed(body: Object) -> Object:
    """With the defaults."""
    body, spec = copy.deepcopy(body), copy.deepcopy(body.get("spec", {}))
    if body["kind"] == "Deployment":
        spec.setdefault("replicas", 1)
        spec.setdefault("progressDeadlineSeconds", 600)
    if body["kind"] == "Service":
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("clusterIP", f"10.96.0.{next(_ADDRESSES)}")
        for port in spec.get("ports", []):
            port.setdefault("protocol", "TCP")
    if body["kind"] == "HTTPRoute":
        spec.setdefault("rules", [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}])
        for rule in spec["rules"]:
            for backend in rule.get("backendRefs", []):
                backend.update({"group": "", "kind": "Service", "weight": 1} | backend)
    return {**body, "spec": spec} if spec else body


def problems(body: Object, before: Object | None) -> list[str]:
    """What is wrong with a completed object."""
    metadata, spec = body["metadata"], body.get("spec", {})
    pattern = _LABEL if body["kind"] == "Service" else _SUBDOMAIN
    found = []
    if not pattern.fullmatch(metadata["name"]):
        found.append(f"metadata.name: Invalid value: {metadata['name']!r}: a lowercase RFC 1123 subdomain")
    for value in metadata.get("labels", {}).values():
        if len(value) > 63 or not _LABEL_VALUE.fullmatch(value):
            found.append(
                f"metadata.labels: Invalid value: {value!r}: a valid label must be an empty string or consist of"
            )
    if before is not None and metadata.get("uid") != before["metadata"]["uid"]:
        found.append(f'metadata.uid: Invalid value: "{metadata.get("uid")}": field is immutable')
    found += _RULES.get(body["kind"], lambda *_: [])(spec, before)
    return found


def _deployment(spec: Object, before: Object | None) -> list[str]:
    found, template = [], spec["template"]
    if spec["replicas"] < 0:
        found.append(f"spec.replicas: Invalid value: {spec['replicas']}: must be greater than or equal to 0")
    if not spec["selector"]["matchLabels"].items() <= template["metadata"].get("labels", {}).items():
        found.append("spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`")
    if before is not None and before["spec"]["selector"] != spec["selector"]:
        found.append("spec.selector: Invalid value: field is immutable")
    if spec["progressDeadlineSeconds"] <= spec.get("minReadySeconds", 0):
        found.append("spec.progressDeadlineSeconds: Invalid value: must be greater than minReadySeconds")
    rolling = spec.get("strategy", {}).get("rollingUpdate", {})
    if rolling.get("maxSurge", 1) == 0 == rolling.get("maxUnavailable", 1):
        found.append("spec.strategy.rollingUpdate.maxUnavailable: Invalid value: may not be 0 when `maxSurge` is 0")
    return found + _pod(template["spec"])


def _pod(spec: Object) -> list[str]:
    found, where = [], "spec.template.spec"
    if (account := spec.get("serviceAccountName")) and not _SUBDOMAIN.fullmatch(account):
        found.append(f"{where}.serviceAccountName: Invalid value: {account!r}: a lowercase RFC 1123 subdomain")
    volumes = {one["name"] for one in spec.get("volumes", [])}
    for container in spec["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                found.append(f"{where}.containers[0].volumeMounts[0].name: Not found: {mount['name']!r}")
        handler = container.get("lifecycle", {}).get("preStop", {})
        if handler.get("sleep", {}).get("seconds", 1) > spec.get("terminationGracePeriodSeconds", 30):
            found.append(
                f"{where}.containers[0].lifecycle.preStop.sleep: must be less than terminationGracePeriodSeconds"
            )
        resources = container.get("resources", {})
        for given in resources.values():
            found += [f"{where}...resources: no quantity: {q!r}" for q in given.values()
                      if not _QUANTITY.fullmatch(q)]  # fmt: skip
        for name, limit in resources.get("limits", {}).items():
            asked = resources.get("requests", {}).get(name, limit)
            if not found and amount(asked) > amount(limit):
                found.append(
                    f"{where}...resources.requests: Invalid value: {asked!r}: must be less than or equal to limit"
                )
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if container.get(probe, {}).get("failureThreshold", 1) < 1:
                found.append(f"{where}...{probe}.failureThreshold: Invalid value: must be greater than 0")
        names = [one["name"] for one in container.get("env", [])]
        if len(names) != len(set(names)):
            found.append(f"{where}.containers[0].env: duplicate entries")
    return found


def _service(spec: Object, before: Object | None) -> list[str]:
    found = [] if spec.get("ports") else ["spec.ports: Required value"]
    if before is not None and before["spec"]["clusterIP"] != spec["clusterIP"]:
        found.append("spec.clusterIP: Invalid value: field is immutable")
    return found


def _autoscaler(spec: Object, before: Object | None) -> list[str]:
    least = spec.get("minReplicas", 1)
    found = [] if least >= 1 else ["spec.minReplicas: Invalid value: must be greater than or equal to 1"]
    if spec["maxReplicas"] < least:
        found.append("spec.maxReplicas: Invalid value: must be greater than or equal to `minReplicas`")
    return found


def _budget(spec: Object, before: Object | None) -> list[str]:
    both = "minAvailable" in spec and "maxUnavailable" in spec
    return ["spec: Invalid value: minAvailable and maxUnavailable cannot be both set"] if both else []


def _route(spec: Object, before: Object | None) -> list[str]:
    found = []
    for rule in spec["rules"]:
        backends = rule.get("backendRefs", [])
        if len(backends) > 16:
            found.append("spec.rules[0].backendRefs: Too many: must have at most 16 items")
        found += [
            f"spec.rules[0].backendRefs: Invalid value: {b}: port is required" for b in backends if "port" not in b
        ]
        found += [
            "spec.rules[0].backendRefs[0].weight: Invalid value" for b in backends if not 0 <= b["weight"] <= 10**6
        ]
    return found


_RULES = {
    "Deployment": _deployment, "Service": _service, "HorizontalPodAutoscaler": _autoscaler,
    "PodDisruptionBudget": _budget, "HTTPRoute": _route,
}  # fmt: skip


def amount(quantity: str) -> float:
    suffix = quantity.lstrip("0123456789.")
    return float(quantity.removesuffix(suffix)) * _SCALE.get(suffix, 1.0)
