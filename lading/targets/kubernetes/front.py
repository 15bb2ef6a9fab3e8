"""What carries the split of a service, and the release: its Service, or its HTTPRoute where there is a Gateway."""

import json
from collections.abc import Mapping
from typing import Protocol

from lading.errors import DeadlineExceeded
from lading.http import Client
from lading.releases import TrafficTarget
from lading.targets.kubernetes.api import SERVICE, Cluster, Kind, Object
from lading.targets.kubernetes.objects import PORTS, REVISION_LABEL, Scale, selector
from lading.targets.kubernetes.pods import ready_pods, revisions_of
from lading.targets.kubernetes.replicas import pods_for, split_of
from lading.wait import Deadline, poll

SPLIT_ANNOTATION = "lading.dev/split"
"""The split as it was asked for; what counts is the selector, the weights and the pods."""


class Front(Protocol):
    """An object whose one write moves the traffic of a service."""

    @property
    def kind(self) -> Kind:
        """Of the object."""

    @property
    def by_pods(self) -> bool:
        """Whether a split is made by the numbers of pods, and not by weights."""

    def new(self, service: str, *, deadline: Deadline) -> Object:
        """The ``spec`` of a service that takes no traffic yet."""

    def spec(self, service: str, split: tuple[TrafficTarget, ...]) -> Object:
        """The part of ``spec`` that makes a split; empty for no traffic."""

    def split(self, body: Object, deployments: Mapping[str, Object]) -> tuple[TrafficTarget, ...]:
        """The split that an object makes of these revisions."""

    def pods(
        self, split: tuple[TrafficTarget, ...], scales: Mapping[str, Scale], *, serving: int
    ) -> dict[str, int] | None:
        """How many pods of each revision a split takes exactly; None when the number does not matter.

        Raises:
            InvalidInput: it cannot be made.
        """

    def holds_all_pods(self, split: tuple[TrafficTarget, ...]) -> bool:
        """Whether every pod of the service takes traffic in a split, so that another revision's would, too."""

    def mark(self, body: Object) -> str:
        """Tells the split that an object was given from any other."""

    def wait_in_force(self, body: Object, pods: Mapping[str, int], *, deadline: Deadline) -> None:
        """Wait until the split of an object is in force.

        Args:
            body: The object as it was written.
            pods: Of each revision in the split; 0 where the number does not matter.
            deadline: When to give up.
        """

    def url(self, service: str, *, deadline: Deadline) -> str:
        """Where clients ask the service."""

    def client(self, service: str, *, deadline: Deadline) -> Client:
        """Asks the service by its split from here."""


class ServiceFront:
    """A Service: all traffic to the pods of one revision by its selector, or to those of two in proportion.

    Args:
        cluster: Where it is.
    """

    kind = SERVICE
    by_pods = True

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def new(self, service: str, *, deadline: Deadline) -> Object:
        """See ``Front.new``."""
        return PORTS  # and no selector: it leads nowhere

    def spec(self, service: str, split: tuple[TrafficTarget, ...]) -> Object:
        """See ``Front.spec``."""
        if not split:
            return {}
        labels = {"lading.dev/service": service}
        return {"selector": selector(labels, split[0].revision if len(split) == 1 else "")}

    def split(self, body: Object, deployments: Mapping[str, Object]) -> tuple[TrafficTarget, ...]:
        """See ``Front.split``."""
        chosen = body["spec"].get("selector")
        if not chosen:
            return ()
        if REVISION_LABEL in chosen:
            return (TrafficTarget(chosen[REVISION_LABEL], 100),)
        pods = {name: one["spec"].get("replicas", 1) for name, one in deployments.items()}
        text = body["metadata"].get("annotations", {}).get(SPLIT_ANNOTATION, "[]")
        written = tuple(TrafficTarget(revision, percent) for revision, percent in json.loads(text))
        return split_of(pods, written)

    def pods(
        self, split: tuple[TrafficTarget, ...], scales: Mapping[str, Scale], *, serving: int
    ) -> dict[str, int] | None:
        """See ``Front.pods``."""
        return pods_for(split, scales, serving=serving) if len(split) > 1 else None

    def holds_all_pods(self, split: tuple[TrafficTarget, ...]) -> bool:
        """See ``Front.holds_all_pods``."""
        return len(split) > 1

    def mark(self, body: Object) -> str:
        """See ``Front.mark``."""
        return json.dumps(body["spec"].get("selector"), sort_keys=True)

    def wait_in_force(self, body: Object, pods: Mapping[str, int], *, deadline: Deadline) -> None:
        """See ``Front.wait_in_force``."""
        service = body["metadata"]["name"]
        seen: dict[str, int] = {}

        def probe() -> bool | None:
            revisions = revisions_of(self._cluster, service, deadline=deadline)
            seen.clear()
            for pod in ready_pods(self._cluster, service, deadline=deadline):
                revision = revisions.get(pod, "a pod that is gone")
                seen[revision] = seen.get(revision, 0) + 1
            right = seen.keys() == pods.keys() and all(not n or seen[name] == n for name, n in pods.items())
            return True if right else None

        try:
            poll(probe, deadline=deadline, what=f"Service {service} to lead to {', '.join(pods)}")
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"{error}; its ready pods: {seen or 'none'}") from error

    def url(self, service: str, *, deadline: Deadline) -> str:
        """See ``Front.url``."""
        return f"http://{service}.{self._cluster.namespace}.svc"

    def client(self, service: str, *, deadline: Deadline) -> Client:
        """See ``Front.client``."""
        return self._cluster.through_proxy(service)
