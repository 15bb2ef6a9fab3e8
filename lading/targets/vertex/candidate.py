"""The endpoint of a candidate: Vertex AI asks no model without traffic, so a candidate has an endpoint of its own."""

import contextlib

from lading.errors import Conflict
from lading.releases import TrafficTarget
from lading.targets.vertex.door import url_of
from lading.targets.vertex.endpoints import Endpoints
from lading.targets.vertex.models import Version
from lading.targets.vertex.state import split_of
from lading.vertex_api import VertexApi
from lading.wait import Deadline, poll

SUFFIX = "-candidate"
TAG = "candidate"


class Candidates:
    """The endpoints ``SERVICE-candidate``. Whoever holds the release of the service may change its one."""

    def __init__(self, api: VertexApi, endpoints: Endpoints) -> None:
        self._api, self._endpoints = api, endpoints

    def line(self, service: str, *, deadline: Deadline) -> TrafficTarget | None:
        """The candidate that can be asked; None when there is none."""
        endpoint = self._endpoints.find(service + SUFFIX, deadline=deadline)
        lines = split_of(endpoint) if endpoint is not None else ()
        return TrafficTarget(lines[0].revision, 0, TAG, url_of(self._api, endpoint)) if lines else None

    def bring_up(self, service: str, version: Version, *, deadline: Deadline) -> TrafficTarget:
        """Deploy a version, one replica of it, and take every other off the endpoint.

        Raises:
            RevisionFailed: it does not start.
        """
        name, revision = service + SUFFIX, version.spec.revision
        endpoint = self._endpoints.find(name, deadline=deadline)
        if endpoint is None:
            text = f"The candidate of {service}, until its release ends"
            with contextlib.suppress(Conflict):  # a step that was killed makes it at this moment
                self._endpoints.create(name, description=text, labels={}, deadline=deadline)
            endpoint = poll(
                lambda: self._endpoints.find(name, deadline=deadline), deadline=deadline, what=f"endpoint {name}"
            )
        endpoint = self._endpoints.quiet(endpoint, deadline=deadline)
        if [line.revision for line in split_of(endpoint)] != [revision]:
            self._endpoints.deploy(endpoint, version, alone=True, deadline=deadline)
            endpoint = self._endpoints.read(endpoint.name, deadline=deadline)
        for deployed in endpoint.deployed_models:
            if deployed.id not in endpoint.traffic_split:
                self._endpoints.undeploy(endpoint, deployed.id, deadline=deadline)
        return TrafficTarget(revision, 0, TAG, url_of(self._api, endpoint))

    def remove(self, service: str, *, deadline: Deadline) -> None:
        """Delete the endpoint and what is on it; nothing happens when there is none."""
        endpoint = self._endpoints.find(service + SUFFIX, deadline=deadline)
        if endpoint is not None:
            self._endpoints.delete(endpoint, deadline=deadline)
