"""``kubernetes:`` keeps the contract of a target, by numbers of pods and by weights, and what else it promises."""

import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from contract import TargetContract
from kubernetes_place import KubernetesPlace, releases, scale, server_of, the
from places import RIGHT, VALUES, Releases

from lading.errors import InvalidInput, NotFound, RevisionFailed
from lading.http import Client
from lading.releases import TrafficTarget
from lading.targets.base import Phase, Rollout, candidate_door
from lading.targets.connect import connect
from lading.targets.kubernetes.routes import GatewayName
from lading.targets.kubernetes.target import KubernetesTarget
from lading.targets.settings import Settings
from lading.wait import Deadline


class TestByPods(TargetContract):
    values: ClassVar[dict[str, Any]] = {**VALUES, "service_account": "runner"}
    shares: ClassVar[tuple[int, ...]] = (50, 33, 50, 67, 50, 33, 50, 67, 50, 33, 50)

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesPlace]:
        made = KubernetesPlace(tmp_path_factory.mktemp("kubernetes"))
        yield made
        made.stop()


@pytest.mark.slow
class TestByWeights(TargetContract):
    values: ClassVar[dict[str, Any]] = {**VALUES, "service_account": "runner"}

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesPlace]:
        made = KubernetesPlace(tmp_path_factory.mktemp("gateway"), gateway=True)
        yield made
        made.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesPlace]:
    made = KubernetesPlace(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


@pytest.fixture
def at(cluster: KubernetesPlace) -> Iterator[Releases]:
    with releases(cluster) as made:
        yield made


def test_nothing_takes_traffic_before_it_is_promoted(at: Releases) -> None:
    first = at.deploy(at.image())
    assert at.traffic == {}
    with pytest.raises(NotFound, match=f'services "{at.service}" not found'):
        door = at.target.door(at.service, None, url=first.service_url, model=first.model)
        door.predict({}, deadline=Deadline.after(2))
    at.promote(first)
    assert at.answering(first) == {first.revision}


def test_revisions_that_take_no_traffic_rest_and_the_oldest_are_forgotten(at: Releases) -> None:
    serving = at.release(at.image(), "r0")
    refused = []
    for number in range(4):
        refused.append(at.deploy(at.image(RIGHT, f"never {number}"), f"r{number + 1}").revision)
        at.settle()
    assert at.state.revisions == (*reversed(refused[1:]), serving.revision)
    assert [len(server_of(at).pods(name)) for name in at.state.revisions] == [0, 0, 0, 1]
    left = {one["metadata"]["name"] for one in server_of(at).all("services")}
    assert left >= set(refused[1:]) | {at.service}
    assert refused[0] not in left
    again = at.release(at.image(RIGHT, "never 3"), "r9")
    assert again.revision == refused[3]
    assert [len(server_of(at).pods(name)) for name in (again.revision, serving.revision)] == [1, 0]
    at.rollback()
    assert at.answering(serving) == {serving.revision}


def test_a_split_that_pods_cannot_make_is_refused_and_nothing_changes(at: Releases) -> None:
    first = at.release(at.image(), "r1")
    second = at.deploy(at.image(RIGHT, "second"), "r2")
    before = at.state
    writes = len(server_of(at).writes)
    with pytest.raises(
        InvalidInput, match=r"a split of 97 to 3 cannot be made of at most 10 and 10 pods: .*LADING_GAT"
    ):
        at.shift(TrafficTarget(first.revision, 97), TrafficTarget(second.revision, 3), phase=Phase.SHIFTING)
    assert at.state == before
    assert len(server_of(at).writes) == writes


def test_steps_that_pods_cannot_make_are_refused_before_anything_is_deployed(at: Releases) -> None:
    steps = (2, 5, 25, 100)
    first = at.deploy(at.image(), "r1", steps=steps)  # nothing serves, so that there is one step only
    at.promote(first)
    assert at.deploy(at.image(), "r2", steps=steps).revision == first.revision  # what serves has all of it
    at.settle()
    writes = len(server_of(at).writes)
    expected = (
        "steps: 2 % and 5 % of the traffic cannot be made of at most 10 pods beside at most 10: the nearest that can: "
        r"9 %; or 39 as max_instances of both, or a Gateway \(LADING_GATEWAY\), which splits by weight"
    )
    with pytest.raises(InvalidInput, match=f"^{expected}$"):
        at.deploy(at.image(RIGHT, "second"), "r3", steps=steps)
    with pytest.raises(InvalidInput, match=r"45 % .* at most 4 .* can: 44 %; or 6 as max_instances"):
        at.deploy(at.image(RIGHT, "second"), "r3", steps=(45, 100), max_instances=4)
    assert len(server_of(at).writes) == writes
    assert at.deploy(at.image(RIGHT, "second"), "r3", steps=(9, 25, 100)).revision != first.revision


def test_a_split_is_made_of_pods_which_go_again(at: Releases) -> None:
    first = at.release(at.image(), "r1")
    second = at.deploy(at.image(RIGHT, "second"), "r2")
    quarter = (TrafficTarget(first.revision, 75), TrafficTarget(second.revision, 25))
    assert at.shift(*quarter, phase=Phase.SHIFTING).serving() == quarter
    assert [len(server_of(at).pods(one.revision)) for one in (first, second)] == [3, 1]
    with pytest.raises(InvalidInput, match="those of a candidate would take traffic"):
        at.target.deploy(
            at.service, at.image(RIGHT, "third")[0], settings=Settings(), known=at.state, deadline=at.deadline,
            rollout=Rollout("r9", quarter, (), Phase.CANDIDATE, time.time() + 60),
        )  # fmt: skip
    at.shift(TrafficTarget(second.revision, 100), phase=Phase.PROMOTED)
    assert [len(server_of(at).pods(one.revision)) for one in (first, second)] == [0, 1]


def test_as_many_pods_as_an_autoscaler_found_necessary_are_there_after_a_promotion(at: Releases) -> None:
    settings = {"max_instances": 6, "min_instances": 1}
    first = at.deploy(at.image(), "r1", **settings)
    at.promote(first)
    scale(at, first.revision, 3)
    second = at.deploy(at.image(RIGHT, "second"), "r2", **settings)
    half = (TrafficTarget(first.revision, 50), TrafficTarget(second.revision, 50))
    at.shift(*half, phase=Phase.SHIFTING)
    for one in (first, second):
        spec = the(at, "horizontalpodautoscalers", one.revision)["spec"]
        assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 2)  # else it would change the split
    at.shift(TrafficTarget(second.revision, 100), phase=Phase.PROMOTED)
    assert len(server_of(at).pods(second.revision)) == 4
    spec = the(at, "horizontalpodautoscalers", second.revision)["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 6)


def test_no_request_is_lost_while_traffic_moves_back_and_forth(at: Releases) -> None:
    first = at.release(at.image(), "r1")
    asked, failed, over = [], [], threading.Event()
    client = Client(server_of(at).url, headers={"Authorization": f"Bearer {server_of(at).token}"})

    def ask() -> None:
        target = KubernetesTarget(client.below(""), "models")
        door = target.door(at.service, None, url=first.service_url, model=first.model)
        while not over.is_set():
            try:
                asked.append(door.predict({}, deadline=Deadline.after(5)).headers["x-lading-revision"])
            except Exception as error:
                failed.append(error)
            over.wait(0.01)

    server_of(at).lag_seconds = 0.2
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        at.release(at.image(RIGHT, "second"), "r2")
        at.rollback()
        at.release(at.image(RIGHT, "third"), "r3")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert len(set(asked)) == 3


def test_a_candidate_that_the_proxy_has_not_heard_of_is_waited_for(at: Releases) -> None:
    server_of(at).lag_seconds = 3.0
    first = at.deploy(at.image())
    door = candidate_door(at.target, first)
    with pytest.raises(NotFound, match=f'services "{first.revision}" not found$'):
        door.predict({}, deadline=Deadline.after(2))
    assert at.smoke(first).passed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_instances": 5, "max_instances": 2}, "min_instances is 5, expected at most max_instances, 2"),
        ({"env": {"PORT": "1"}}, "PORT: set by the platform"),
        ({"env": {"KEY": "1"}, "secrets": {"KEY": "a:b"}}, "KEY: expected in env or in secrets, received in both"),
    ],
)
def test_settings_that_make_no_sense_are_refused(at: Releases, settings: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        at.deploy(at.image(), **settings)
    assert at.target.get(at.service, deadline=at.deadline) is None


def test_names_clusters_and_namespaces_that_do_not_fit_are_refused(at: Releases) -> None:
    service, at.service = at.service, "x" * 53
    with pytest.raises(InvalidInput, match="at most 52"):
        at.deploy(at.image())
    at.service = service
    elsewhere = connect("kubernetes:nowhere", environ=at.place.environ)  # type: ignore[attr-defined]
    at.target = elsewhere
    with pytest.raises(NotFound, match=r'namespaces "nowhere" not found.*kubectl create namespace nowhere'):
        at.deploy(at.image())
    server_of(at).minor = "29+"
    at.target = connect("kubernetes:models", environ=at.place.environ)  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match=r"expected Kubernetes 1\.30 or newer, received 1\.29"):
        at.deploy(at.image())
    server_of(at).minor, at.target = "30", at.place.target


def test_kubectl_and_the_kubernetes_package_read_what_was_deployed(at: Releases, tmp_path: Path) -> None:
    first = at.release(at.image(), "r1", max_instances=3)
    file = server_of(at).kubeconfig(tmp_path / "kubeconfig")
    server_of(at).token = ""
    assert shutil.which("kubectl"), "kubectl is not on this machine: install it, or leave this test out"
    command = ["kubectl", "--kubeconfig", file, "--cache-dir", tmp_path, "get", "deploy,svc,hpa,pdb,pods", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not done.returncode, done.stderr
    items = [
        one
        for one in json.loads(done.stdout)["items"]
        if one["metadata"]["labels"].get("lading.dev/service") == at.service
    ]
    kinds = sorted(one["kind"] for one in items)
    assert kinds == ["Deployment", "HorizontalPodAutoscaler", "Pod", "PodDisruptionBudget", "Service", "Service"]
    from kubernetes import client, config

    with config.new_client_from_config(str(file)) as api:
        deployment = client.AppsV1Api(api).read_namespaced_deployment(first.revision, "models")
    assert deployment.status.ready_replicas == 1
    assert deployment.spec.template.spec.containers[0].security_context.read_only_root_filesystem
    assert deployment.metadata.managed_fields[0].manager == "lading"


def test_by_weights_needs_its_gateway_and_the_other_way_of_splitting_is_refused(tmp_path: Path) -> None:
    place = KubernetesPlace(tmp_path, gateway=True)
    try:
        at = Releases(place)
        at.release(at.image(), "r1")
        plain = {name: text for name, text in place.environ.items() if name != "LADING_GATEWAY"}
        with pytest.raises(InvalidInput, match="is split by an HTTPRoute: set LADING_GATEWAY"):
            connect("kubernetes:models", environ=plain).get(at.service, deadline=at.deadline)
        at.target = connect("kubernetes:models", environ={**plain, "LADING_GATEWAY": "infra/none"})
        at.service = "other"
        with pytest.raises(NotFound, match="no Gateway infra/none"):
            at.deploy(at.image())
        at.target = connect("kubernetes:models", environ=plain)
        at.release(at.image(), "r1")
        with pytest.raises(InvalidInput, match="is split by numbers of pods: unset LADING_GATEWAY"):
            place.target.get("other", deadline=at.deadline)
    finally:
        place.stop()


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"LADING_GATEWAY": "web"}, "LADING_GATEWAY: expected NAMESPACE/NAME of a Gateway, received 'web'"),
        ({"LADING_GATEWAY": "a/b", "LADING_GATEWAY_DOMAIN": "*.x"}, "LADING_GATEWAY_DOMAIN: expected a domain"),
    ],
)
def test_a_gateway_that_cannot_be_read_is_refused(environ: Mapping[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        GatewayName.read(environ)


@pytest.mark.cloud
@pytest.mark.skipif("LADING_TEST_KUBECONFIG" not in os.environ, reason="needs LADING_TEST_KUBECONFIG")
def test_a_real_api_server_takes_what_is_written_and_says_why_nothing_runs() -> None:
    """Without images of its own: the revision that cannot be pulled fails, and nothing is left."""
    environ = {**os.environ, "KUBECONFIG": os.environ["LADING_TEST_KUBECONFIG"]}
    target = connect(f"kubernetes:{os.environ.get('LADING_TEST_NAMESPACE', 'default')}", environ=environ)
    service, deadline = f"lading-{uuid.uuid4().hex[:8]}", Deadline.after(200)
    rollout = Rollout("r1", (), (), Phase.CANDIDATE, time.time() + 300)
    settings = Settings(min_instances=1, max_instances=3, cpu="10m", memory="16Mi", labels={"team": "search"})
    image = f"registry.invalid/nothing@sha256:{'0' * 64}"
    try:
        with pytest.raises(RevisionFailed, match="ImagePullBackOff"):
            target.deploy(service, image, settings=settings, rollout=rollout, known=None, deadline=deadline)
        assert target.get(service, deadline=deadline) is None
    finally:
        target.delete(service, deadline=deadline)
