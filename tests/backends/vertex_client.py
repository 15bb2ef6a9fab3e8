"""What the tests of the Vertex backend send, and to where."""

from typing import Any

from fakes.vertex_server import VertexServer

from lading.backends.base import Submission
from lading.backends.vertex import VertexBackend
from lading.spec.ir import Pipeline


def connect(server: VertexServer, **environ: str) -> VertexBackend:
    places = {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": server.url,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": server.url,
    }
    return VertexBackend.connect("proj", "us-central1", environ={**places, **environ})


def submission(tiny: Pipeline, name: str = "tiny-1", **parameters: Any) -> Submission:
    given = {"words": "again and ", **parameters}
    return Submission(name=name, spec=tiny.spec, parameters=given, pipeline_root="gs://bucket/root")
