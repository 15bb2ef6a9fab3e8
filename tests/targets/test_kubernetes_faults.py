"""Faults on ``kubernetes:``: killed steps, pods that cannot run, refusals, and others who write."""

import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dying import DyingSession, Killed
from kubernetes_place import KubernetesPlace, patch, releases, server_of, the
from places import RIGHT, WRONG, Releases

from lading.errors import AccessDenied, Conflict, InvalidInput, RevisionFailed
from lading.http import Client
from lading.releases import TrafficTarget
from lading.targets.base import Phase
from lading.targets.kubernetes.target import KubernetesTarget
from lading.wait import poll


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesPlace]:
    made = KubernetesPlace(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


@pytest.fixture
def at(cluster: KubernetesPlace) -> Iterator[Releases]:
    with releases(cluster) as made:
        yield made


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_a_release_that_is_killed_anywhere_ends_in_the_same_state_when_it_is_run_again(
    at: Releases, every: int
) -> None:
    previous = at.release(at.image(), "r")
    for writes in range(0, 40, every):
        image, release = at.image(RIGHT, str(writes)), f"r{writes}"
        at.target = _dying_target(at, writes)
        try:
            at.release(image, release)
            died = False
        except Killed:
            died = True
        at.target = at.place.target
        serving = {line.revision for line in at.state.serving()}
        now = at.release(image, release)
        assert serving <= {previous.revision, now.revision}
        assert serving
        assert at.traffic == {now.revision: 100}
        state = at.state
        assert state.rollout is not None
        assert (state.rollout.id, state.rollout.phase) == (release, Phase.PROMOTED)
        assert len(server_of(at).pods(now.revision)) == 1
        assert server_of(at).pods(previous.revision) == []
        if not died:
            break
        previous = now
    assert writes > 6


def test_a_first_release_that_is_killed_is_continued(at: Releases) -> None:
    image = at.image()
    for writes in range(6):
        at.target = _dying_target(at, writes)
        with pytest.raises(Killed):
            at.deploy(image)
        at.target = at.place.target
    assert at.deploy(image).first_release
    assert at.settle() == f"deleted service {at.service}, which this release had created"


@pytest.mark.parametrize(
    ("trouble", "settings", "message"),
    [
        ("quota", {}, "FailedCreate: .*exceeded quota"),
        ("account", {"service_account": "nobody"}, 'FailedCreate: .*serviceaccount "nobody" not found'),
        ("secret", {"secrets": {"KEY": "nowhere:key"}}, 'CreateContainerConfigError: secret "nowhere" not found'),
        ("image", {}, "ImagePullBackOff: Back-off pulling image"),
        ("nodes", {"startup_seconds": 1}, "not ready after 1 s; its pod found no node: 0/3 nodes are available"),
    ],
)
def test_a_revision_that_cannot_run_says_why(
    at: Releases, trouble: str, settings: Mapping[str, Any], message: str
) -> None:
    first = at.release(at.image(), "r1")
    server, image = server_of(at), at.image(RIGHT, trouble)
    poll(lambda: len(server.kubelet.pods) == 1 or None, deadline=at.deadline, what="old pods to be gone")
    if trouble == "quota":
        server.quota = 1
    if trouble == "nodes":
        server.kubelet.unschedulable = "0/3 nodes are available: 3 Insufficient memory."
    if trouble == "image":
        image = (f"lading.local/nothing@sha256:{'0' * 64}", "")
    before = at.state
    with pytest.raises(RevisionFailed, match=message):
        at.deploy(image, "r2", **settings)
    assert at.state == before
    assert at.answering(first) == {first.revision}


def test_a_pod_that_finds_no_node_is_told_of_early_and_waited_for(
    at: Releases, caplog: pytest.LogCaptureFixture
) -> None:
    first = at.release(at.image(), "r1")
    kubelet, found = server_of(at).kubelet, []
    kubelet.unschedulable = "0/3 nodes are available: 3 Insufficient memory."
    release = threading.Thread(target=lambda: found.append(at.deploy(at.image(RIGHT, "second"), "r2")))
    release.start()
    try:
        poll(lambda: caplog.messages or None, deadline=at.deadline, what="the warning")
    finally:
        kubelet.unschedulable = ""  # a node was added
        release.join()
    (told,) = caplog.messages
    revision = found[0].revision
    assert told.startswith(
        f"{revision}: its pod found no node: 0/3 nodes are available: 3 Insufficient memory.; waiting"
    )
    assert "up to 60 s (startup_seconds)" in told
    assert at.traffic == {first.revision: 100}


def test_a_service_that_crashes_is_mended_by_a_release(at: Releases, tmp_path: Path) -> None:
    flag = tmp_path / "out-of-order"
    first = at.release(at.image(), "r1", env={"EXIT_IF": str(flag)})
    flag.touch()
    (pod,) = server_of(at).pods(first.revision)
    pod.kill()
    poll(lambda: pod.restarts > 1 or None, deadline=at.deadline, what="the pod to crash again")
    second = at.release(at.image(RIGHT, "mended"), "r2")
    assert at.answering(second) == {second.revision}


@pytest.mark.parametrize(
    ("denied", "error", "message"),
    [
        (("patch", "deployments"), AccessDenied, r"deployments\.apps .* is forbidden.*docs/targets.md has the role"),
        (("patch", "services"), AccessDenied, "services .* is forbidden"),
        (("list", "pods"), AccessDenied, "pods is forbidden"),
    ],
)
def test_who_may_not_deploy_is_told_and_changes_nothing(
    at: Releases, denied: tuple[str, str], error: type[Exception], message: str
) -> None:
    first = at.release(at.image(), "r1")
    before = at.state
    server_of(at).forbidden.add(denied)
    with pytest.raises(error, match=message):
        at.deploy(at.image(WRONG), "r2", secrets={"KEY": "nowhere:key"})
    server_of(at).forbidden.clear()
    assert at.state == before
    assert at.answering(first) == {first.revision}


def test_the_role_in_the_documentation_is_what_is_needed(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "targets.md").read_text()
    (text,) = [block for block in re.findall("```yaml\\n(.*?)```", page, re.DOTALL) if "kind: Role\n" in block]
    rules = yaml.safe_load(text)["rules"]
    stated = {(verb, resource) for rule in rules for verb in rule["verbs"] for resource in rule["resources"]}
    asked = set()
    for gateway in (False, True):
        (tmp_path / str(gateway)).mkdir()
        place = KubernetesPlace(tmp_path / str(gateway), gateway=gateway)
        try:
            at = Releases(place)
            at.release(at.image(), "r1", max_instances=3)
            if not gateway:
                with pytest.raises(RevisionFailed):
                    at.deploy(at.image("exit"), "r2")
                at.release(at.image(RIGHT, "second"), "r3")
                at.rollback()
            at.target.delete(at.service, deadline=at.deadline)
            asked |= place.server.asked
        finally:
            place.stop()
    assert asked - stated == {("get", "gateways")}  # in its own namespace
    assert stated - asked == set()


def test_a_token_that_has_expired_is_named(at: Releases) -> None:
    client = Client(server_of(at).url, headers={"Authorization": "Bearer old"})
    with pytest.raises(AccessDenied, match="401 Unauthorized"):
        KubernetesTarget(client, "models").get(at.service, deadline=at.deadline)


def test_a_busy_server_is_asked_again(at: Releases) -> None:
    server_of(at).failures += [(429, "too many requests"), (503, "the server is currently unable")]
    assert at.release(at.image(), "r1").revision in at.traffic


def test_what_somebody_else_set_is_not_taken_from_them(at: Releases) -> None:
    image = at.image()
    first = at.release(at.image(), "r1")
    patch(at, "deployments", first.revision, {"spec": {"progressDeadlineSeconds": 7}})
    with pytest.raises(
        Conflict, match=r'conflict with "kubectl-edit" using apps/v1: \.spec\.progressDeadlineSeconds.*kubectl apply'
    ):
        at.deploy(image, "r2")
    second = at.deploy(at.image(RIGHT, "second"), "r3")
    before = at.state
    patch(at, "services", at.service, {"spec": {"selector": {"app": "other"}}})
    wanted = (TrafficTarget(second.revision, 100),)
    with pytest.raises(Conflict, match="changed while it was being released"):
        at.target.shift(before, wanted, before.rollout, deadline=at.deadline)
    with pytest.raises(Conflict, match=r'conflict with "kubectl-edit" using v1: \.spec\.selector.*lading-traffic'):
        at.target.shift(at.state, wanted, before.rollout, deadline=at.deadline)


def test_what_others_write_beside_it_stays(at: Releases) -> None:
    first = at.release(at.image(), "r1", labels={"team": "search", "tier": "gold"})
    server, left = server_of(at), [1, 2, 3]

    def others(plural: str, name: str) -> None:
        if (plural, name) == ("services", at.service) and left:
            left.pop()
            others_write = {"metadata": {"annotations": {"cloud.example/load-balancer": str(len(left))}}}
            server.before_write = None
            patch(at, "services", at.service, others_write)
            server.before_write = others

    server.before_write = others
    second = at.release(at.image(RIGHT, "second"), "r2", labels={"team": "find"})
    server.before_write = None
    metadata = the(at, "services", at.service)["metadata"]
    assert "cloud.example/load-balancer" in metadata["annotations"]
    assert metadata["labels"]["team"] == "find"
    assert "tier" not in metadata["labels"]
    assert at.traffic == {second.revision: 100}
    assert first.revision in at.state.revisions


def test_an_object_that_is_not_ladings_is_left_alone(at: Releases) -> None:
    server_of(at).put("services", at.service, {"spec": {"ports": [{"port": 80}]}})
    for call in (lambda: at.deploy(at.image()), lambda: at.target.delete(at.service, deadline=at.deadline)):
        with pytest.raises(InvalidInput, match=f"Service {at.service} in namespace models is not lading's"):
            call()
    server_of(at).drop("services", at.service)


def _dying_target(at: Releases, writes: int) -> KubernetesTarget:
    headers = {"Authorization": f"Bearer {server_of(at).token}"}
    return KubernetesTarget(Client(server_of(at).url, session=DyingSession(writes), headers=headers), "models")
