"""The Kubernetes API as far as lading needs it: one namespace, JSON, writes by server-side apply.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and the API reference of v1.30.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lading.errors import AccessDenied, Conflict, NotFound, RemoteError
from lading.http import Client
from lading.wait import Deadline

Object = dict[str, Any]
"""An object as the API server writes it."""

FIELD_MANAGER = "lading"
"""Owns the fields that say how a service runs."""
TRAFFIC_MANAGER = "lading-traffic"
"""Owns the fields that say which revisions take traffic; apart, so that a change of the split touches nothing else."""
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Kind:
    """A kind of objects in a namespace."""

    api_version: str
    name: str
    plural: str

    @property
    def root(self) -> str:
        """The path of its API group."""
        return f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"


DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
SERVICE = Kind("v1", "Service", "services")
POD = Kind("v1", "Pod", "pods")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
GATEWAY = Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways")


class Cluster:
    """One namespace of a cluster.

    Args:
        client: Reaches the API server and carries its credentials.
        namespace: Where the objects are.
    """

    def __init__(self, client: Client, namespace: str) -> None:
        self.namespace = namespace
        self._client = client

    def read(self, kind: Kind, name: str, *, deadline: Deadline, namespace: str = "") -> Object | None:
        """An object, or None when there is none, or no such kind."""
        try:
            found: Object = self._client.request(
                "GET", self._path(kind, name, namespace=namespace), deadline=deadline
            ).json()
        except NotFound:
            return None
        return found

    def find(self, kind: Kind, labels: Mapping[str, str], *, deadline: Deadline) -> list[Object]:
        """The objects that have all of these labels."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        answer = self._client.request(
            "GET", self._path(kind), params={"labelSelector": selector}, deadline=deadline
        ).json()
        items: list[Object] = answer["items"]
        return items

    def apply(
        self, kind: Kind, body: Object, *, deadline: Deadline, manager: str = FIELD_MANAGER, dry_run: bool = False
    ) -> tuple[Object, bool]:
        """Write the fields of an object that are lading's; what others wrote into it stays.

        Args:
            kind: Of the object.
            body: Its name, and every field that ``manager`` shall own; those that it owned before and that are not in
                it are removed. With ``metadata.resourceVersion`` it is written only on top of that version.
            deadline: When to give up.
            manager: Whose fields they are.
            dry_run: Have it checked, and admitted, without being stored.

        Returns:
            The object as it then is, and whether it was created.

        Raises:
            Conflict: it has another version, or somebody else owns a field and gave it another value.
        """
        locked = "resourceVersion" in body["metadata"]
        parameters = {"fieldManager": manager, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        try:
            answer = self._client.request(
                "PATCH",
                self._path(kind, body["metadata"]["name"]),
                params=parameters,
                data=json.dumps({"apiVersion": kind.api_version, "kind": kind.name, **body}).encode(),
                headers={"Content-Type": _APPLY},
                deadline=deadline,
                # What was applied on a version, and whose answer was lost, would be its own conflict.
                repeatable=not locked,
            )
        except Conflict as error:
            if locked:
                raise
            raise Conflict(f"{error} ({_WHOSE})", status=error.status) from error
        return answer.json(), answer.status_code == 201

    def scale(self, deployment: str, replicas: int, *, deadline: Deadline) -> None:
        """Set how many pods a Deployment has.

        Through its scale, as autoscalers do it: a field of the Deployment that lading applied would be in their way.
        """
        self._client.request(
            "PATCH",
            self._path(DEPLOYMENT, deployment) + "/scale",
            params={"fieldManager": FIELD_MANAGER},
            data=json.dumps({"spec": {"replicas": replicas}}).encode(),
            headers={"Content-Type": _MERGE},
            deadline=deadline,
            repeatable=True,
        )

    def delete(self, kind: Kind, name: str, *, deadline: Deadline) -> None:
        """Remove an object, and what it owns in the background; nothing happens when there is none."""
        try:
            self._client.request(
                "DELETE", self._path(kind, name), params={"propagationPolicy": "Background"}, deadline=deadline
            )
        except NotFound:
            return

    def log(self, pod: str, *, lines: int, previous: bool, deadline: Deadline) -> list[str]:
        """The last lines that a pod wrote; none where they cannot be had.

        Args:
            pod: Its name.
            lines: At most so many.
            previous: Of the container that ended last, not of the one that runs now.
            deadline: When to give up.
        """
        parameters = {"tailLines": str(lines), **({"previous": "true"} if previous else {})}
        try:
            text = self._client.request(
                "GET", self._path(POD, pod) + "/log", params=parameters, deadline=deadline, retry=False
            ).text
        except (NotFound, RemoteError, AccessDenied):
            return []
        return [line for line in text.splitlines() if line.strip()]

    def minor_version(self, *, deadline: Deadline) -> int:
        """Y of the cluster's version 1.Y; some vendors write ``30+``."""
        found = self._client.request("GET", "/version", deadline=deadline).json()
        return int("".join(c for c in found["minor"] if c.isdigit()) or 0)

    def through_proxy(self, service: str) -> Client:
        """A client that asks a Service through the API server, which picks one of its ready pods each time.

        Source: https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
        """
        return self._client.below(self._path(SERVICE, f"http:{service}:80") + "/proxy")

    def _path(self, kind: Kind, name: str = "", *, namespace: str = "") -> str:
        path = f"{kind.root}/namespaces/{namespace or self.namespace}/{kind.plural}"
        return f"{path}/{name}" if name else path


_WHOSE = (
    "a field that lading sets was set by somebody else: undo that, or give it back with "
    f"`kubectl apply --server-side --field-manager={FIELD_MANAGER} --force-conflicts`"
)


def generation_seen(body: Object) -> bool:
    """Whether a controller has seen what was asked of an object."""
    seen: int = body.get("status", {}).get("observedGeneration", 0)
    wanted: int = body["metadata"].get("generation", 0)
    return seen >= wanted
