"""Services through the Knative Serving API, which the embedded local target speaks too.

Source: Knative Serving API specification v1 (``serving.knative.dev/v1``).
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from lading.errors import Conflict, InvalidInput, NotFound, RevisionFailed
from lading.http import Client
from lading.results import TrafficTarget
from lading.targets.base import Capabilities, Change, Rollout, ServiceState, remembered
from lading.targets.door import READY_PATH, HttpDoor
from lading.targets.settings import Settings
from lading.wait import Deadline, poll

API_VERSION = "serving.knative.dev/v1"
ROLLOUT_ANNOTATION = "lading.dev/rollout"
HISTORY_ANNOTATION = "lading.dev/history"
CANDIDATE_TAG = "candidate"
PROGRESS_DEADLINE = "serving.knative.dev/progress-deadline"

Edit = Callable[[dict[str, Any]], None]
"""Edits the object of a service in place."""


class KnativeTarget:
    """A ``Target`` on one namespace.

    Args:
        client: Reaches the API server and carries its credentials.
        namespace: Where the services live.
    """

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._root = f"/apis/{API_VERSION}/namespaces/{namespace}"

    @property
    def capabilities(self) -> Capabilities:
        """See ``Target.capabilities``."""
        return Capabilities(
            settings=frozenset({"env", "startup_seconds"}),
            candidate="by the URL of its tag",
            public=False,
            private=False,
        )

    def get(self, service: str, *, deadline: Deadline) -> ServiceState | None:
        """See ``Target.get``."""
        body = self._read(service, deadline)
        return None if body is None else self._state(body, deadline)

    def deploy(
        self,
        service: str,
        image: str,
        *,
        settings: Settings,
        rollout: Rollout,
        known: ServiceState | None,
        deadline: Deadline,
    ) -> tuple[ServiceState, TrafficTarget]:
        """See ``Target.deploy``."""
        template = revision_template(service, image, settings)
        before = None if known is None else self._current(known, deadline)

        def change(body: dict[str, Any]) -> None:
            body["spec"]["template"] = template
            body["spec"]["traffic"] = _candidate_traffic(rollout)
            _annotate(body, rollout)

        written = self._create(service, change, deadline) if known is None else self._update(known, change, deadline)
        try:
            state = self._state(self._wait_ready(written, deadline), deadline)
        except RevisionFailed:
            self._take_back(service, before, deadline)
            raise
        revision = template["metadata"]["name"]
        return state, next(t for t in state.traffic if t.tag == CANDIDATE_TAG and t.revision == revision)

    def shift(
        self, known: ServiceState, traffic: tuple[TrafficTarget, ...], rollout: Rollout | None, *, deadline: Deadline
    ) -> ServiceState:
        """See ``Target.shift``."""
        template = self._template_of(traffic, deadline)
        history = remembered(known, traffic, rollout)

        def change(body: dict[str, Any]) -> None:
            # The template follows the traffic: one that cannot start must not keep the service from being ready.
            body["spec"]["template"] = template
            body["spec"]["traffic"] = [_pinned(line) for line in traffic]
            _annotate(body, rollout)
            body["metadata"]["annotations"][HISTORY_ANNOTATION] = Change.to_annotation(history)

        return self._state(self._wait_ready(self._update(known, change, deadline), deadline), deadline)

    def delete(self, service: str, *, deadline: Deadline) -> None:
        """See ``Target.delete``."""
        try:
            self._client.request("DELETE", f"{self._root}/services/{service}", deadline=deadline)
        except NotFound:
            return
        poll(
            lambda: True if self._read(service, deadline) is None else None,
            deadline=deadline,
            what=f"service {service} to be deleted",
        )

    def door(self, service: str, line: TrafficTarget | None, *, url: str, model: str) -> HttpDoor:
        """See ``Target.door``."""
        return HttpDoor(Client(line.url if line else url), model)

    def set_public(self, service: str, public: bool, *, deadline: Deadline) -> None:
        """See ``Target.set_public``."""
        raise InvalidInput("this target neither opens nor closes services: whoever reaches it may ask them")

    def _read(self, service: str, deadline: Deadline) -> dict[str, Any] | None:
        try:
            body: dict[str, Any] = self._client.request(
                "GET", f"{self._root}/services/{service}", deadline=deadline
            ).json()
        except NotFound:
            return None
        return body

    def _current(self, known: ServiceState, deadline: Deadline) -> dict[str, Any]:
        """The object as it is now, if what was asked of it is still what ``known`` says.

        ``resourceVersion`` alone would not do: it also changes when the platform writes its status.
        """
        body = self._read(known.name, deadline)
        if body is None or _version(body) != known.version:
            raise Conflict(f"service {known.name} changed while it was being released; run again", status=409)
        return body

    def _create(self, service: str, change: Edit, deadline: Deadline) -> dict[str, Any]:
        body: dict[str, Any] = {"apiVersion": API_VERSION, "kind": "Service", "metadata": {"name": service}, "spec": {}}
        change(body)
        created: dict[str, Any] = self._client.request(
            "POST", f"{self._root}/services", json=body, deadline=deadline
        ).json()
        return created

    def _update(self, known: ServiceState, change: Edit, deadline: Deadline) -> dict[str, Any]:
        """Write a change on top of ``known``; a status that the platform wrote meanwhile is no conflict."""
        while True:
            body = self._current(known, deadline)
            body.pop("status", None)
            change(body)
            try:
                # Sent once: a PUT that was applied and whose answer was lost would be its own conflict.
                answer = self._client.request(
                    "PUT", f"{self._root}/services/{known.name}", json=body, deadline=deadline, retry=False
                )
            except Conflict:
                if deadline.passed:
                    raise
                continue
            written: dict[str, Any] = answer.json()
            return written

    def _wait_ready(self, written: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        name, generation = written["metadata"]["name"], written["metadata"]["generation"]

        def probe() -> dict[str, Any] | None:
            body = self._read(name, deadline)
            if body is None:
                raise RevisionFailed(f"service {name} was deleted while it was being deployed")
            status = body.get("status", {})
            condition = _condition(status)
            if status.get("observedGeneration", 0) < generation or condition.get("status") == "Unknown":
                return None
            if condition.get("status") == "False":
                raise RevisionFailed(f"{name}: {condition.get('reason')}: {condition.get('message')}")
            return body

        return poll(probe, deadline=deadline, what=f"service {name} to be ready")

    def _template_of(self, traffic: tuple[TrafficTarget, ...], deadline: Deadline) -> dict[str, Any]:
        """The template of the revision that takes most of a split."""
        most = max(traffic, key=lambda line: line.percent).revision
        revision = self._client.request("GET", f"{self._root}/revisions/{most}", deadline=deadline).json()
        annotations = revision["metadata"].get("annotations", {})
        kept = {PROGRESS_DEADLINE: annotations[PROGRESS_DEADLINE]} if PROGRESS_DEADLINE in annotations else {}
        return {"metadata": {"name": most, "annotations": kept}, "spec": revision["spec"]}

    def _take_back(self, service: str, before: dict[str, Any] | None, deadline: Deadline) -> None:
        """Remove a revision that would not start from the service; what served before still serves."""
        if before is None:
            self.delete(service, deadline=deadline)
            return
        known = self.get(service, deadline=deadline)
        if known is not None:

            def change(body: dict[str, Any]) -> None:
                body["spec"] = before["spec"]
                body["metadata"]["annotations"] = before["metadata"].get("annotations", {})

            self._wait_ready(self._update(known, change, deadline), deadline)

    def _state(self, body: dict[str, Any], deadline: Deadline) -> ServiceState:
        metadata, status = body["metadata"], body.get("status", {})
        answer = self._client.request(
            "GET",
            f"{self._root}/revisions",
            params={"labelSelector": f"serving.knative.dev/service={metadata['name']}"},
            deadline=deadline,
        )
        revisions = sorted(answer.json()["items"], key=_age)
        annotations = metadata.get("annotations", {})
        annotation = annotations.get(ROLLOUT_ANNOTATION)
        return ServiceState(
            name=metadata["name"],
            url=status.get("url", ""),
            traffic=tuple(_traffic_target(line) for line in status.get("traffic", [])),
            revisions=tuple(revision["metadata"]["name"] for revision in revisions),
            images={r["metadata"]["name"]: r["spec"]["containers"][0]["image"] for r in revisions},
            rollout=Rollout.from_annotation(annotation) if annotation else None,
            version=_version(body),
            history=Change.from_annotation(annotations.get(HISTORY_ANNOTATION, "")),
        )


def revision_template(service: str, image: str, settings: Settings) -> dict[str, Any]:
    """The revision template of an image and its settings; its name ends in a hash of the rest.

    The same image and settings give the same name, so deploying them twice makes one revision.
    """
    container: dict[str, Any] = {
        "image": image,
        "env": [{"name": name, "value": value} for name, value in sorted(settings.env.items())],
        "readinessProbe": {"httpGet": {"path": READY_PATH}},
    }
    template = {
        "metadata": {"annotations": {PROGRESS_DEADLINE: f"{settings.startup_seconds}s"}},
        "spec": {"containers": [container]},
    }
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()
    template["metadata"]["name"] = f"{service}-{digest[:10]}"  # type: ignore[index]
    return template


def _version(body: dict[str, Any]) -> str:
    """What was asked of a service: the generation of its spec, and the release it carries."""
    metadata = body["metadata"]
    return f"{metadata['uid']}/{metadata['generation']}/{metadata.get('annotations', {}).get(ROLLOUT_ANNOTATION, '')}"


def _annotate(body: dict[str, Any], rollout: Rollout | None) -> None:
    annotations = body["metadata"].setdefault("annotations", {})
    if rollout is None:
        annotations.pop(ROLLOUT_ANNOTATION, None)
    else:
        annotations[ROLLOUT_ANNOTATION] = rollout.to_annotation()


def _candidate_traffic(rollout: Rollout) -> list[dict[str, Any]]:
    """What serves keeps its share; the new revision gets a tag. A first revision must take all: a split sums to 100."""
    candidate = {"latestRevision": True, "percent": 0 if rollout.before else 100, "tag": CANDIDATE_TAG}
    return [*(_pinned(line) for line in rollout.before), candidate]


def _pinned(line: TrafficTarget) -> dict[str, Any]:
    pinned: dict[str, Any] = {"revisionName": line.revision, "percent": line.percent, "latestRevision": False}
    return {**pinned, "tag": line.tag} if line.tag else pinned


def _traffic_target(line: dict[str, Any]) -> TrafficTarget:
    return TrafficTarget(line["revisionName"], line.get("percent") or 0, line.get("tag") or "", line.get("url") or "")


def _condition(status: dict[str, Any]) -> dict[str, Any]:
    """Whether what was asked for is in force: the newest revision is ready, and so is the route.

    ``Ready`` sums these up, and more: it may be false because an old revision crashes, which its replacement must
    survive. A condition that is not there yet counts as unknown.
    """
    found: dict[str, dict[str, Any]] = {condition["type"]: condition for condition in status.get("conditions", [])}
    parts = [found[kind] for kind in ("ConfigurationsReady", "RoutesReady") if kind in found]
    if len(parts) < 2:
        return found.get("Ready", {"status": "Unknown"})
    order = ("False", "Unknown", "True")
    return min(parts, key=lambda part: order.index(part.get("status", "Unknown")))


def _age(revision: dict[str, Any]) -> tuple[int, str]:
    """Sorts the newest revision first."""
    generation = revision["metadata"].get("labels", {}).get("serving.knative.dev/configurationGeneration", "0")
    return -int(generation), revision["metadata"]["name"]
