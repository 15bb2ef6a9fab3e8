"""Vertex AI on this machine: the real clients, and a server that keeps state and runs what is deployed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fakes.vertex_registry import NUMBER, PROJECT
from fakes.vertex_serving_server import VertexServingServer
from places import Releases
from tiny_server import make_image

from lading.local.state import Layout
from lading.oci.layout import ImageStore
from lading.targets.connect import connect
from lading.targets.vertex.target import VertexTarget
from lading.wait import Deadline, poll


class VertexPlace:
    """See ``places.Place``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._images: dict[tuple[str, str], tuple[str, str]] = {}
        self.server = VertexServingServer(root, root / "served")
        self.target_name = f"vertex:{PROJECT}/europe-west4"
        self.environ = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": self.server.url}
        self.target = self.connect()

    def connect(self, **environ: str) -> VertexTarget:
        """Another client of the same place."""
        made = connect(self.target_name, environ={**self.environ, **environ})
        assert isinstance(made, VertexTarget)
        return made

    def make_image(self, answer: object, label: str = "") -> tuple[str, str]:
        key = (repr(answer), label)
        if key not in self._images:
            scratch = self._root / "made" / str(len(self._images))
            self._images[key] = make_image(ImageStore(Layout(self._root).images), scratch, answer=answer, label=label)
        return self._images[key]

    def stop(self) -> None:
        self.server.close()


@contextmanager
def releases(place: VertexPlace) -> Iterator[Releases]:
    """A service of a test's own on a place, which is as it was afterwards."""
    made = Releases(place)
    yield made
    server = place.server
    server.failures.clear()
    server.token, server.quota, server.cut_after, server.etag_status, server.slow_deployments = "", 100, 0, 409, 0.0
    made.target.delete(made.service, deadline=made.deadline)


def versions(server: VertexServingServer, at: Releases) -> dict[str, list[str]]:
    """The aliases of each version of the service's model."""
    found = server.models.get(f"projects/{NUMBER}/locations/europe-west4/models/{at.service}", {})
    return {number: version["versionAliases"] for number, version in found.items()}


def endpoint(server: VertexServingServer, name: str) -> dict[str, Any]:
    return server.endpoints[f"projects/{NUMBER}/locations/europe-west4/endpoints/{name}"]


def wait_for_operations(server: VertexServingServer) -> None:
    """Let everything end that the server works on."""

    def ended() -> bool | None:
        return all(one["done"] for one in list(server.operations.values())) or None

    poll(ended, deadline=Deadline.after(30), what="operations")
