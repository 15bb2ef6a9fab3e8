"""A cluster with Knative Serving that a kubeconfig names, and whose services only its ingress knows."""

from pathlib import Path

from fakes.knative_server import NamedKnativeServer
from kubeconfigs import write
from local_place import LocalPlace

from lading.targets.base import Target
from lading.targets.connect import connect


class KnativePlace:
    """See ``places.Place``; services are reached through the ingress only."""

    target_name = "knative:models"

    def __init__(self, root: Path) -> None:
        self.local = LocalPlace(root / "local")
        self.cluster = NamedKnativeServer(self.local.endpoint)
        self.environ = {
            "KUBECONFIG": str(write(root / "config", self.cluster.url, token=self.cluster.token)),
            "LADING_KNATIVE_INGRESS": self.cluster.ingress.url.removeprefix("http://"),
        }
        self.target: Target = connect(self.target_name, environ=self.environ)

    def make_image(self, answer: object, label: str = "") -> tuple[str, str]:
        return self.local.make_image(answer, label)

    def stop(self) -> None:
        self.cluster.stop()
        self.local.stop()
