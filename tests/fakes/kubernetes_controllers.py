"""What makes objects happen: the controllers of Deployments, endpoints, autoscalers, garbage and HTTPRoutes."""

import hashlib
import json
import time
import uuid
from typing import Any, Protocol

from fakes.kubernetes_pods import Kubelet, Pod

Object = dict[str, Any]


class Cluster(Protocol):
    """What controllers need of the API server."""

    kubelet: Kubelet
    quota: int
    accounts: set[str]

    def all(self, plural: str) -> list[Object]: ...
    def view(self, plural: str) -> list[Object]: ...
    def store(self, plural: str, body: Object, *, manager: str) -> None: ...
    def drop(self, plural: str, name: str) -> None: ...


class Controllers:
    """Called again and again, under the lock of the API server."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.progress: dict[str, tuple[Any, float]] = {}
        self.owner: dict[str, str] = {}

    def step(self) -> None:
        for one in self.cluster.view("horizontalpodautoscalers"):
            self.autoscale(one)
        for one in self.cluster.all("deployments"):
            self.deployment(one)
        self.collect_garbage()
        for one in self.cluster.view("services"):
            self.endpoints(one)
        gateways = {(g["metadata"]["namespace"], g["metadata"]["name"]) for g in self.cluster.view("gateways")}
        for one in self.cluster.all("httproutes"):
            self.route(one, gateways)

    def autoscale(self, one: Object) -> None:
        spec = one["spec"]
        for deployment in self.cluster.all("deployments"):
            now = deployment["spec"]["replicas"]
            if deployment["metadata"]["name"] == spec["scaleTargetRef"]["name"] and now:
                wanted = min(max(now, spec.get("minReplicas", 1)), spec["maxReplicas"])
                if wanted != now:
                    deployment["spec"]["replicas"] = wanted
                    self.cluster.store("deployments", deployment, manager="kube-controller-manager")

    def deployment(self, one: Object) -> None:
        name, wanted, template = one["metadata"]["name"], one["spec"]["replicas"], one["spec"]["template"]
        mark = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:9]
        own = [pod for pod in self.cluster.kubelet.pods.values() if self.owner.get(pod.name) == name]
        alive = [pod for pod in own if not pod.ending.is_set()]
        current = [pod for pod in alive if f"-{mark}-" in pod.name]
        refused = ""
        while len(current) < wanted:
            refused = self.refusal(template)
            if refused:
                break
            pod_name = f"{name}-{mark}-{uuid.uuid4().hex[:5]}"
            self.owner[pod_name] = name
            pod = self.cluster.kubelet.run(pod_name, template["metadata"]["labels"], template["spec"])
            current.append(pod)
            alive.append(pod)
        for pod in sorted(current, key=lambda p: (p.ready, -p.created))[: max(0, len(current) - wanted)]:
            pod.end()
        if sum(pod.ready for pod in current) >= wanted:
            for pod in alive:
                if pod not in current:
                    pod.end()
        alive = [pod for pod in alive if not pod.ending.is_set()]
        self.deployment_status(one, alive, [pod for pod in current if pod in alive], refused)

    def refusal(self, template: Object) -> str:
        running = [pod for pod in self.cluster.kubelet.pods.values() if not pod.gone]
        if len(running) >= self.cluster.quota:
            return f'pods "x" is forbidden: exceeded quota: pods, requested: pods=1, used: pods={len(running)}'
        account = template["spec"].get("serviceAccountName", "default")
        if account not in self.cluster.accounts:
            missing = f'error looking up service account models/{account}: serviceaccount "{account}" not found'
            return f'pods "x-" is forbidden: {missing}'
        return restricted(template["spec"])

    def deployment_status(self, one: Object, alive: list[Pod], current: list[Pod], refused: str) -> None:
        name, wanted = one["metadata"]["name"], one["spec"]["replicas"]
        ready, fresh = sum(pod.ready for pod in alive), sum(pod.ready for pod in current)
        old = {c["type"]: c for c in one.get("status", {}).get("conditions", [])}
        complete = old.get("Progressing", {}).get("reason") == "NewReplicaSetAvailable"
        seen, since = self.progress.get(one["metadata"]["uid"], (None, 0.0))
        step = (one["spec"]["template"], fresh)
        if seen != step:
            self.progress[one["metadata"]["uid"]], since = (step, time.monotonic()), time.monotonic()
            complete = complete and seen is not None and seen[0] == step[0]
        late = time.monotonic() - since > one["spec"]["progressDeadlineSeconds"]
        if fresh >= wanted or complete:  # it is not looked at again once it was there
            progressing = ("True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.')
        elif late:
            progressing = ("False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.')
        else:
            progressing = ("True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
        conditions = [_condition("Progressing", *progressing)]
        enough = ready >= wanted - 0
        conditions.append(
            _condition(
                "Available", str(enough), "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable", ""
            )
        )
        if refused:
            conditions.append(_condition("ReplicaFailure", "True", "FailedCreate", refused))
        status = {
            "observedGeneration": one["metadata"]["generation"], "replicas": len(alive),
            "updatedReplicas": len(current), "readyReplicas": ready, "availableReplicas": ready,
            "unavailableReplicas": max(0, wanted - ready), "conditions": conditions,
        }  # fmt: skip
        # As the API server writes it: zeros are left out.
        one["status"] = {key: value for key, value in status.items() if value or key == "observedGeneration"}
        self.cluster.store("deployments", one, manager="kube-controller-manager")

    def collect_garbage(self) -> None:
        living = {one["metadata"]["uid"] for one in self.cluster.view("deployments")}
        names = {one["metadata"]["name"] for one in self.cluster.view("deployments")}
        for plural in ("services", "horizontalpodautoscalers", "poddisruptionbudgets"):
            for one in self.cluster.view(plural):
                owners = one["metadata"].get("ownerReferences", [])
                if owners and not any(owner["uid"] in living for owner in owners):
                    self.cluster.drop(plural, one["metadata"]["name"])
        for pod in list(self.cluster.kubelet.pods.values()):
            if self.owner.get(pod.name) not in names and not pod.ending.is_set():
                pod.end()
            if pod.gone:
                del self.cluster.kubelet.pods[pod.name]
        services = {one["metadata"]["name"] for one in self.cluster.view("services")}
        for one in self.cluster.view("endpointslices"):
            if one["metadata"]["labels"]["kubernetes.io/service-name"] not in services:
                self.cluster.drop("endpointslices", one["metadata"]["name"])

    def endpoints(self, service: Object) -> None:
        name, selector = service["metadata"]["name"], service["spec"].get("selector")
        if not selector:
            return
        endpoints = [
            {"addresses": ["127.0.0.1"], "targetRef": {"kind": "Pod", "name": pod.name},
             "conditions": {"ready": pod.ready, "serving": pod.running, "terminating": pod.ending.is_set()}}
            for pod in self.cluster.kubelet.pods.values()
            if selector.items() <= pod.labels.items() and pod.port and not pod.gone
        ]  # fmt: skip
        found = next((e for e in self.cluster.view("endpointslices") if e["metadata"]["name"] == f"{name}-slice"), None)
        body = found or {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": f"{name}-slice", "labels": {"kubernetes.io/service-name": name}},
        }  # fmt: skip
        self.cluster.store("endpointslices", {**body, "endpoints": endpoints}, manager="kube-controller-manager")

    def route(self, one: Object, gateways: set[tuple[str, str]]) -> None:
        services = {s["metadata"]["name"] for s in self.cluster.view("services")}
        backends = [b["name"] for rule in one["spec"].get("rules", []) for b in rule.get("backendRefs", [])]
        missing = [name for name in backends if name not in services]
        parents = []
        for reference in one["spec"].get("parentRefs", []):
            if (reference.get("namespace", one["metadata"]["namespace"]), reference["name"]) in gateways:
                resolved = (
                    ("False", "BackendNotFound", f"no Service {missing}") if missing else ("True", "ResolvedRefs", "")
                )
                conditions = [_condition("Accepted", "True", "Accepted", ""), _condition("ResolvedRefs", *resolved)]
                for condition in conditions:
                    condition["observedGeneration"] = one["metadata"]["generation"]
                parents.append({"parentRef": reference, "controllerName": "fake/gateway", "conditions": conditions})
        one["status"] = {"parents": parents}
        self.cluster.store("httproutes", one, manager="gateway")


def restricted(spec: Object) -> str:
    """What the Pod Security Standard "restricted" has against a pod.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    pod, container = spec.get("securityContext", {}), spec["containers"][0].get("securityContext", {})
    problems = [
        text
        for text, bad in {
            "allowPrivilegeEscalation != false": container.get("allowPrivilegeEscalation") is not False,
            "unrestricted capabilities": container.get("capabilities", {}).get("drop") != ["ALL"],
            "runAsNonRoot != true": not (container.get("runAsNonRoot") or pod.get("runAsNonRoot")),
            "seccompProfile": (container.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
            not in ("RuntimeDefault", "Localhost"),
            "restricted volume types": any(v.keys() - {"name", "emptyDir"} for v in spec.get("volumes", [])),
        }.items()
        if bad
    ]
    return f'violates PodSecurity "restricted:latest": {", ".join(problems)}' if problems else ""


def pod_object(pod: Pod, namespace: str) -> Object:
    """A pod as the API server shows it."""
    state: Object = {"running": {}} if pod.running else {}
    if not state:
        reason, message = pod.waiting or ("", "")
        state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    status: Object = {"name": pod.container["name"], "ready": pod.ready, "restartCount": pod.restarts, "state": state,
                      "started": pod.ready, "image": pod.container["image"], "lastState": {}}  # fmt: skip
    if pod.restarts:
        status["lastState"] = {"terminated": {"exitCode": pod.exit_code or 0, "reason": "Error"}}
    scheduled = _condition(
        "PodScheduled", str(not pod.unschedulable), "Unschedulable" if pod.unschedulable else "", pod.unschedulable
    )
    metadata: Object = {
        "name": pod.name,
        "namespace": namespace,
        "labels": pod.labels,
        "uid": pod.name,
        "creationTimestamp": stamp(pod.created),
    }
    if pod.ending.is_set():
        metadata["deletionTimestamp"] = stamp(time.time())
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod.spec,
        "status": {"phase": "Running" if pod.ran else "Pending",
                   "conditions": [scheduled, _condition("Ready", str(pod.ready), "", "")],
                   **({} if pod.unschedulable else {"containerStatuses": [status]})},
    }  # fmt: skip


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _condition(kind: str, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}
