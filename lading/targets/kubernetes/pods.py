"""Whether the pods of a revision are ready, and why not."""

import logging
import time

from lading.errors import RevisionFailed
from lading.targets.kubernetes.api import DEPLOYMENT, ENDPOINT_SLICE, POD, Cluster, Object, generation_seen
from lading.targets.kubernetes.objects import REVISION_LABEL, SERVICE_LABEL
from lading.wait import Deadline, poll

HOPELESS = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Reasons of waiting containers that do not pass by themselves (kubelet: ``pkg/kubelet/images``, ``kuberuntime``)."""
_LOG_LINES = 8
_LOG = logging.getLogger(__name__)

UNSCHEDULABLE_SECONDS = 5.0
"""A pod that has found no node for so long is told of. It is waited for all the same: an autoscaler of nodes may bring
one within minutes."""


def wait_ready(cluster: Cluster, revision: str, *, pods: int, deadline: Deadline) -> Object:
    """Wait until so many pods of a revision are ready, and its own Service leads to them; return its Deployment.

    Raises:
        RevisionFailed: they will not be: says why, with the last words of a pod.
        DeadlineExceeded: not in time.
    """
    started, tell = time.monotonic(), _Once(revision)

    def probe() -> Object | None:
        deployment = cluster.read(DEPLOYMENT, revision, deadline=deadline)
        if deployment is None:
            raise RevisionFailed(f"revision {revision} was deleted while it was being brought up")
        if not generation_seen(deployment):
            return None
        status = deployment.get("status", {})
        if min(status.get("readyReplicas", 0), status.get("updatedReplicas", 0)) >= pods:
            found = ready_pods(cluster, revision, deadline=deadline)
            return deployment if len(found) >= pods else None
        # The controller watches the time only until a Deployment's pods were ready once, not when it is scaled up.
        waited, longest = time.monotonic() - started, deployment["spec"]["progressDeadlineSeconds"]
        alive = _alive(cluster, revision, deadline)
        if why := _why_never(cluster, deployment, alive, late=waited > longest, deadline=deadline):
            raise RevisionFailed(f"{revision}: {why}")
        if waited > UNSCHEDULABLE_SECONDS:
            tell.homeless(alive, longest)
        return None

    return poll(probe, deadline=deadline, what=f"{pods} pods of {revision} to be ready")


class _Once:
    """Tells once that the pods of a revision find no node."""

    def __init__(self, revision: str) -> None:
        self._revision, self._told = revision, False

    def homeless(self, pods: list[Object], longest: int) -> None:
        """Tell it, if one of these pods finds none; they are waited for so many seconds."""
        found = next(filter(_unschedulable, pods), None)
        if found is None or self._told:
            return
        self._told = True
        _LOG.warning(
            "%s: %s; waiting up to %d s (startup_seconds) for a node: one may be added, else give less cpu or memory",
            self._revision,
            _state(found),
            longest,
        )


def ready_pods(cluster: Cluster, service: str, *, deadline: Deadline) -> set[str]:
    """The names of the pods that a Service leads to."""
    found = set()
    for one in cluster.find(ENDPOINT_SLICE, {"kubernetes.io/service-name": service}, deadline=deadline):
        for endpoint in one.get("endpoints") or []:
            # "A nil value should be interpreted as true" (API reference, EndpointConditions).
            if endpoint.get("conditions", {}).get("ready", True) is not False and "targetRef" in endpoint:
                found.add(endpoint["targetRef"]["name"])
    return found


def revisions_of(cluster: Cluster, service: str, *, deadline: Deadline) -> dict[str, str]:
    """The revision of each pod of a service."""
    pods = cluster.find(POD, {SERVICE_LABEL: service}, deadline=deadline)
    return {pod["metadata"]["name"]: pod["metadata"]["labels"].get(REVISION_LABEL, "") for pod in pods}


def _alive(cluster: Cluster, revision: str, deadline: Deadline) -> list[Object]:
    """The pods of a revision that are not ending."""
    pods = cluster.find(POD, {REVISION_LABEL: revision}, deadline=deadline)
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def _unschedulable(pod: Object) -> bool:
    found = _condition(pod, "PodScheduled")
    return (found.get("status"), found.get("reason")) == ("False", "Unschedulable")


def _why_never(cluster: Cluster, deployment: Object, alive: list[Object], *, late: bool, deadline: Deadline) -> str:
    """Why a Deployment will not come to its pods; empty while it still may."""
    conditions = {one["type"]: one for one in deployment.get("status", {}).get("conditions", [])}
    refused = conditions.get("ReplicaFailure", {})
    if refused.get("status") == "True":
        return f"{refused.get('reason')}: {refused.get('message')}"
    for pod in alive:
        if why := _hopeless(pod):
            return why + _last_words(cluster, pod, deadline)
    if late or conditions.get("Progressing", {}).get("status") == "False":
        waiting = next((pod for pod in alive if _condition(pod, "Ready").get("status") != "True"), None)
        seconds = deployment["spec"]["progressDeadlineSeconds"]
        if waiting is None:
            return f"not ready after {seconds} s: {conditions.get('Progressing', {}).get('message', 'it has no pods')}"
        return f"not ready after {seconds} s; {_state(waiting)}{_last_words(cluster, waiting, deadline)}"
    return ""


def _hopeless(pod: Object) -> str:
    for status in pod.get("status", {}).get("containerStatuses", []):
        waiting = status.get("state", {}).get("waiting", {})
        if waiting.get("reason") in HOPELESS:
            ended = status.get("lastState", {}).get("terminated")
            code = f" (it exited with code {ended['exitCode']})" if ended else ""
            return f"{waiting['reason']}: {waiting.get('message', 'no message')}{code}"
    return ""


def _state(pod: Object) -> str:
    """What a pod waits for, in words."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"its pod found no node: {scheduled.get('message')}"
    for status in pod.get("status", {}).get("containerStatuses", []):
        if waiting := status.get("state", {}).get("waiting"):
            return f"its container waits: {waiting.get('reason')} {waiting.get('message', '')}".rstrip()
    return "its pod runs, and does not say that it is ready"


def _condition(pod: Object, kind: str) -> Object:
    found: list[Object] = pod.get("status", {}).get("conditions", [])
    return next((one for one in found if one["type"] == kind), {})


def _last_words(cluster: Cluster, pod: Object, deadline: Deadline) -> str:
    """The end of a pod's log, for an error message; empty for a container that never ran."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    if not any(one.get("restartCount") or one.get("started") or "running" in one.get("state", {}) for one in statuses):
        return ""
    name = pod["metadata"]["name"]
    for previous in (True, False):
        if lines := cluster.log(name, lines=_LOG_LINES, previous=previous, deadline=deadline):
            return f"; its log ends: {' | '.join(lines)}"
    return "; it wrote no log"
