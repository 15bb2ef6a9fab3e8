"""Predictions from an endpoint of Vertex AI.

``rawPredict`` hands a body to the container's predict route as it is, so the server can be asked in TensorFlow
Serving's form, and tells which deployed model answered (``X-Vertex-AI-Deployed-Model-Id``).
API: ``google.cloud.aiplatform.v1``, PredictionService; at most 1.5 MB each way on shared public endpoints.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests

from lading.errors import NotFound, RemoteError
from lading.targets.vertex.endpoints import Endpoints
from lading.targets.vertex.state import revisions_of
from lading.vertex_api import VertexApi
from lading.wait import Deadline

DEPLOYED_MODEL_HEADER = "x-vertex-ai-deployed-model-id"
REVISION_HEADER, MODEL_HEADER = "x-lading-revision", "x-lading-model"


class VertexDoor:
    """Asks an endpoint.

    Args:
        api: Carries the credentials.
        url: Of the endpoint.
        read: Reads the endpoint.
    """

    def __init__(self, api: VertexApi, url: str, read: Callable[[Deadline], Any]) -> None:
        self._api, self._url, self._read = api, url, read
        self._known: Mapping[str, str] = {}
        self._client = api.http(url)

    @property
    def url(self) -> str:
        """See ``Door.url``."""
        return self._url

    def is_ready(self, *, deadline: Deadline) -> bool:
        """See ``Door.is_ready``; whether a deployed model takes the endpoint's traffic, which a ready one does."""
        return bool(self._read(deadline).traffic_split)

    def predict(self, body: Mapping[str, Any], *, deadline: Deadline) -> requests.Response:
        """See ``Door.predict``.

        Vertex does not hand on the headers of the server, so who answered is read from the answer.
        """
        # lading's server then says in its answer who it is; others take no notice.
        asked = {**body, "parameters": {**(body.get("parameters") or {}), "identity": True}}
        with self._api.translated():
            answer = self._client.request("POST", ":rawPredict", json=asked, deadline=deadline)
            said = _metadata(answer)
            for header in (REVISION_HEADER, MODEL_HEADER):
                if isinstance(said.get(header), str):
                    answer.headers[header] = said[header]
            if REVISION_HEADER not in answer.headers:
                answer.headers[REVISION_HEADER] = self._revision(answer, deadline)
        return answer

    def _revision(self, answer: requests.Response, deadline: Deadline) -> str:
        id = answer.headers.get(DEPLOYED_MODEL_HEADER, "")
        if id and id not in self._known:
            self._known = revisions_of(self._read(deadline))
        return self._known.get(id, id)


def predict_json(
    project: str,
    service: str,
    instances: Sequence[Any],
    *,
    region: str,
    environ: Mapping[str, str],
    parameters: Mapping[str, Any] | None = None,
    seconds: float = 60.0,
) -> list[Any]:
    """Predictions of a service for instances.

    Args:
        project: Google Cloud project.
        service: Id or display name of the endpoint, whoever made it.
        instances: Lists, or objects with a member for each input: what JSON can hold.
        region: For instance ``europe-west4``.
        environ: As ``VertexApi.find``: at the edge of a program, ``os.environ``.
        parameters: For the server; lading's takes ``signature_name``.
        seconds: How long it may take.

    Returns:
        One prediction for each instance.

    Raises:
        NotFound: there is no such endpoint.
        InvalidInput: several endpoints have this name.
        AccessDenied, RemoteError, ServiceUnreachable: as their names say; the message has the server's words.
    """
    api, deadline = VertexApi.find(project, region, environ=environ), Deadline.after(seconds)
    endpoint = Endpoints(api).find(service, deadline=deadline)
    if endpoint is None:
        raise NotFound(f"{api.where} has no endpoint {service}")
    body: dict[str, Any] = {"instances": list(instances)}
    if parameters:
        body["parameters"] = dict(parameters)
    with api.translated(f"endpoint {service}"):
        answer = api.http(url_of(api, endpoint)).request("POST", ":predict", json=body, deadline=deadline).json()
    if "predictions" not in answer:
        raise RemoteError(f"{api.where}: expected predictions, received {str(answer)[:200]}", status=502)
    return list(answer["predictions"])


def url_of(api: VertexApi, endpoint: Any) -> str:
    """Where an endpoint is asked: below the API, or below a name of its own if it has one."""
    host = f"https://{endpoint.dedicated_endpoint_dns}" if endpoint.dedicated_endpoint_dns else api.url
    return f"{host.replace('https://https://', 'https://')}/v1/{endpoint.name}"


def _metadata(answer: requests.Response) -> Mapping[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    found = body.get("metadata") if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}
