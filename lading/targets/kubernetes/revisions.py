"""The revisions of a service on Kubernetes: brought up, given more pods or fewer, put to rest, removed."""

from collections.abc import Collection, Mapping

from lading.errors import InvalidInput
from lading.targets.kubernetes.api import (
    AUTOSCALER,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    SERVICE,
    Cluster,
    Object,
)
from lading.targets.kubernetes.objects import (
    NUMBER_ANNOTATION,
    SERVICE_LABEL,
    Revision,
    Scale,
    around,
    autoscaler,
)
from lading.targets.kubernetes.pods import wait_ready
from lading.wait import Deadline

KEPT = 3
"""So many revisions without traffic are kept beside those that the history names."""
LEAST_MINOR = 30
"""Pods that sleep before they stop are a matter of course from Kubernetes 1.30 on (KEP-3960)."""


class Revisions:
    """The Deployments of services, by name.

    Args:
        cluster: Where they are.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._new_enough = False

    def all(self, service: str, *, deadline: Deadline) -> dict[str, Object]:
        """Every revision of a service, the newest first."""
        found = self._cluster.find(DEPLOYMENT, {SERVICE_LABEL: service}, deadline=deadline)
        return {one["metadata"]["name"]: one for one in sorted(found, key=_number, reverse=True)}

    def check(self, revision: Revision, *, deadline: Deadline) -> None:
        """See that the cluster would take the objects of a revision; nothing is stored.

        Raises:
            InvalidInput: the cluster is too old.
            RemoteError: it refuses them, and says why.
            Conflict: somebody else set one of their fields.
        """
        if not self._new_enough:
            minor = self._cluster.minor_version(deadline=deadline)
            if minor < LEAST_MINOR:
                raise InvalidInput(f"expected Kubernetes 1.{LEAST_MINOR} or newer, received 1.{minor}: update it")
            self._new_enough = True
        for kind, body in ((DEPLOYMENT, revision.deployment), *around(revision.deployment, revision.scale)):
            self._cluster.apply(kind, body, dry_run=True, deadline=deadline)

    def bring_up(self, revision: Revision, known: Mapping[str, Object], *, deadline: Deadline) -> None:
        """Have the pods of a revision, and wait until they are ready.

        Args:
            revision: May be there already, also at rest.
            known: The revisions of the service.
            deadline: When to give up.

        Raises:
            RevisionFailed: they will not be ready.
        """
        there = known.get(revision.name)
        number = _number(there) if there else 1 + max(map(_number, known.values()), default=0)
        metadata = revision.deployment["metadata"]
        annotations = {**metadata["annotations"], NUMBER_ANNOTATION: str(number)}
        body = {**revision.deployment, "metadata": {**metadata, "annotations": annotations}}
        deployment, _ = self._cluster.apply(DEPLOYMENT, body, deadline=deadline)
        for kind, one in around(deployment, revision.scale):
            self._cluster.apply(kind, one, deadline=deadline)
        if not revision.scale.automatic:
            self._cluster.delete(AUTOSCALER, revision.name, deadline=deadline)
        pods = max(replicas(deployment), revision.scale.least)
        self.resize(deployment, pods, deadline=deadline)
        wait_ready(self._cluster, revision.name, pods=pods, deadline=deadline)

    def resize(self, deployment: Object, pods: int, *, fixed: bool = False, deadline: Deadline) -> None:
        """Give a revision so many pods.

        Args:
            deployment: Of the revision.
            pods: So many.
            fixed: Keep its autoscaler, if it has one, from changing the number; it is free again at the next call.
            deadline: When to give up.
        """
        scale = Scale.of(deployment)
        # An autoscaler leaves a Deployment without pods alone.
        if scale.automatic and pods:
            least, most = (pods, pods) if fixed else (scale.least, scale.most)
            self._cluster.apply(AUTOSCALER, autoscaler(deployment, least, most), deadline=deadline)
        if replicas(deployment) != pods:
            self._cluster.scale(deployment["metadata"]["name"], pods, deadline=deadline)

    def rest(self, known: Mapping[str, Object], *, but: Collection[str], deadline: Deadline) -> None:
        """Take the pods of all revisions but some; they end the requests that they have."""
        for name, deployment in known.items():
            if name not in but and replicas(deployment):
                self.resize(deployment, 0, deadline=deadline)

    def forget(self, known: Mapping[str, Object], *, but: Collection[str], deadline: Deadline) -> None:
        """Remove the oldest revisions at rest, but for some and the last ``KEPT``."""
        for name in [name for name in known if name not in but][KEPT:]:
            self.remove(name, deadline=deadline)

    def remove(self, name: str, *, deadline: Deadline) -> None:
        """Remove a revision and all that is around it."""
        for kind in (AUTOSCALER, DISRUPTION_BUDGET, SERVICE, DEPLOYMENT):
            self._cluster.delete(kind, name, deadline=deadline)

    def wait(self, name: str, pods: int, *, deadline: Deadline) -> None:
        """Wait until so many pods of a revision are ready."""
        wait_ready(self._cluster, name, pods=pods, deadline=deadline)


def replicas(deployment: Object) -> int:
    """How many pods a Deployment is to have."""
    found: int = deployment["spec"].get("replicas", 1)
    return found


def _number(deployment: Object) -> int:
    """Counts the revisions of a service in the order in which they were made."""
    return int(deployment["metadata"].get("annotations", {}).get(NUMBER_ANNOTATION, 0))
