"""Services on Vertex AI (the product is now called "Gemini Enterprise Agent Platform").

A service is an endpoint, a revision is a version of the service's model (``models``), and the state of a
release stands in the endpoint's description (``state``), which is written together with the split, under its
etag. What a single write cannot do is done in an order that a repeated call can finish:

* A model without traffic cannot be asked, so a candidate has an endpoint of its own, ``SERVICE-candidate``, with one
  replica. It is there as long as the release is open.
* A revision that gets traffic is deployed first, without any; then the split is written.
* A release is marked as ended last, after everything without traffic was undeployed.

Every operation that goes on at an endpoint is waited for before the endpoint is changed, also those that a killed step
left behind.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lading.errors import (
    AccessDenied,
    Conflict,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    RevisionFailed,
)
from lading.releases import TrafficTarget
from lading.targets.base import LEASE_SECONDS, Capabilities, Phase, Rollout, ServiceState, remembered
from lading.targets.defaults import Defaults
from lading.targets.settings import Settings
from lading.targets.vertex.candidate import Candidates
from lading.targets.vertex.door import VertexDoor, url_of
from lading.targets.vertex.endpoints import Endpoints, is_ours
from lading.targets.vertex.models import ModelRegistry, Resources, RevisionSpec, Version, check_names
from lading.targets.vertex.state import (
    Notes,
    ids_of,
    revisions_of,
    split_of,
    state_of,
    version_of,
)
from lading.vertex_api import VertexApi
from lading.wait import Deadline, poll

_REFUSED = (RevisionFailed, QuotaExceeded, AccessDenied, InvalidInput)


class VertexTarget(Defaults):
    """A ``Target`` on one project and region."""

    def __init__(self, api: VertexApi) -> None:
        self._api = api
        self._endpoints, self._models = Endpoints(api), ModelRegistry(api)
        self._candidates = Candidates(api, self._endpoints)

    @property
    def capabilities(self) -> Capabilities:
        """See ``Target.capabilities``."""
        return Capabilities(
            settings=frozenset({"env", "machine_type", "min_instances", "max_instances", "service_account", "labels"}),
            candidate="on an endpoint of its own, SERVICE-candidate, whose machine is billed while the release is open",
            public=False,
            private=True,
        )

    def get(self, service: str, *, deadline: Deadline) -> ServiceState | None:
        """See ``Target.get``."""
        endpoint = self._endpoints.find(service, deadline=deadline)
        return None if endpoint is None else self._state(service, endpoint, deadline)

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
        """See ``Target.deploy``. A first revision takes no traffic either: until it is promoted, the service has none.

        Raises:
            QuotaExceeded, AccessDenied: there is no machine for it, or who asks may not have one; nothing is left.
        """
        check_names(service, settings)
        spec = RevisionSpec.of(service, image, settings)
        held = _held(rollout, deadline)
        claimed = self._claim(service, known, held, settings, deadline)
        uploaded: list[Version] = []
        try:
            version = self._version(service, spec.revision, deadline)
            if version is None:
                version = self._models.upload(service, spec, settings, deadline=deadline)
                uploaded.append(version)
            line = self._candidates.bring_up(service, version, deadline=deadline)
        except _REFUSED:
            # A service that this release created goes, as when the release is undone.
            self._take_back(known if rollout.before else None, claimed, uploaded, deadline=deadline)
            raise
        ready = replace(rollout, expires=max(rollout.expires, time.time() + LEASE_SECONDS))
        self._write(claimed, Notes(ready, claimed.history), deadline=deadline)
        return self._read_back(service, deadline), line

    def shift(
        self, known: ServiceState, traffic: tuple[TrafficTarget, ...], rollout: Rollout | None, *, deadline: Deadline
    ) -> ServiceState:
        """See ``Target.shift``. When the release has ended, what takes no traffic is undeployed."""
        self._current(known, deadline)
        history = remembered(known, traffic, rollout)
        ended = rollout is None or not rollout.open
        open_one = known.rollout if ended else rollout
        if missing := self._missing(known.name, traffic, deadline):
            if open_one is not None and open_one.open:
                known = self._write(known, Notes(_held(open_one, deadline), known.history), deadline=deadline)
            for version in missing:
                self._endpoints.deploy(self._endpoint(known.name, deadline), version, deadline=deadline)
        if not ended or history != known.history:
            known = self._write(known, Notes(open_one, history), split=traffic, deadline=deadline)
        if ended:
            self._tidy(known.name, promoted=bool(rollout and rollout.phase is Phase.PROMOTED), deadline=deadline)
            self._write(known, Notes(rollout, history), deadline=deadline)
        return self._read_back(known.name, deadline)

    def door(self, service: str, line: TrafficTarget | None, *, url: str, model: str) -> VertexDoor:
        """See ``Target.door``."""
        asked = line.url if line else url
        resource = asked.partition("/v1/")[2]
        return VertexDoor(self._api, asked, lambda deadline: self._endpoints.read(resource, deadline=deadline))

    def set_public(self, service: str, public: bool, *, deadline: Deadline) -> None:
        """See ``Target.set_public``."""
        if public:
            raise InvalidInput(
                f"{self._api.where}: an endpoint cannot be opened to everyone; grant roles/aiplatform.user to those "
                "who ask it, or deploy to Cloud Run"
            )

    def delete(self, service: str, *, deadline: Deadline) -> None:
        """See ``Target.delete``; an endpoint that lading did not make stays, without what lading deployed."""
        versions = self._models.versions(service, deadline=deadline)
        self._candidates.remove(service, deadline=deadline)
        endpoint = self._endpoints.find(service, deadline=deadline)
        if endpoint is not None and is_ours(endpoint):
            self._endpoints.delete(endpoint, deadline=deadline)
        elif endpoint is not None:
            self._undeploy_idle(endpoint, versions, deadline)
            fresh = self._endpoints.read(endpoint.name, deadline=deadline)
            self._endpoints.update(fresh, description=Notes(None, ()).write(fresh.description), deadline=deadline)
        self._models.remove(service, versions, deadline=deadline)

    def resources(self, service: str, revision: str, *, deadline: Deadline) -> Resources:
        """Vertex's own names for a service and a revision.

        Raises:
            NotFound: there is no such service or revision.
        """
        endpoint = self._endpoints.find(service, deadline=deadline)
        version = self._version(service, revision, deadline)
        if endpoint is None or version is None:
            raise NotFound(f"{self._api.where} has no service {service} with a revision {revision}")
        return Resources(f"{self._api.url}/v1/", endpoint.name, version.name)

    def _claim(
        self, service: str, known: ServiceState | None, rollout: Rollout, settings: Settings, deadline: Deadline
    ) -> ServiceState:
        """Note the release on the service, which holds it; make the service if there is none."""
        if known is not None:
            return self._write(known, Notes(rollout, known.history), labels=settings.labels, deadline=deadline)
        text = Notes(rollout, ()).write()
        try:
            self._endpoints.create(service, description=text, labels=settings.labels, deadline=deadline)
        except Conflict:
            # It may be this release that makes it: a step that was killed, whose request goes on.
            made = poll(
                lambda: self.get(service, deadline=deadline), deadline=deadline, what=f"endpoint {service} to be made"
            )
            if made.rollout is None or made.rollout.id != rollout.id:
                raise
            return made
        return self._read_back(service, deadline)

    def _take_back(
        self, known: ServiceState | None, claimed: ServiceState, uploaded: list[Version], *, deadline: Deadline
    ) -> None:
        """Leave nothing of a candidate that would not start; what served before still serves."""
        if known is None:
            self.delete(claimed.name, deadline=deadline)
            return
        self._candidates.remove(claimed.name, deadline=deadline)
        self._models.remove(claimed.name, uploaded, deadline=deadline)
        self._write(claimed, Notes(known.rollout, known.history), deadline=deadline)

    def _missing(self, service: str, traffic: tuple[TrafficTarget, ...], deadline: Deadline) -> list[Version]:
        """The revisions of a split that are not deployed.

        Raises:
            NotFound: one of them is not there at all.
        """
        endpoint = self._endpoint(service, deadline)
        there = set(revisions_of(endpoint).values())
        absent = [line.revision for line in traffic if line.percent and line.revision not in there]
        if not absent:
            return []
        there |= set(revisions_of(self._endpoints.quiet(endpoint, deadline=deadline)).values())
        versions = {one.spec.revision: one for one in self._models.versions(service, deadline=deadline)}
        if unknown := [name for name in absent if name not in versions and name not in there]:
            raise NotFound(f"{self._api.where}: service {service} has no revision {', '.join(unknown)}")
        return [versions[name] for name in absent if name not in there]

    def _tidy(self, service: str, *, promoted: bool, deadline: Deadline) -> None:
        """End what a release leaves: the candidate's endpoint, and what takes no traffic; Vertex bills each replica."""
        endpoint = self._endpoint(service, deadline)
        versions = self._models.versions(service, deadline=deadline)
        if promoted:
            largest = [line.revision for line in split_of(endpoint)[:1]]
            for version in (one for one in versions if one.spec.revision in largest):
                self._models.make_default(version, deadline=deadline)
        self._undeploy_idle(endpoint, versions, deadline)
        self._candidates.remove(service, deadline=deadline)

    def _undeploy_idle(self, endpoint: Any, versions: tuple[Version, ...], deadline: Deadline) -> None:
        """Undeploy the revisions without traffic. What lading did not deploy it could not bring back: that stays."""
        endpoint = self._endpoints.quiet(endpoint, deadline=deadline)
        names, ours = revisions_of(endpoint), {version.spec.revision for version in versions}
        for id, revision in names.items():
            if revision in ours and not endpoint.traffic_split.get(id):
                self._endpoints.undeploy(endpoint, id, deadline=deadline)

    def _write(
        self,
        known: ServiceState,
        notes: Notes,
        *,
        deadline: Deadline,
        split: tuple[TrafficTarget, ...] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> ServiceState:
        """Write notes, and a split, on top of ``known``; what else changed on the endpoint is no conflict."""
        while True:
            endpoint = self._current(known, deadline)
            try:
                written = self._endpoints.update(
                    endpoint,
                    description=notes.write(endpoint.description),
                    split=None if split is None else ids_of(endpoint, split),
                    labels={**endpoint.labels, **labels} if labels else None,
                    deadline=deadline,
                )
            except (Conflict, InvalidInput):
                changed = self._endpoints.read(endpoint.name, deadline=deadline).etag != endpoint.etag
                if deadline.passed or not changed:
                    raise
                continue
            return replace(known, version=version_of(written), rollout=notes.rollout, history=notes.history)

    def _current(self, known: ServiceState, deadline: Deadline) -> Any:
        """The endpoint as it is, if what was asked of it is still what ``known`` says."""
        endpoint = self._endpoints.find(known.name, deadline=deadline)
        if endpoint is None or version_of(endpoint) != known.version:
            raise Conflict(f"service {known.name} changed while it was being released; run again", status=409)
        return endpoint

    def _endpoint(self, service: str, deadline: Deadline) -> Any:
        endpoint = self._endpoints.find(service, deadline=deadline)
        if endpoint is None:
            raise Conflict(f"service {service} was deleted while it was being released", status=409)
        return endpoint

    def _version(self, service: str, revision: str, deadline: Deadline) -> Version | None:
        versions = self._models.versions(service, deadline=deadline)
        return next((version for version in versions if version.spec.revision == revision), None)

    def _read_back(self, service: str, deadline: Deadline) -> ServiceState:
        return self._state(service, self._endpoint(service, deadline), deadline)

    def _state(self, service: str, endpoint: Any, deadline: Deadline) -> ServiceState:
        candidate = None
        rollout = Notes.read(endpoint.description).rollout
        if rollout is not None and rollout.open:
            candidate = self._candidates.line(service, deadline=deadline)
        versions = self._models.versions(service, deadline=deadline)
        return state_of(service, endpoint, versions, url=url_of(self._api, endpoint), candidate=candidate)


def _held(rollout: Rollout, deadline: Deadline) -> Rollout:
    """A release whose lease lasts as long as the call that holds it: a deployment takes many minutes."""
    return replace(rollout, expires=max(rollout.expires, time.time() + deadline.remaining() + LEASE_SECONDS))
