"""The split and the release of a service, as they are kept on its front."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from lading.errors import AccessDenied, Conflict, InvalidInput
from lading.releases import TrafficTarget
from lading.targets.base import CANDIDATE_TAG, Change, Rollout, ServiceState
from lading.targets.kubernetes.api import HTTP_ROUTE, SERVICE, TRAFFIC_MANAGER, Cluster, Object
from lading.targets.kubernetes.front import SPLIT_ANNOTATION, Front
from lading.targets.kubernetes.objects import SERVICE_LABEL, own_labels
from lading.targets.kubernetes.routes import VARIABLE
from lading.wait import Deadline

ROLLOUT_ANNOTATION = "lading.dev/rollout"
HISTORY_ANNOTATION = "lading.dev/history"
CANDIDATE_ANNOTATION = "lading.dev/candidate"


@dataclass(frozen=True)
class Entry:
    """What is written in one go."""

    split: tuple[TrafficTarget, ...]
    """The lines with traffic, without tags."""
    rollout: Rollout | None
    candidate: str
    """The revision that has the tag; empty for none."""
    history: tuple[Change, ...]

    def annotations(self) -> dict[str, str]:
        """As they are written; what is empty is left out."""
        found = {
            ROLLOUT_ANNOTATION: self.rollout.to_annotation() if self.rollout else "",
            HISTORY_ANNOTATION: Change.to_annotation(self.history) if self.history else "",
            CANDIDATE_ANNOTATION: self.candidate,
            SPLIT_ANNOTATION: json.dumps([[line.revision, line.percent] for line in self.split]) if self.split else "",
        }
        return {name: text for name, text in found.items() if text}


class Record:
    """Reads and writes fronts.

    Args:
        cluster: Where they are.
        front: The kind of front that is used.
    """

    def __init__(self, cluster: Cluster, front: Front) -> None:
        self._cluster, self._front = cluster, front

    def read(self, service: str, *, deadline: Deadline) -> Object | None:
        """The front of a service.

        Raises:
            InvalidInput: an object of this name is there, and is not lading's, or not for this kind of split.
        """
        body = self._cluster.read(self._front.kind, service, deadline=deadline)
        if body is None:
            self._check_other(service, deadline)
        elif not _is_front_of(body, service):
            raise InvalidInput(
                f"{self._front.kind.name} {service} in namespace {self._cluster.namespace} is not lading's: give the "
                "service another name"
            )
        return body

    def current(self, known: ServiceState, *, deadline: Deadline) -> Object:
        """The front as it is now.

        Raises:
            Conflict: its split or release are not what ``known`` says.
        """
        body = self.read(known.name, deadline=deadline)
        if body is None or self.version(body) != known.version:
            raise Conflict(f"service {known.name} changed while it was being released; run again", status=409)
        return body

    def create(self, service: str, *, deadline: Deadline) -> Object:
        """A front without traffic.

        Raises:
            Conflict: there is one already.
        """
        written, created = self._apply(service, own_labels(service), deadline)
        if not created:
            raise Conflict(f"service {service} was created by somebody else meanwhile; run again", status=409)
        return written

    def label(self, service: str, labels: Mapping[str, str], *, deadline: Deadline) -> Object:
        """Give a front these labels, and take those that it had from here."""
        return self._apply(service, {**labels, **own_labels(service)}, deadline)[0]

    def write(self, known: ServiceState, entry: Entry, *, deadline: Deadline) -> Object:
        """Write on top of ``known``; what others wrote meanwhile into other fields is no conflict.

        Raises:
            Conflict: the service changed since, or somebody else set what moves its traffic.
        """
        spec = self._front.spec(known.name, entry.split)
        while True:
            live = self.current(known, deadline=deadline)["metadata"]
            locked = {field: live[field] for field in ("name", "uid", "resourceVersion")}
            body: Object = {"metadata": {**locked, "annotations": entry.annotations()}}
            if spec:
                body["spec"] = spec
            try:
                return self._cluster.apply(self._front.kind, body, manager=TRAFFIC_MANAGER, deadline=deadline)[0]
            except Conflict as error:
                now = self.current(known, deadline=deadline)["metadata"]
                if now["resourceVersion"] == live["resourceVersion"]:
                    raise Conflict(
                        f"{error} (somebody else set what moves the traffic: give it back with `kubectl apply "
                        f"--server-side --field-manager={TRAFFIC_MANAGER} --force-conflicts`)",
                        status=error.status,
                    ) from error
                if deadline.passed:
                    raise

    def state(self, body: Object, revisions: Mapping[str, Object], *, deadline: Deadline) -> ServiceState:
        """What a front says of its service."""
        metadata = body["metadata"]
        name, annotations = metadata["name"], metadata.get("annotations", {})
        traffic = self._front.split(body, revisions)
        candidate = annotations.get(CANDIDATE_ANNOTATION, "")
        if candidate in revisions:
            url = self._cluster.through_proxy(candidate).base_url
            traffic = (*traffic, TrafficTarget(candidate, 0, tag=CANDIDATE_TAG, url=url))
        rollout = annotations.get(ROLLOUT_ANNOTATION)
        return ServiceState(
            name=name,
            url=self._front.url(name, deadline=deadline),
            traffic=traffic,
            revisions=tuple(revisions),
            images={key: one["spec"]["template"]["spec"]["containers"][0]["image"] for key, one in revisions.items()},
            rollout=Rollout.from_annotation(rollout) if rollout else None,
            version=self.version(body),
            history=Change.from_annotation(annotations.get(HISTORY_ANNOTATION, "")),
        )

    def version(self, body: Object) -> str:
        """The split and the release that a front carries; ``resourceVersion`` also changes when others write."""
        metadata = body["metadata"]
        annotations = metadata.get("annotations", {})
        own = [annotations.get(name, "") for name in (ROLLOUT_ANNOTATION, CANDIDATE_ANNOTATION, SPLIT_ANNOTATION)]
        return "/".join((metadata["uid"], self._front.mark(body), *own))

    def _apply(self, service: str, labels: Mapping[str, str], deadline: Deadline) -> tuple[Object, bool]:
        """Write what lading owns of a front but for the split and the release."""
        spec = self._front.new(service, deadline=deadline)
        body = {"metadata": {"name": service, "labels": dict(labels)}, "spec": spec}
        return self._cluster.apply(self._front.kind, body, deadline=deadline)

    def _check_other(self, service: str, deadline: Deadline) -> None:
        """See that the service is not there with the other kind of front."""
        by_route = self._front.kind is HTTP_ROUTE
        try:
            found = self._cluster.read(SERVICE if by_route else HTTP_ROUTE, service, deadline=deadline)
        except AccessDenied:  # who may not see routes has none
            return
        if found is not None and _is_front_of(found, service):
            how = f"by numbers of pods: unset {VARIABLE}" if by_route else f"by an HTTPRoute: set {VARIABLE}"
            raise InvalidInput(f"service {service} is split {how}, or delete it first")


def _is_front_of(body: Object, service: str) -> bool:
    return bool(body["metadata"].get("labels", {}).get(SERVICE_LABEL) == service)
