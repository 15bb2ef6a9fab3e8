"""Services through the Knative Serving API: on a cluster, on Cloud Run, and on the embedded local target.

What differs between them is in ``dialects`` (how settings are written) and in the client (how the API is reached).
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from lading.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    RemoteError,
    RevisionFailed,
    ServiceUnreachable,
)
from lading.http import Client
from lading.releases import TrafficTarget
from lading.targets.advice import ExplainedClient
from lading.targets.base import Capabilities, Change, Rollout, ServiceState, remembered
from lading.targets.defaults import Defaults
from lading.targets.door import Door, HttpDoor
from lading.targets.knative.dialects import Dialect, propose_marks, settle_marks
from lading.targets.knative.objects import (
    API_VERSION,
    CANDIDATE_TAG,
    HISTORY_ANNOTATION,
    SERVICE_LABEL,
    Object,
    annotate,
    candidate_traffic,
    condition,
    pinned,
    revision_name,
    rollout_of,
    service_state,
    template_of,
    version_of,
)
from lading.targets.settings import Settings
from lading.wait import Deadline, poll

Edit = Callable[[Object], None]
"""Edits the object of a service in place."""

_AGAIN_SECONDS = 0.2
# ``Ready`` sums these up, and more: it may be false because an old revision crashes, which its replacement survives.
_DEPLOYED = ("ConfigurationsReady", "RoutesReady")
# A split of revisions that are named does not hang on the newest template, which may be one that will not start.
_ROUTED = ("RoutesReady",)


class KnativeTarget(Defaults):
    """A ``Target`` on one namespace.

    Args:
        client: Reaches the API server and carries its credentials.
        namespace: Where the services live.
        dialect: How the platform wants settings written.
        ingress: ``http://HOST:PORT`` where requests to services go, with the service's host as ``Host``. Empty: to
            the URLs of the services themselves.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        *,
        dialect: Dialect,
        ingress: str = "",
    ) -> None:
        self._client, self._dialect, self._ingress = client, dialect, ingress
        self._root = f"/apis/{API_VERSION}/namespaces/{namespace}"

    @property
    def capabilities(self) -> Capabilities:
        """See ``Target.capabilities``."""
        return self._dialect.capabilities

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
        template, marks = self._dialect.template(image, settings), self._dialect.marks(settings)
        before = None if known is None else self._current(known, deadline)
        name, there = (
            (revision_name(service, template), False) if known is None else self._name(known, template, deadline)
        )
        template["metadata"]["name"] = name

        def change(body: Object) -> None:
            if not there and body["spec"].get("template", {}).get("metadata", {}).get("name") != name:
                body["spec"]["template"] = template
            body["spec"]["traffic"] = candidate_traffic(rollout, name if there else "")
            annotate(body, rollout)
            propose_marks(body, marks, rollout)

        written = self._create(service, change, deadline) if known is None else self._update(known, change, deadline)
        try:
            # Where the candidate is there already, the template may be another's.
            state = self._state(self._wait(written, _ROUTED if there else _DEPLOYED, deadline), deadline)
        except RevisionFailed:
            self._take_back(service, before, deadline)
            raise
        return state, next(t for t in state.traffic if t.tag == CANDIDATE_TAG and t.revision == name)

    def shift(
        self, known: ServiceState, traffic: tuple[TrafficTarget, ...], rollout: Rollout | None, *, deadline: Deadline
    ) -> ServiceState:
        """See ``Target.shift``."""
        most = max(traffic, key=lambda line: line.percent).revision
        template = self._template_of(most, deadline) if self._dialect.rebuilds else None
        history = remembered(known, traffic, rollout)

        def change(body: Object) -> None:
            # The template follows the traffic: one that cannot start must not keep the service from being ready.
            if template and body["spec"]["template"].get("metadata", {}).get("name") != most:
                body["spec"]["template"] = template
            body["spec"]["traffic"] = [pinned(line) for line in traffic]
            annotate(body, rollout)
            settle_marks(body, rollout)
            body["metadata"].setdefault("annotations", {})[HISTORY_ANNOTATION] = Change.to_annotation(history)

        return self._state(self._wait(self._update(known, change, deadline), _ROUTED, deadline), deadline)

    def delete(self, service: str, *, deadline: Deadline) -> None:
        """See ``Target.delete``."""
        try:
            self._client.request("DELETE", self._path(service), deadline=deadline)
        except NotFound:
            return
        poll(
            lambda: True if self._read(service, deadline) is None else None,
            deadline=deadline,
            what=f"service {service} to be deleted",
        )

    def door(self, service: str, line: TrafficTarget | None, *, url: str, model: str) -> Door:
        """See ``Target.door``."""
        where = line.url if line else url
        if not self._ingress:
            return HttpDoor(ExplainedClient(where, advice=self._dialect.door_advice), model)
        return HttpDoor(Client(self._ingress, headers={"Host": urlsplit(where).netloc}), model)

    def set_public(self, service: str, public: bool, *, deadline: Deadline) -> None:
        """See ``Target.set_public``."""
        raise InvalidInput("this target neither opens nor closes services: whoever reaches it may ask them")

    def _path(self, service: str) -> str:
        return f"{self._root}/services/{service}"

    def _read(self, service: str, deadline: Deadline) -> Object | None:
        try:
            body: Object = self._client.request("GET", self._path(service), deadline=deadline).json()
        except NotFound:
            return None
        return body

    def _current(self, known: ServiceState, deadline: Deadline) -> Object:
        """The object as it is now, if what was asked of it is still what ``known`` says.

        ``resourceVersion`` alone would not do: it also changes when the platform writes its status.
        """
        body = self._read(known.name, deadline)
        if body is None or version_of(body) != known.version:
            raise Conflict(f"service {known.name} changed while it was being released; run again", status=409)
        return body

    def _create(self, service: str, change: Edit, deadline: Deadline) -> Object:
        body: Object = {"apiVersion": API_VERSION, "kind": "Service", "metadata": {"name": service}, "spec": {}}
        change(body)
        answer = self._client.request("POST", f"{self._root}/services", json=body, deadline=deadline)
        created: Object = answer.json()
        return created

    def _update(self, known: ServiceState, change: Edit, deadline: Deadline) -> Object:
        """Write a change on top of ``known``; a status that the platform wrote meanwhile is no conflict."""
        while True:
            body = self._current(known, deadline)
            body.pop("status", None)
            change(body)
            try:
                # The client sends it once: one that was applied and whose answer was lost would be its own conflict.
                answer = self._client.request(
                    "PUT", self._path(known.name), json=body, deadline=deadline, repeatable=False
                )
            except (Conflict, ServiceUnreachable, RemoteError) as error:
                # A release's text is written once, so finding ours says that the write arrived.
                found = self._read(known.name, deadline)
                if found is not None and rollout_of(found) == rollout_of(body) and version_of(found) != known.version:
                    return found
                if deadline.passed or not (isinstance(error, Conflict | ServiceUnreachable) or error.status >= 500):
                    raise
                deadline.sleep(_AGAIN_SECONDS)
                continue
            written: Object = answer.json()
            return written

    def _wait(self, written: Object, kinds: tuple[str, ...], deadline: Deadline) -> Object:
        """The service, once what was written is in force, as these conditions of it say."""
        name, generation = written["metadata"]["name"], written["metadata"]["generation"]
        said = ""

        def probe() -> Object | None:
            nonlocal said
            body = self._read(name, deadline)
            if body is None:
                raise RevisionFailed(f"service {name} was deleted while it was being deployed")
            found = condition(body, *kinds)
            said = f"{name}: {found.get('reason')}: {found.get('message')}"
            if body.get("status", {}).get("observedGeneration", 0) < generation or found.get("status") == "Unknown":
                return None
            if found.get("status") == "False":
                raise RevisionFailed(said)
            return body

        try:
            return poll(probe, deadline=deadline, what=f"service {name} to be ready")
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"gave up waiting for service {name} to be ready; it says: {said}") from error

    def _name(self, known: ServiceState, template: Object, deadline: Deadline) -> tuple[str, bool]:
        """The name of the revision of a template, and whether there is one that is ready."""
        there = {one["metadata"]["name"]: one for one in self._revisions(known.name, deadline)}
        for number in range(1, len(there) + 2):
            name = revision_name(known.name, template, number)
            status = condition(there[name]).get("status") if name in there else "Unknown"
            if status != "False":
                break
        return name, status == "True"

    def _template_of(self, revision: str, deadline: Deadline) -> Object:
        """The template that led to a revision."""
        body = self._client.request("GET", f"{self._root}/revisions/{revision}", deadline=deadline).json()
        return template_of(body, self._dialect.annotations)

    def _take_back(self, service: str, before: Object | None, deadline: Deadline) -> None:
        """Remove a revision that would not start from the service; what served before still serves."""
        if before is None:
            self.delete(service, deadline=deadline)
            return
        known = self.get(service, deadline=deadline)
        if known is not None:

            def change(body: Object) -> None:
                body["spec"] = before["spec"]
                body["metadata"]["annotations"] = before["metadata"].get("annotations", {})

            self._wait(self._update(known, change, deadline), _ROUTED, deadline)

    def _state(self, body: Object, deadline: Deadline) -> ServiceState:
        return service_state(body, self._revisions(body["metadata"]["name"], deadline))

    def _revisions(self, service: str, deadline: Deadline) -> list[Object]:
        """All revisions of a service; long lists come in pieces (Kubernetes API conventions, "continue")."""
        found: list[Object] = []
        query: dict[str, Any] = {"labelSelector": f"{SERVICE_LABEL}={service}"}
        while True:
            body = self._client.request("GET", f"{self._root}/revisions", params=query, deadline=deadline).json()
            found += body.get("items") or []
            query["continue"] = (body.get("metadata") or {}).get("continue")
            if not query["continue"]:
                return found
