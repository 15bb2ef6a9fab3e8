"""What a revision is on Kubernetes: a Deployment; around it a Service, a disruption budget and an autoscaler.

Source: Kubernetes API v1.30; the pods keep the "restricted" Pod Security Standard.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lading.errors import InvalidInput
from lading.targets.door import READY_PATH
from lading.targets.kubernetes.api import AUTOSCALER, DEPLOYMENT, DISRUPTION_BUDGET, SERVICE, Kind, Object
from lading.targets.settings import Settings

SERVICE_LABEL = "lading.dev/service"
REVISION_LABEL = "lading.dev/revision"
NUMBER_ANNOTATION = "lading.dev/number"
LEAST_ANNOTATION = "lading.dev/min-instances"
MOST_ANNOTATION = "lading.dev/max-instances"
LIVE_PATH = "/v2/health/live"
PORT = 8080

PRE_STOP_SECONDS = 10
"""A pod that is to end goes on answering so long, until every node and gateway has heard that it ends."""
DRAIN_SECONDS = 15
"""Then its server may take so long to end the requests that it has; lading's takes at most 9."""
GRACE_SECONDS = PRE_STOP_SECONDS + DRAIN_SECONDS + 5
DEFAULT_CPU, DEFAULT_MEMORY = "500m", "512Mi"
"""What a pod asks for when the settings say nothing; it may then use more."""
CPU_PERCENT = 70
"""The autoscaler keeps pods at this much of the processors that they ask for."""
MOST_PODS = 10
"""A revision may have so many pods where ``max_instances`` does not say."""
USER = 65532  # "nonroot" of distroless images

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?")  # RFC 1035, with room for the revision's hash


@dataclass(frozen=True)
class Scale:
    """How many pods a revision may have."""

    least: int
    """While it takes traffic; at least 1."""
    most: int
    """At least ``least``."""
    automatic: bool
    """Whether an autoscaler chooses between the two."""

    @classmethod
    def of(cls, deployment: Object) -> "Scale":
        """As it was written into a Deployment."""
        annotations = deployment["metadata"].get("annotations", {})
        return cls.between(int(annotations.get(LEAST_ANNOTATION, 0)), int(annotations.get(MOST_ANNOTATION, 0)))

    @classmethod
    def between(cls, min_instances: int, max_instances: int) -> "Scale":
        """From the settings, where 0 stands for the default.

        Raises:
            InvalidInput: the least is more than the most.
        """
        least = max(1, min_instances)
        if max_instances and least > max_instances:
            raise InvalidInput(f"settings: min_instances is {least}, expected at most max_instances, {max_instances}")
        return cls(least, max_instances or max(MOST_PODS, least), automatic=max_instances > least)


@dataclass(frozen=True)
class Revision:
    """A revision as it is to be."""

    name: str
    deployment: Object
    scale: Scale


PORTS: Object = {"ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]}
"""Of every Service."""


def revision_of(service: str, image: str, settings: Settings) -> Revision:
    """The objects of an image and its settings; their name ends in a hash of what makes the pods what they are.

    The same image and settings give the same name, so deploying them twice makes one revision. ``min_instances`` and
    ``labels`` are of the service: they change without another revision.

    Raises:
        InvalidInput: the service cannot have this name, or the settings contradict each other.
    """
    check_name(service)
    scale = Scale.between(settings.min_instances, settings.max_instances)
    pods = _pod_spec(image, settings)
    made_of = {"pods": pods, "max": settings.max_instances, "startup": settings.startup_seconds}
    name = f"{service}-{hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:10]}"
    if twice := sorted(settings.env.keys() & settings.secrets.keys()):
        raise InvalidInput(f"settings: {', '.join(twice)}: expected in env or in secrets, received in both")
    platform = {"PORT": str(PORT), "K_SERVICE": service, "K_REVISION": name}
    container = pods["containers"][0]
    if taken := sorted(settings.env.keys() & platform.keys() | settings.secrets.keys() & platform.keys()):
        raise InvalidInput(f"settings: {', '.join(taken)}: set by the platform, so it cannot be in env or secrets")
    container["env"] += [{"name": key, "value": value} for key, value in platform.items()]
    own = own_labels(service) | {"app.kubernetes.io/instance": name, REVISION_LABEL: name}
    annotations = {LEAST_ANNOTATION: str(settings.min_instances), MOST_ANNOTATION: str(settings.max_instances)}
    deployment = {
        "metadata": {"name": name, "labels": {**settings.labels, **own}, "annotations": annotations},
        "spec": {
            "selector": {"matchLabels": selector(own, name)},
            "template": {"metadata": {"labels": own}, "spec": pods},
            "progressDeadlineSeconds": settings.startup_seconds,
            "revisionHistoryLimit": 1,
            # One more before one less: whoever restarts the pods (`kubectl rollout restart`) loses no request.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        },
    }
    return Revision(name, deployment, scale)


def check_name(service: str) -> None:
    """See that objects can be named after a service.

    Raises:
        InvalidInput: they cannot.
    """
    if not _NAME.fullmatch(service):
        raise InvalidInput(
            "service: expected lower-case letters, digits and hyphens, at most 52, beginning with a letter, "
            f"received {service!r}"
        )


def own_labels(service: str) -> dict[str, str]:
    """The labels of everything that belongs to a service.

    Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
    """
    return {
        "app.kubernetes.io/name": service,
        "app.kubernetes.io/component": "model-server",
        "app.kubernetes.io/managed-by": "lading",
        SERVICE_LABEL: service,
    }


def given_labels(deployment: Object) -> dict[str, str]:
    """The labels from the settings that a Deployment was made with; a service has them from its promotion on."""
    own = deployment["spec"]["template"]["metadata"]["labels"]
    return {name: text for name, text in deployment["metadata"]["labels"].items() if name not in own}


def selector(labels: Mapping[str, str], revision: str = "") -> dict[str, str]:
    """The labels that all pods of a service have, or those of one revision."""
    found = {SERVICE_LABEL: labels[SERVICE_LABEL]}
    return {**found, REVISION_LABEL: revision} if revision else found


def around(deployment: Object, scale: Scale) -> tuple[tuple[Kind, Object], ...]:
    """What stands around the Deployment of a revision, and goes when it goes: Service, disruption budget, autoscaler.

    Args:
        deployment: As it is on the cluster; one that is not there yet owns nothing.
        scale: Of its pods.
    """
    own = selector(deployment["metadata"]["labels"], deployment["metadata"]["name"])
    # A least number of pods would keep a node with the only pod from ever being emptied. Pods that are not ready hold
    # nobody up.
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": own}, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    found = (
        (SERVICE, {"metadata": _metadata(deployment), "spec": {**PORTS, "selector": own}}),
        (DISRUPTION_BUDGET, {"metadata": _metadata(deployment), "spec": budget}),
    )
    return (*found, (AUTOSCALER, autoscaler(deployment, scale.least, scale.most))) if scale.automatic else found


def autoscaler(deployment: Object, least: int, most: int) -> Object:
    """A HorizontalPodAutoscaler of a Deployment, for so many pods."""
    metadata = _metadata(deployment)
    target = {"type": "Utilization", "averageUtilization": CPU_PERCENT}
    owner = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "name": metadata["name"]}
    return {
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": owner,
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def _metadata(deployment: Object) -> Object:
    """Of an object that belongs to a Deployment."""
    owner = deployment["metadata"]
    found = {"name": owner["name"], "labels": owner["labels"]}
    if "uid" not in owner:
        return found
    reference = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name}
    return {**found, "ownerReferences": [{**reference, "name": owner["name"], "uid": owner["uid"]}]}


def _pod_spec(image: str, settings: Settings) -> Object:
    container: Object = {
        "name": "server",
        "image": image,
        "env": [*_plain(settings.env), *_secret(settings.secrets)],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": _resources(settings),
        "startupProbe": _probe(READY_PATH, period=1, failures=settings.startup_seconds, timeout=3),
        "readinessProbe": _probe(READY_PATH, period=5, failures=3, timeout=3),
        "livenessProbe": _probe(LIVE_PATH, period=10, failures=6, timeout=5),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec: Object = {
        "containers": [container],
        "automountServiceAccountToken": False,
        # They would put a variable into the pods for every Service of the namespace.
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
    }
    return {**spec, "serviceAccountName": settings.service_account} if settings.service_account else spec


def _plain(env: Mapping[str, str]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in sorted(env.items())]


def _secret(secrets: Mapping[str, str]) -> list[Object]:
    found = []
    for name, place in sorted(secrets.items()):
        secret, _, key = place.partition(":")
        found.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return found


def _resources(settings: Settings) -> Object:
    given = {"cpu": settings.cpu, "memory": quantity(settings.memory)}
    limits = {name: value for name, value in given.items() if value}
    resources: Object = {"requests": {"cpu": DEFAULT_CPU, "memory": DEFAULT_MEMORY, **limits}}
    return {**resources, "limits": limits} if limits else resources


def quantity(memory: str) -> str:
    """Memory as the API takes it: a thousand bytes are ``k`` there, not ``K``."""
    return f"{memory[:-1]}k" if memory.endswith("K") else memory


def _probe(path: str, *, period: int, failures: int, timeout: int) -> Object:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }
