"""``knative:`` keeps the contract of a target, on a cluster known by a kubeconfig."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract import RIGHT, Releases, TargetContract
from fakes.knative_server import NamedKnativeServer
from fakes.service import JsonService
from kubeconfigs import write
from local_place import LocalPlace

from lading.errors import AccessDenied, DeadlineExceeded, InvalidInput, NotFound, ServiceUnreachable
from lading.targets.base import Phase, Rollout, Target
from lading.targets.connect import connect
from lading.targets.settings import Settings
from lading.wait import Deadline


class KnativePlace:
    """See ``contract.Place``; services are reached through the ingress only."""

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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnativePlace]:
    made = KnativePlace(tmp_path_factory.mktemp("knative"))
    yield made
    made.stop()


class TestKnative(TargetContract):
    pass


def test_a_cluster_without_knative_says_how_to_look(tmp_path: Path) -> None:
    server = JsonService()  # every path is 404
    environ = {"KUBECONFIG": str(write(tmp_path / "config", server.url, token="t"))}
    rollout = Rollout("r1", (), (), Phase.CANDIDATE, 0.0)
    image = "example.com/tiny@sha256:" + "0" * 64
    try:
        with pytest.raises(NotFound, match=r"does namespace models exist, and is Knative Serving installed\?"):
            connect("knative:models", environ=environ).deploy(
                "tiny", image, settings=Settings(), rollout=rollout, known=None, deadline=Deadline.after(5)
            )
    finally:
        server.stop()


def test_a_name_that_leads_nowhere_asks_for_the_ingress(place: KnativePlace) -> None:
    direct = connect("knative:models", environ={"KUBECONFIG": place.environ["KUBECONFIG"]})
    door = direct.door("tiny", None, url="http://tiny.models.example.invalid", model="tiny")
    with pytest.raises(ServiceUnreachable, match="LADING_KNATIVE_INGRESS=HOST:PORT says where the ingress is"):
        door.is_ready(deadline=Deadline.after(5))
    with pytest.raises(InvalidInput, match="LADING_KNATIVE_INGRESS: expected HOST:PORT, received 'http://x'"):
        connect("knative:models", environ={**place.environ, "LADING_KNATIVE_INGRESS": "http://x"})


def test_who_is_not_known_to_the_cluster_is_told(place: KnativePlace, tmp_path: Path) -> None:
    environ = {"KUBECONFIG": str(write(tmp_path / "config", place.cluster.url, token="another"))}
    with pytest.raises(AccessDenied, match=r"401 .*log in again with the provider's tool"):
        connect("knative:models", environ=environ).get("tiny", deadline=Deadline.after(5))


def test_a_revision_that_takes_too_long_says_what_it_waits_for(place: KnativePlace) -> None:
    at = Releases(place)
    first = at.release(at.image(), "r1")
    place.cluster.waits_for = "0/3 nodes are available: insufficient memory."
    at.seconds = 1.0
    try:
        with pytest.raises(DeadlineExceeded, match=r"to be ready; it says: .*: Deploying: 0/3 nodes are available"):
            at.deploy(at.image(RIGHT, "second"), "r2")
        assert at.traffic == {first.revision: 100}
    finally:
        place.cluster.waits_for, at.seconds = "", 60.0
        at.target.delete(at.service, deadline=at.deadline)
