"""The Model Registry of Vertex AI: each revision of a service is a version of the service's model.

What a revision needs beyond its container (machine, replicas, service account) is kept in the description of its
version, so that a rollback can deploy it again months later.
API: ``google.cloud.aiplatform.v1``, ModelService.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from lading.errors import InvalidInput, NotFound, RevisionFailed
from lading.targets.settings import Settings
from lading.targets.vertex.operations import wait
from lading.values import ImageRef
from lading.vertex_api import VertexApi, seconds
from lading.wait import Deadline

LABEL = "lading"
"""The label of what lading made: models and endpoints without it are never deleted."""
DEFAULT_MACHINE = "n1-standard-2"
"""What google-cloud-aiplatform takes too where nothing is said."""
PORT = 8080
DEFAULT_ALIAS = "default"
# An endpoint's id has 63 characters (CreateEndpointRequest.endpoint_id), of which the candidate's needs ten.
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,51}[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Resources:
    """What Vertex calls a service and a revision."""

    base_url: str
    """Before a name, it makes the resource's URL."""
    endpoint: str
    """``projects/P/locations/R/endpoints/E``."""
    model: str
    """``projects/P/locations/R/models/M@VERSION``."""


@dataclass(frozen=True)
class RevisionSpec:
    """How a revision runs on Vertex; it is kept with the version of the model."""

    revision: str
    """Its name, and an alias of the version: the service's, and a hash of all the rest."""
    image: str
    machine_type: str
    min_replicas: int
    max_replicas: int
    """More than ``min_replicas``: Vertex scales by processor load. The same: so many are kept."""
    service_account: str

    @classmethod
    def of(cls, service: str, image: str, settings: Settings) -> "RevisionSpec":
        """The revision of an image and its settings: the same ones give the same name.

        Raises:
            InvalidInput: the bounds of the number of instances contradict each other.
        """
        least = max(1, settings.min_instances)  # Vertex keeps one replica at least
        most = settings.max_instances or least
        if most < least:
            raise InvalidInput(f"settings: expected max_instances ≥ min_instances, received {most} and {least}")
        spec = cls("", image, settings.machine_type or DEFAULT_MACHINE, least, most, settings.service_account)
        content = json.dumps([asdict(spec), sorted(settings.env.items())])
        name = f"{service}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"
        return cls(name, *list(asdict(spec).values())[1:])


@dataclass(frozen=True)
class Version:
    """A version of a model that lading uploaded."""

    name: str
    """``projects/P/locations/R/models/M@VERSION``."""
    spec: RevisionSpec
    is_default: bool
    number: int
    """Counts up; Vertex gives it."""


def check_names(service: str, settings: Settings) -> None:
    """See that Vertex can have these names.

    Raises:
        InvalidInput: it cannot.
    """
    if not _NAME.fullmatch(service):
        raise InvalidInput(
            "Vertex: expected a service's name of at most 53 characters, a-z, 0-9 and -, that begins with a letter, "
            f"received {service!r}"
        )
    for name, value in settings.labels.items():
        if not name or not name[0].isalpha() or not _LABEL.fullmatch(name) or not _LABEL.fullmatch(value):
            raise InvalidInput(
                "settings: labels: Vertex takes names and values of at most 63 characters, a-z, 0-9, _ and -, "
                f"received {name!r}: {value!r}"
            )


class ModelRegistry:
    """The models of services."""

    def __init__(self, api: VertexApi) -> None:
        self._api = api

    def versions(self, service: str, *, deadline: Deadline) -> tuple[Version, ...]:
        """The versions that lading uploaded, newest first; empty when there is no model."""
        ours = [_version(model) for model in self._listed(service, deadline)]
        return tuple(sorted((one for one in ours if one), key=lambda one: -one.number))

    def upload(self, service: str, spec: RevisionSpec, settings: Settings, *, deadline: Deadline) -> Version:
        """Upload a revision as a version of the service's model; the model is made with the first.

        Raises:
            RevisionFailed: Vertex does not take the image.
        """
        from google.cloud.aiplatform_v1 import UploadModelRequest

        request = UploadModelRequest(parent=self._api.parent, model=_model(service, spec, settings))
        if self._listed(service, deadline):
            # Not the default version before it is promoted: batch jobs and people take that one.
            request.parent_model = self._name(service)
        else:
            request.model_id = service
        with self._api.translated(f"model {service}"):
            started = self._client.upload_model(request=request, timeout=seconds(deadline))
        what = f"model {service} to take {spec.image}"
        wait(self._api, self._client, started.operation, what=what, deadline=deadline, failure=RevisionFailed)
        found = [one for one in self.versions(service, deadline=deadline) if one.spec.revision == spec.revision]
        if not found:
            raise NotFound(f"{self._api.where}: model {service} has no version {spec.revision} after it was uploaded")
        return found[0]

    def make_default(self, version: Version, *, deadline: Deadline) -> None:
        """Let a version be the one that is taken when somebody names the model alone."""
        if not version.is_default:
            with self._api.translated(f"model {version.name}"):
                self._client.merge_version_aliases(
                    name=version.name, version_aliases=[DEFAULT_ALIAS], timeout=seconds(deadline)
                )

    def remove(self, service: str, versions: Iterable[Version], *, deadline: Deadline) -> None:
        """Delete versions, and the model with the last of them. What somebody else uploaded stays."""
        wanted = list(versions)
        if not wanted:
            return
        if len(wanted) == len(self._listed(service, deadline)):
            with self._api.translated(f"model {service}"):
                started = self._client.delete_model(name=self._name(service), timeout=seconds(deadline))
            wait(self._api, self._client, started.operation, what=f"model {service} to be deleted", deadline=deadline)
            return
        for version in wanted:
            if not version.is_default:  # which the API does not delete
                with self._api.translated(f"model {version.name}"):
                    started = self._client.delete_model_version(name=version.name, timeout=seconds(deadline))
                wait(
                    self._api, self._client, started.operation, what=f"{version.name} to be deleted", deadline=deadline
                )

    def _listed(self, service: str, deadline: Deadline) -> list[Any]:
        try:
            with self._api.translated(f"model {service}"):
                return list(self._client.list_model_versions(name=self._name(service), timeout=seconds(deadline)))
        except NotFound:
            return []

    def _name(self, service: str) -> str:
        return f"{self._api.parent}/models/{service}"

    @property
    def _client(self) -> Any:
        from google.cloud.aiplatform_v1 import ModelServiceClient

        return self._api.service(ModelServiceClient)


def _model(service: str, spec: RevisionSpec, settings: Settings) -> Any:
    from google.cloud.aiplatform_v1 import EnvVar, Model, ModelContainerSpec, Port

    # Both servers answer below this path: lading's takes any route, TensorFlow Serving has these.
    path = f"/v1/models/{ImageRef.parse(spec.image).repository.rpartition('/')[2]}"
    # By Knative's name for it, every answer of lading's server tells its revision.
    env = {**settings.env, "K_REVISION": spec.revision}
    return Model(
        display_name=service,
        description=f"Revisions of the service {service}, deployed by lading",
        version_description=json.dumps(asdict(spec)),
        version_aliases=[spec.revision],
        labels={LABEL: "1"},
        container_spec=ModelContainerSpec(
            image_uri=spec.image,
            env=[EnvVar(name=name, value=value) for name, value in sorted(env.items())],
            ports=[Port(container_port=PORT)],
            predict_route=f"{path}:predict",
            health_route=path,
        ),
    )


def _version(model: Any) -> Version | None:
    """A version, if it is one of lading's."""
    try:
        spec = RevisionSpec(**json.loads(model.version_description))
    except (ValueError, TypeError):
        return None
    if spec.revision not in model.version_aliases:
        return None
    name = f"{model.name.partition('@')[0]}@{model.version_id}"
    return Version(name, spec, DEFAULT_ALIAS in model.version_aliases, int(model.version_id))
