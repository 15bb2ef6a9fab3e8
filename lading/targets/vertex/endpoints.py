"""Endpoints of Vertex AI: made, written, and filled with models.

API: ``google.cloud.aiplatform.v1``, EndpointService.
"""

from collections.abc import Mapping
from typing import Any

from lading.errors import InvalidInput, NotFound, RevisionFailed
from lading.targets.vertex.models import LABEL, RevisionSpec, Version
from lading.targets.vertex.operations import wait, wait_for_all
from lading.vertex_api import VertexApi, seconds
from lading.wait import Deadline


class Endpoints:
    """The endpoints of a project and region."""

    def __init__(self, api: VertexApi) -> None:
        self._api = api

    def find(self, name: str, *, deadline: Deadline) -> Any | None:
        """The endpoint whose id, or else whose display name, this is.

        Raises:
            InvalidInput: several have this display name.
        """
        try:
            return self.read(f"{self._api.parent}/endpoints/{name}", deadline=deadline)
        except NotFound:
            pass
        with self._api.translated(f"endpoint {name}"):
            listed = self._client.list_endpoints(
                request={"parent": self._api.parent, "filter": f'display_name="{name}"'}, timeout=seconds(deadline)
            )
            found = list(listed)
        if len(found) > 1:
            ids = ", ".join(endpoint.name.rpartition("/")[2] for endpoint in found)
            raise InvalidInput(f"{self._api.where} has several endpoints {name} ({ids}): rename all but one of them")
        return found[0] if found else None

    def read(self, resource: str, *, deadline: Deadline) -> Any:
        """An endpoint by its resource name.

        Raises:
            NotFound: there is none.
        """
        with self._api.translated(f"endpoint {resource.rpartition('/')[2]}"):
            return self._client.get_endpoint(name=resource, timeout=seconds(deadline))

    def create(self, name: str, *, description: str, labels: Mapping[str, str], deadline: Deadline) -> None:
        """Make an endpoint, whose id and display name this is.

        Raises:
            Conflict: it is there, or somebody makes it at this moment.
        """
        from google.cloud.aiplatform_v1 import Endpoint

        wanted = Endpoint(display_name=name, description=description, labels={**labels, LABEL: "1"})
        with self._api.translated(f"endpoint {name}"):
            started = self._client.create_endpoint(
                request={"parent": self._api.parent, "endpoint": wanted, "endpoint_id": name},
                timeout=seconds(deadline),
            )
        wait(self._api, self._client, started.operation, what=f"endpoint {name} to be made", deadline=deadline)

    def update(
        self,
        endpoint: Any,
        *,
        deadline: Deadline,
        description: str | None = None,
        split: Mapping[str, int] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Any:
        """Write what is given in one write, if the endpoint did not change since it was read.

        Args:
            endpoint: As it was read.
            deadline: When to give up.
            description: Its description.
            split: Percentages by the id of deployed models.
            labels: All of its labels.

        Raises:
            Conflict, InvalidInput: it changed since (the API's words for that are not documented).
        """
        from google.cloud.aiplatform_v1 import Endpoint

        given = {"description": description, "traffic_split": split, "labels": labels}
        changes = {name: value for name, value in given.items() if value is not None}
        wanted = Endpoint(name=endpoint.name, etag=endpoint.etag, **changes)
        with self._api.translated(f"endpoint {endpoint.display_name}"):
            return self._client.update_endpoint(
                request={"endpoint": wanted, "update_mask": {"paths": sorted(changes)}}, timeout=seconds(deadline)
            )

    def deploy(self, endpoint: Any, version: Version, *, deadline: Deadline, alone: bool = False) -> None:
        """Bring a version of a model up on an endpoint, and wait until it is ready.

        Args:
            endpoint: Gets the model.
            version: Of the model.
            deadline: When to give up.
            alone: True: one replica, which takes all of the endpoint's traffic. False: it takes none.

        Raises:
            RevisionFailed: it does not start.
        """
        request = {
            "endpoint": endpoint.name,
            "deployed_model": _deployed(version, alone=alone),
            "traffic_split": {"0": 100} if alone else {},  # "0" is the model of this request
        }
        with self._api.translated(f"endpoint {endpoint.display_name}"):
            started = self._client.deploy_model(request=request, timeout=seconds(deadline))
        what = f"revision {version.spec.revision} to be ready on endpoint {endpoint.display_name}"
        wait(self._api, self._client, started.operation, what=what, deadline=deadline, failure=RevisionFailed)

    def undeploy(self, endpoint: Any, deployed_id: str, *, deadline: Deadline) -> None:
        """Take a deployed model, which has no traffic or is the last, off an endpoint."""
        with self._api.translated(f"endpoint {endpoint.display_name}"):
            started = self._client.undeploy_model(
                request={"endpoint": endpoint.name, "deployed_model_id": deployed_id}, timeout=seconds(deadline)
            )
        what = f"endpoint {endpoint.display_name} to let go of a model"
        wait(self._api, self._client, started.operation, what=what, deadline=deadline)

    def quiet(self, endpoint: Any, *, deadline: Deadline) -> Any:
        """The endpoint as it is after all that goes on at it has ended."""
        wait_for_all(self._api, self._client, endpoint.name, deadline=deadline)
        return self.read(endpoint.name, deadline=deadline)

    def delete(self, endpoint: Any, *, deadline: Deadline) -> None:
        """Take every model off an endpoint, and delete it if lading made it; a repeated call does no harm."""
        try:
            endpoint = self.quiet(endpoint, deadline=deadline)
            if endpoint.traffic_split and endpoint.deployed_models:
                endpoint = self.update(endpoint, split={}, deadline=deadline)
            for deployed in endpoint.deployed_models:
                self.undeploy(endpoint, deployed.id, deadline=deadline)
            with self._api.translated(f"endpoint {endpoint.display_name}"):
                started = self._client.delete_endpoint(name=endpoint.name, timeout=seconds(deadline))
            what = f"endpoint {endpoint.display_name} to be deleted"
            wait(self._api, self._client, started.operation, what=what, deadline=deadline)
        except NotFound:
            return

    @property
    def _client(self) -> Any:
        from google.cloud.aiplatform_v1 import EndpointServiceClient

        return self._api.service(EndpointServiceClient)


def is_ours(endpoint: Any) -> bool:
    """Whether lading made an endpoint."""
    return LABEL in endpoint.labels


def _deployed(version: Version, *, alone: bool) -> Any:
    from google.cloud.aiplatform_v1 import DedicatedResources, DeployedModel, MachineSpec

    spec: RevisionSpec = version.spec
    return DeployedModel(
        model=version.name,
        display_name=spec.revision,
        service_account=spec.service_account,
        dedicated_resources=DedicatedResources(
            machine_spec=MachineSpec(machine_type=spec.machine_type),
            min_replica_count=1 if alone else spec.min_replicas,
            max_replica_count=1 if alone else spec.max_replicas,
        ),
    )
