"""``knative:`` keeps the contract of a target, on a cluster known by a kubeconfig."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract import TargetContract
from fakes.service import JsonService
from knative_place import KnativePlace
from kubeconfigs import write
from places import GOLDEN, RIGHT, Releases

from lading.errors import AccessDenied, DeadlineExceeded, InvalidInput, NotFound, ServiceUnreachable
from lading.targets.base import Phase, Rollout
from lading.targets.connect import connect
from lading.targets.settings import Settings
from lading.values import to_json
from lading.wait import Deadline


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnativePlace]:
    made = KnativePlace(tmp_path_factory.mktemp("knative"))
    yield made
    made.stop()


@pytest.mark.slow  # by default Cloud Run and the local target keep it, which are the same but for who asks and how
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
    with pytest.raises(ServiceUnreachable, match=r"--ingress HOST:PORT \(or LADING_KNATIVE_INGRESS\) says"):
        door.is_ready(deadline=Deadline.after(5))
    with pytest.raises(InvalidInput, match="LADING_KNATIVE_INGRESS: expected HOST:PORT, received 'http://x'"):
        connect("knative:models", environ={**place.environ, "LADING_KNATIVE_INGRESS": "http://x"})
    with pytest.raises(InvalidInput, match="kubernetes:models: only knative: has an ingress to be named"):
        connect("kubernetes:models", environ=place.environ, ingress="x:1")


def test_the_ingress_can_be_given_to_the_commands_that_ask(place: KnativePlace, tmp_path: Path) -> None:
    at = Releases(place)
    candidate = at.deploy(at.image())
    (tmp_path / "candidate").write_text(to_json(candidate))
    (tmp_path / "golden").write_text(GOLDEN[0].to_line())
    words = [sys.executable, "-m", "lading", "smoke", tmp_path / "candidate", "--golden", tmp_path / "golden"]
    environ = {**os.environ, "KUBECONFIG": place.environ["KUBECONFIG"]}
    ingress = ["--ingress", place.environ["LADING_KNATIVE_INGRESS"]]
    done = subprocess.run([*words, *ingress], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 right" in done.stdout
    at.settle()


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
